"""What a registry says when it says no (distribution-spec, "Error Codes"), made fit for a terminal.

Not only registries say no: the proxies and content networks before them answer with pages for people, object stores
with XML. Of those the words count, not the tags.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from typing import NamedTuple

READ_MAX = 64 << 10
"""Bytes of an error's body that are read."""

_SHOWN = 300
# Each byte can be taken in one way only: what a hostile server sends takes time in proportion.
_TITLE = re.compile(r"<title[^<>]*>([^<>]*)<", re.IGNORECASE)
_SCRIPT = re.compile(r"</?(?:script|style)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")


class Problem(NamedTuple):
    """A refusal.

    Attributes:
        status: HTTP's.
        codes: the error codes of the body, in upper case.
        text: a line for people.
        words: all that the body says, in lower case.
    """

    status: int
    codes: frozenset[str]
    text: str
    words: str = ""

    def says(self, *beginnings: str) -> bool:
        """Say whether a word, or several in a row, begin with one of `beginnings` (lower case)."""
        return any(map(self._says, beginnings))

    def _says(self, beginning: str) -> bool:
        at = self.words.find(beginning)
        while at > 0 and self.words[at - 1].isalnum():
            at = self.words.find(beginning, at + 1)
        return at >= 0


def parse_problem(status: int, body: bytes, secrets: Iterable[str] = ()) -> Problem:
    """Return the problem that `body` describes; `secrets` never appear in its text."""
    codes, messages = _errors(body[:READ_MAX])
    said = body[:READ_MAX].decode(errors="replace")
    text = "; ".join(messages) or ("" if codes else said)
    if codes and not messages:
        text = ", ".join(sorted(codes))
    elif not codes and not messages and text.lstrip().startswith("<"):
        title = _TITLE.search(text)
        said = _without_tags(text)
        text = html.unescape(title[1]) if title and title[1].strip() else said
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, "***")
    return Problem(status, codes, clean(text), " ".join(said.lower().split()))


def clean(text: str) -> str:
    """Return `text` as one short printable line."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"


def _without_tags(page: str) -> str:
    """Return what a page in HTML or XML says; not what stands between two tags of a script or a style sheet."""
    return html.unescape(_TAG.sub(" ", " ".join(_SCRIPT.split(page)[::2])))


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
