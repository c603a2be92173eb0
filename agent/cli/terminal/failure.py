"""Failures: an exception as one line for people or one JSON object, without secrets and control characters."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TextIO

import click

from agent.cli.terminal import command_exit_codes
from agent.errors import AgentError
from agent.remedy import Place

# Plain texts: compiling them takes a millisecond, and few runs redact a text.
# A reference or an address may contain a password. A text before a digest is not one.
_USERINFO = r"(?<![\w.:/-])(?!oci:)[^\s/'\"@:]+:(?!//)[^\s'\"@]+@(?!sha(?:256|512):)|(?<=://)[^\s/'\"@]+@"
_HEADER = r"(?i)\b(authorization\W{1,4})(?:(?:basic|bearer)\s+)?[\w+/=.~-]+|\b((?:basic|bearer)\s+)[\w+/=.~-]{16,}"
_FIELD = (
    r"(?i)\b((?:password|passwd|secret|token|access_token|refresh_token|identitytoken"
    r"|sig|(?:x-[a-z]+-)?(?:signature|credential|security-token))(?:\"\s*:\s*\"|=))[^\s&\"',;]+"
)

LINE_MAX = 2048
"""Bytes of a container's log that Kubernetes uses as the termination message if there is no other."""


class Failure(NamedTuple):
    """An error as the user sees it.

    Attributes:
        kind: the name of the error's class.
        subject, what, remedy: as in `AgentError`, redacted.
    """

    kind: str
    subject: str
    what: str
    remedy: str
    exit_code: int

    def text(self) -> str:
        """Return the line for people, at most `LINE_MAX` bytes with its newline. A long `what` is shortened first."""
        room = LINE_MAX - len(self._line("").encode()) - 1
        return _clipped(self._line(_clipped(self.what, max(room, LINE_MAX // 4))), LINE_MAX - 1)

    def _line(self, what: str) -> str:
        return f"agent: error: {self.subject}: {what}; {self.remedy}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return self._asdict()


def _clipped(text: str, size: int) -> str:
    """Return `text` in at most `size` bytes."""
    data = text.encode()
    return text if len(data) <= size else data[: size - len("…".encode())].decode(errors="ignore") + "…"


def place_of(words: Sequence[str], environ: Mapping[str, str]) -> Place:
    """Return the place where the errors of a command line are read."""
    command = next((word for word in words if not word.startswith("-")), "")
    if command in ("step", "controller"):
        return Place.STEP if command == "step" else Place.CONTROLLER
    return Place.IMAGE if "KUBERNETES_SERVICE_HOST" in environ else Place.LAPTOP


def describe(error: BaseException, place: Place = Place.LAPTOP) -> Failure:
    """Return any exception as a failure, with the remedy for a place."""
    if isinstance(error, AgentError):
        remedy = error.remedy_at(place)
        return _failure(type(error).__name__, error.subject, error.what, remedy, error.exit_code)
    if isinstance(error, click.ClickException):
        return _usage(error)
    return _failure(
        type(error).__name__,
        "internal error",
        f"unexpected {type(error).__name__}: {error}",
        "this is a bug: run it again as `agent --debug …` and report what that prints",
        command_exit_codes.BUG,
    )


def redact(text: str) -> str:
    """Return `text` on one line, printable, and without texts that look like credentials."""
    text = re.sub(_USERINFO, "***@", text)
    text = re.sub(_HEADER, r"\1\2***", text)
    return printable(re.sub(_FIELD, r"\1***", text))


def printable(text: str) -> str:
    """Return `text` with all unprintable characters escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def write_failure(failure: Failure, stream: TextIO, *, as_json: bool) -> None:
    """Write a failure and a newline."""
    stream.write((json.dumps({"error": failure.to_json()}) if as_json else failure.text()) + "\n")
    stream.flush()


def _usage(error: click.ClickException) -> Failure:
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "agent"
    what = error.format_message().rstrip(".").replace("\n", " ")
    what = what[:1].lower() + what[1:]
    return _failure("UsageError", command, what, f"see `{command} --help`", command_exit_codes.USAGE)


def _failure(kind: str, subject: str, what: str, remedy: str, exit_code: int) -> Failure:
    return Failure(kind, redact(subject), redact(what), redact(remedy), exit_code)
