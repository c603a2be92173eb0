"""Errors for users about a directory that is written."""

from __future__ import annotations

from agent.core.spelling.path import parent, show
from agent.errors import AgentError, UnsafeArchiveError
from agent.workspace.filesystem.system_errors import LINK_IN_THE_WAY, failed


def out_of_range(path: bytes, what: str) -> UnsafeArchiveError:
    """Return the error for a number that no system call takes."""
    return UnsafeArchiveError(
        f"{what} is out of this system's range", subject=show(path), remedy="the image is hostile or damaged"
    )


def refused(error: OSError, path: bytes, doing: str = "cannot be written") -> AgentError:
    """Return the error for a write that the system refused: `doing` is what was tried, such as `cannot be written`."""
    if error.errno in LINK_IN_THE_WAY:
        return in_the_way(path)
    return failed(error, path, doing)


def in_the_way(path: bytes) -> UnsafeArchiveError:
    """Return the error for a path whose parent is no directory on disk."""
    return UnsafeArchiveError(
        "a link or file stands on disk where a directory belongs, and is not followed",
        subject=show(parent(path) or path),
        remedy="stop whatever works in the directory and pull into an empty one",
    )
