"""Limits on the size of an archive, beyond which it is refused (design, "Trust")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from agent.errors import IntegrityError, UnsafeArchiveError
from agent.remedy import allow_more

MIB = 1 << 20
GIB = 1 << 30


class ArchiveLimits(NamedTuple):
    """Bounds on what is read. All of them hold for one layer; `expanded` and `entries` for what a pull writes, too.

    Attributes:
        expanded: bytes of the tar, and bytes of all contents with holes filled.
        entries: members of the tar, lines of a table of contents.
        depth: names in one path.
        header: bytes of one extended header; the common readers written in Go stop at 1 MiB too.
        toc: bytes of a table of contents, before and after decompression; of a tar of others, of what it has instead,
            extended headers.
        frame: bytes of tar in one frame of ours.
        window: bytes of zstd window in a frame of ours.
        foreign_window: bytes of zstd window in a layer of others (`zstd --long=27`).
        ratio: how much larger than its blob a tar of others may be, once it is above `free` bytes. Ours carry sparse
            files, whose zeros shrink 30,000 times, and say their sizes first: they are held by `expanded` alone.
        free: bytes of tar that a layer of others may always have.
        padding: bytes behind the end of archive in a layer of others.
    """

    expanded: int = 1 << 40
    entries: int = 10_000_000
    depth: int = 4096
    header: int = MIB
    toc: int = GIB
    frame: int = 16 * MIB
    window: int = 8 * MIB
    foreign_window: int = 128 * MIB
    ratio: int = 1000
    free: int = 16 * GIB
    padding: int = 64 * MIB


DEFAULT_LIMITS = ArchiveLimits()
OPTIONS: Final[Mapping[str, str]] = {
    "bytes": "expanded",
    "entries": "entries",
    "depth": "depth",
    "toc": "toc",
    "ratio": "ratio",
}
"""The limits that users can set: fields of `ArchiveLimits` by the name in `--limit NAME=N`."""


def limits_of(numbers: Mapping[str, int]) -> ArchiveLimits:
    """Return the limits with those that `numbers` names, of `OPTIONS`, set."""
    return DEFAULT_LIMITS._replace(**{OPTIONS[name]: number for name, number in numbers.items()})


def damaged(what: str, subject: str = "layer") -> IntegrityError:
    """Return the error for bytes that are no archive, or not the one that was promised."""
    return IntegrityError(
        what, subject=subject, remedy="the image is damaged or was edited; push it again or pull another"
    )


def excessive(what: str, subject: str = "layer", *, limit: str | None = None) -> UnsafeArchiveError:
    """Return the error for an archive that goes beyond a limit; `limit` is its name in `OPTIONS`, if it has one."""
    if limit is None:
        return UnsafeArchiveError(what, subject=subject, remedy="do not use the image unless you trust its author")
    assert limit in OPTIONS
    return UnsafeArchiveError(what, subject=subject, remedy=allow_more(limit))
