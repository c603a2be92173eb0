"""Standard output, and the errors of writing to it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from agent.errors import WorkspaceError


class StandardOutput(io.TextIOWrapper):
    """Standard output whose errors are errors of ours, also if click writes: it prints help and version itself."""

    def write(self, text: str) -> int:
        """Write text; raises the errors of the function `write`."""
        with _as_output():
            return super().write(text)

    def flush(self) -> None:
        """Flush the buffer; raises the errors of the function `write`."""
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
    """Detach a stream from its buffer without closing the buffer."""
    try:
        stream.detach()
    except (WorkspaceError, OSError):  # the rest cannot be written; that error was reported before
        abandon()
        stream.detach()


def write(data: bytes) -> None:
    """Write to standard output.

    Raises:
        BrokenPipeError: the reader closed the pipe.
        WorkspaceError: it cannot be written.
    """
    with _as_output():
        sys.stdout.buffer.write(data)


def flush() -> None:
    """Flush standard output; raises the errors of `write`."""
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
    """Redirect standard output to /dev/null, so that the interpreter's last flush does not fail."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
