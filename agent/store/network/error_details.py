"""The details of an HTTP error response (distribution-spec, "Error Codes"), made safe for a terminal. Pure.

Error responses come from registries, but also from proxies and content networks, with HTML pages, and from object
stores, with XML. Of those the text counts, without tags.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from typing import NamedTuple

READ_MAX = 64 << 10
"""Bytes of an error response's body that are read."""

_SHOWN = 300
# Each byte can match in one way only, so that hostile bodies cost linear time.
_TITLE = re.compile(r"<title[^<>]*>([^<>]*)<", re.IGNORECASE)
_SCRIPT = re.compile(r"</?(?:script|style)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")


class ErrorDetails(NamedTuple):
    """The details of an error response.

    Attributes:
        status: the HTTP status.
        codes: the error codes of the body, in upper case.
        text: one line for users.
        words: the body's whole text, in lower case.
    """

    status: int
    codes: frozenset[str]
    text: str
    words: str = ""

    def mentions(self, *beginnings: str) -> bool:
        """Return whether the text has one of `beginnings` (lower case) at the beginning of a word."""
        return any(map(self._mentions, beginnings))

    def _mentions(self, beginning: str) -> bool:
        at = self.words.find(beginning)
        while at > 0 and self.words[at - 1].isalnum():
            at = self.words.find(beginning, at + 1)
        return at >= 0


def parse_error_details(status: int, body: bytes, secrets: Iterable[str] = ()) -> ErrorDetails:
    """Return the details in a response's body; `secrets` are replaced in their text."""
    codes, messages = _errors(body[:READ_MAX])
    words = body[:READ_MAX].decode(errors="replace")
    text = "; ".join(messages) or ("" if codes else words)
    if codes and not messages:
        text = ", ".join(sorted(codes))
    elif not codes and not messages and text.lstrip().startswith("<"):
        title = _TITLE.search(text)
        words = _without_tags(text)
        text = html.unescape(title[1]) if title and title[1].strip() else words
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, "***")
    return ErrorDetails(status, codes, clean(text), " ".join(words.lower().split()))


def clean(text: str) -> str:
    """Return `text` as one short printable line."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"


def _without_tags(page: str) -> str:
    """Return the text of an HTML or XML page, without scripts and style sheets."""
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
