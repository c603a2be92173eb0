"""The rows of a state, and the rows of a scan (design, "State and scan")."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from agent.core.model.entry import Node, Version


class Fingerprint(NamedTuple):
    """The answer of lstat(2) for a path, compared for equality only. Times in ns, size in bytes, `mode` is st_mode."""

    ino: int
    size: int
    mode: int
    uid: int
    gid: int
    mtime: int
    ctime: int


PREEXISTING_FINGERPRINT = Fingerprint(-2, -1, 0, -1, -1, -1, -1)
"""The fingerprint of a path that a pull found and left as it was: equal to none that lstat(2) reports."""


class ScannedPath(NamedTuple):
    """One path of a scan. Paths with the same `fingerprint.ino` and `nlink` above 1 are one file.

    `device` is st_rdev as (major, minor).
    """

    path: bytes
    fingerprint: Fingerprint
    nlink: int = 1
    device: tuple[int, int] = (0, 0)


class StateRow(NamedTuple):
    """One path of the workspace as it was last pulled or pushed.

    `node` is what was recorded, `fingerprint` what lstat(2) reported on this disk then, None for a path that was not
    pulled. The two differ if the disk cannot hold what was recorded (owners, for an unprivileged agent): a path has
    changed if the disk differs from `fingerprint`, not if it differs from `node`. Paths that share a non-zero `group`
    are one file.
    """

    path: bytes
    node: Node
    version: Version | None
    fingerprint: Fingerprint | None
    group: int = 0


class StateRows(Protocol):
    """Rows in order: a list, or something that needs less memory for a million of them."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[StateRow]: ...


class AppendableRows(StateRows, Protocol):
    """Rows that can be appended to."""

    def append(self, row: StateRow, /) -> None:
        """Add a row behind the others."""
