"""What a registry says when it says no (distribution-spec, "Error Codes"), made fit for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

READ_MAX = 64 << 10
"""Bytes of an error's body that are read."""

_SHOWN = 300


class Problem(NamedTuple):
    """A refusal: HTTP status, the error codes of the body in upper case, and a line of text."""

    status: int
    codes: frozenset[str]
    text: str

    def says(self, *words: str) -> bool:
        """Say whether the text holds one of `words` (lower case)."""
        return any(word in self.text.lower() for word in words)


def parse_problem(status: int, body: bytes, secrets: Iterable[str] = ()) -> Problem:
    """Return the problem that `body` describes; `secrets` never appear in its text."""
    codes, messages = _errors(body[:READ_MAX])
    text = "; ".join(messages) or ("" if codes else body[:READ_MAX].decode(errors="replace"))
    if codes and not messages:
        text = ", ".join(sorted(codes))
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, "***")
    return Problem(status, codes, clean(text))


def clean(text: str) -> str:
    """Return `text` as one short printable line."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"


def _errors(body: bytes) -> tuple[frozenset[str], list[str]]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return frozenset(), []
    if not isinstance(value, dict):
        return frozenset(), []
    errors = value.get("errors")
    listed = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else [value]
    codes = frozenset(str(error["code"]).upper() for error in listed if isinstance(error.get("code"), str))
    messages = [str(error["message"]) for error in listed if isinstance(error.get("message"), str)]
    if isinstance(value.get("details"), str):  # token servers
        messages.append(value["details"])
    if isinstance(value.get("error_description"), str):
        messages.append(value["error_description"])
    return codes, messages
