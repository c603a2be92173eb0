"""Standard output, and what its refusals mean."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from agent.errors import WorkspaceError


class StandardOutput(io.TextIOWrapper):
    """Standard output whose refusals are errors of ours, no matter who writes: click prints help and version itself."""

    def write(self, text: str) -> int:
        """Write text; raises as the function `write` does."""
        with _as_output():
            return super().write(text)

    def flush(self) -> None:
        """Send on what was written; raises as the function `write` does."""
        with _as_output():
            super().flush()


@contextmanager
def standard_output() -> Iterator[None]:
    """Use `StandardOutput` as `sys.stdout`, if that is a stream of bytes."""
    plain = sys.stdout
    if not isinstance(plain, io.TextIOWrapper):
        yield
        return
    # A name must not fail for the terminal's encoding.
    sys.stdout = made = StandardOutput(plain.buffer, plain.encoding, "backslashreplace", line_buffering=plain.isatty())
    try:
        yield
    finally:
        sys.stdout = plain
        _detach(made)


def _detach(stream: io.TextIOWrapper) -> None:
    """Let go of a stream without closing what it writes to."""
    try:
        stream.detach()
    except (WorkspaceError, OSError):  # what it still had to write was refused; that was said before
        abandon()
        stream.detach()


def write(data: bytes) -> None:
    """Write to standard output.

    Raises:
        BrokenPipeError: nobody reads it any more.
        WorkspaceError: it cannot be written.
    """
    with _as_output():
        sys.stdout.buffer.write(data)


def flush() -> None:
    """Send on what was written to standard output; raises as `write` does."""
    sys.stdout.flush()


@contextmanager
def _as_output() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise WorkspaceError(
            f"cannot be written: {os.strerror(error.errno or 0)}",
            subject="standard output",
            remedy="write it somewhere with room",
        ) from error


def abandon() -> None:
    """Point standard output at nothing, so that the interpreter's last flush does not complain."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
