"""The granularity of a file system's change times: milliseconds if it is local, up to two seconds else."""

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
        point: the mount point.
        kind: the type of the file system, such as `ext4`.
        root: the directory of the file system that is mounted.
    """

    device: tuple[int, int]
    point: bytes
    kind: str
    root: bytes = b"/"


def parse_mounts(text: bytes) -> list[Mount]:
    """Return the mounts in a mountinfo file (proc(5)); malformed lines are skipped."""
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
    """Return the mounts of this process; none if /proc is not available."""
    try:
        with os.fdopen(os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC), "rb") as file:
            return parse_mounts(file.read())
    except OSError:
        return []


def tick(mounts: list[Mount], device: tuple[int, int], path: bytes) -> int:
    """Return the granularity of change times below a directory, in ns (design, "State and scan").

    That is the granularity of the coarsest file system mounted at or below `path`. Unknown types count as remote: a
    tick that is too long costs one more read of a file, a tick that is too short loses a change.

    Args:
        mounts: the mounts of this process.
        device: (major, minor) of the directory.
        path: the directory's real path.
    """
    below = path.rstrip(b"/") + b"/"
    kinds = {mount.kind for mount in mounts if mount.point.startswith(below)}
    at = [mount.kind for mount in mounts if mount.device == device] or _covering(mounts, path)
    return LOCAL_TICK_NS if at and kinds.union(at) <= _LOCAL else COARSE_TICK_NS


def _covering(mounts: list[Mount], path: bytes) -> list[str]:
    """Return the type of the mount that contains `path`, for file systems whose devices mountinfo does not list."""
    within = [mount for mount in mounts if (path + b"/").startswith(mount.point.rstrip(b"/") + b"/")]
    return [max(within, key=lambda mount: len(mount.point)).kind] if within else []


def _unescape(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), text)
