"""What the agent remembers of a directory, and what a scan finds in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from agent.core.model.entry import Node, Version


class Fingerprint(NamedTuple):
    """What lstat says of a path, compared for inequality only, never for order. `mode` is the whole st_mode."""

    ino: int
    size: int
    mode: int
    uid: int
    gid: int
    mtime: int
    ctime: int


KEPT = Fingerprint(-2, -1, 0, -1, -1, -1, -1)
"""Stands for what stood in the directory before a pull that left it alone: equals no fingerprint that lstat gives."""


class Found(NamedTuple):
    """One path of a scan. Paths with the same `print.ino` and `nlink` above 1 are one file.

    `device` is st_rdev as (major, minor).
    """

    path: bytes
    print: Fingerprint
    nlink: int = 1
    device: tuple[int, int] = (0, 0)


class Known(NamedTuple):
    """One path of the workspace as it was last pulled or pushed.

    `node` is what was recorded, `print` what lstat said on this disk then, None for a path that was not pulled.
    The two differ where the disk cannot hold what was recorded (owners, for an unprivileged agent): a path has
    changed when the disk differs from `print`, not when it differs from `node`. Paths that share a non-zero
    `group` are one file.
    """

    path: bytes
    node: Node
    version: Version | None
    print: Fingerprint | None
    group: int = 0


class Rows(Protocol):
    """Rows in order: a list, or something that needs less memory for a million of them."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Known]: ...


class Keeper(Rows, Protocol):
    """Keeps rows in the order in which they come."""

    def append(self, row: Known, /) -> None:
        """Add the next."""
