"""Paths inside a workspace: bytes, relative to its root, `/` between names, in one spelling only."""

from __future__ import annotations

from collections.abc import Iterable

from agent.errors import UnsafeArchiveError

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
NAME_MAX = 255
TARGET_MAX = 4095
"""Bytes of a symbolic link's target, at most (symlink(2), PATH_MAX)."""


def check_path(path: bytes) -> bytes:
    """Return `path` if it names something below the root in canonical spelling.

    Raises:
        UnsafeArchiveError: it is empty, absolute, holds NUL, an empty name, `.` or `..`, or a name above 255 bytes.
    """
    for name in path.split(b"/"):
        if name in (b"", b".", b"..") or len(name) > NAME_MAX or b"\0" in name:
            raise UnsafeArchiveError(
                "not a path below the workspace's root",
                subject=show(path)[:300] or ".",
                remedy="the image is hostile or damaged; do not use it",
            )
    return path


def is_target(target: bytes) -> bool:
    """Say whether a symbolic link can have this target; where it leads to is another matter."""
    return 0 < len(target) <= TARGET_MAX and b"\0" not in target


def parent(path: bytes) -> bytes:
    """Return the directory that holds `path`; `b""` is the root."""
    return path.rpartition(b"/")[0]


def ancestors(path: bytes) -> list[bytes]:
    """Return every directory above `path`, outermost first, without the root."""
    found = []
    at = path.find(b"/")
    while at >= 0:
        found.append(path[:at])
        at = path.find(b"/", at + 1)
    return found


def directories_above(paths: Iterable[bytes]) -> set[bytes]:
    """Return every directory above one of these paths, without the root."""
    above: set[bytes] = set()
    for below in paths:
        path = parent(below)
        while path and path not in above:
            above.add(path)
            path = parent(path)
    return above


def show(path: bytes) -> str:
    """Return `path` for people: printable, one line, unambiguous enough to find the file again."""
    text = path.decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
