"""How fine the clock of a file system is: local ones tick in ms, servers and FAT in up to two seconds."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

LOCAL_TICK_NS = 20_000_000
COARSE_TICK_NS = 2_000_000_000

_LOCAL = frozenset(
    {
        *("bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "hugetlbfs", "jfs", "nilfs2", "overlay"),
        *("ramfs", "reiserfs", "squashfs", "tmpfs", "ubifs", "xfs", "zfs"),
    }
)
_ESCAPE = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line of /proc/self/mountinfo.

    Attributes:
        device: (major, minor).
        point: where it is mounted.
        kind: of the file system.
        root: what of the file system is mounted there.
    """

    device: tuple[int, int]
    point: bytes
    kind: str
    root: bytes = b"/"


def parse_mounts(text: bytes) -> list[Mount]:
    """Return the mounts of a mountinfo file (proc(5)); lines that make no sense are left out."""
    found = []
    for line in text.splitlines():
        left, separator, right = line.partition(b" - ")
        fields = left.split(b" ")
        device = fields[2].split(b":") if len(fields) >= 6 else []
        if separator and len(device) == 2 and device[0].isdigit() and device[1].isdigit():
            kind = right.split(b" ")[0].decode(errors="replace")
            point, root = _unescape(fields[4]), _unescape(fields[3])
            found.append(Mount((int(device[0]), int(device[1])), point, kind, root))
    return found


def read_mounts() -> list[Mount]:
    """Return the mounts that this process sees, none where /proc does not tell."""
    try:
        with os.fdopen(os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC), "rb") as file:
            return parse_mounts(file.read())
    except OSError:
        return []


def tick(mounts: list[Mount], device: tuple[int, int], path: bytes) -> int:
    """Return the granularity in ns of the change times below the directory `path` on `device`
    (design, "State and scan").

    That of the coarsest file system mounted at or below `path`. One that is not known to be local counts as a
    server's: a tick that is too long costs reading a file once more, one that is too short loses a change.
    """
    below = path.rstrip(b"/") + b"/"
    kinds = {mount.kind for mount in mounts if mount.point.startswith(below)}
    at = [mount.kind for mount in mounts if mount.device == device] or _covering(mounts, path)
    return LOCAL_TICK_NS if at and kinds.union(at) <= _LOCAL else COARSE_TICK_NS


def _covering(mounts: list[Mount], path: bytes) -> list[str]:
    """The kind of the mount that `path` lies in by name, for file systems whose devices mountinfo does not list."""
    within = [mount for mount in mounts if (path + b"/").startswith(mount.point.rstrip(b"/") + b"/")]
    return [max(within, key=lambda mount: len(mount.point)).kind] if within else []


def _unescape(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), text)
