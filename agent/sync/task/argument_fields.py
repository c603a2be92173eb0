"""Parsers for the fields of the steps' argument, one for each kind of value.

Every parser gets the value and its place in the argument, for the UsageError that it raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from agent.core.spelling.duration import EXAMPLES, parse_duration
from agent.core.spelling.path import check_path
from agent.errors import UnsafeArchiveError, UsageError


class Fields:
    """The fields of one object; each is taken once."""

    def __init__(self, value: Any, where: str) -> None:
        if type(value) is not dict:
            refuse(where, "not an object")
        self._rest = dict(value)
        self._where = where

    def maybe(self, name: str, parse: Callable[[Any, str], Any]) -> Any:
        """Return a field, None if it is not there."""
        if name not in self._rest:
            return None
        return parse(self._rest.pop(name), f"{self._where}.{name}" if self._where else name)

    def take(self, name: str, parse: Callable[[Any, str], Any]) -> Any:
        """Return a field that must be there."""
        if name not in self._rest:
            refuse(self._where, f"the field {name!r} is missing")
        return self.maybe(name, parse)

    def end(self) -> None:
        """Refuse fields that nobody took."""
        if self._rest:
            refuse(self._where, f"unknown field {min(self._rest)!r}")


def text_of(value: Any, where: str) -> str:
    """Return printable text without variables that nobody replaced."""
    text = free_text(value, where)
    if not text or not text.isprintable():
        refuse(where, "empty, or not printable")
    for left in ("$(", "{{"):
        if left in text:
            refuse(where, f"{text[:200]} still has {left!r} in it, which nobody replaced")
    return text


def free_text(value: Any, where: str) -> str:
    """Return text of any kind."""
    if type(value) is not str:
        refuse(where, "not a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        refuse(where, "not UTF-8")
    return value


def directory(value: Any, where: str) -> str:
    """Return an absolute path."""
    text = text_of(value, where)
    if not text.startswith("/"):
        refuse(where, f"{text} is not an absolute path")
    return text


def path_below(value: Any, where: str) -> bytes:
    """Return a path from some root, `b""` for the root itself."""
    path = text_of(value, where).encode().strip(b"/")
    try:
        return check_path(path) if path else b""
    except UnsafeArchiveError:
        refuse(where, f"{value} is not a path below the root, without '.' and '..'")


def glob_of(value: Any, where: str) -> str:
    """Return a glob."""
    text = free_text(value, where)
    if not text.strip("/"):
        refuse(where, "the glob is empty")
    return text


def file_name(value: Any, where: str) -> str:
    """Return a file's name."""
    text = text_of(value, where)
    if "/" in text or text in (".", ".."):
        refuse(where, f"{text} is no file's name")
    return text


def flag(value: Any, where: str) -> bool:
    """Return a boolean."""
    if type(value) is not bool:
        refuse(where, "neither true nor false")
    return value


def positive(value: Any, where: str) -> int:
    """Return a number above 0."""
    if type(value) is not int or value <= 0:
        refuse(where, "not a positive integer")
    return value


def duration(value: Any, where: str) -> int:
    """Return seconds, one or more."""
    seconds = parse_duration(text_of(value, where))
    if not seconds:
        refuse(where, f"{value} is no duration from 1s on, such as {EXAMPLES}")
    return seconds


def one_of(*choices: str) -> Callable[[Any, str], str]:
    """Return a parser of one of several values."""

    def parse(value: Any, where: str) -> str:
        if value not in choices:
            refuse(where, f"not one of {', '.join(choices)}")
        return str(value)

    return parse


def list_of(parse: Callable[[Any, str], Any]) -> Callable[[Any, str], tuple[Any, ...]]:
    """Return a parser of lists."""

    def parse_list(value: Any, where: str) -> tuple[Any, ...]:
        if type(value) is not list:
            refuse(where, "not a list")
        return tuple(parse(item, f"{where}[{at}]") for at, item in enumerate(value))

    return parse_list


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields of a JSON object; a field that is there twice is refused."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        refuse("", f"the field {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return fields


def refuse(where: str, what: str) -> NoReturn:
    """Raise the UsageError about the field at `where`, `""` for the whole."""
    raise UsageError(
        what,
        subject=f"the step's argument, {where}" if where else "the step's argument",
        remedy="see docs/reference/steps.md for what it may say",
    )
