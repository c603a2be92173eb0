"""Standard output, and what its refusals mean."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from agent.errors import WorkspaceError


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
    with _as_output():
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
