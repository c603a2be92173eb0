"""Directories as values, by lstat and read alone: what the agent's own code is compared with."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any


def snapshot(top: str | bytes, *, owners: bool = True, directory_mtimes: bool = True) -> dict[bytes, tuple[Any, ...]]:
    """Return every path below `top` with everything that is to survive a push and a pull."""
    rows: dict[bytes, tuple[Any, ...]] = {}
    names: dict[tuple[int, int], list[bytes]] = {}
    _walk(os.open(top, os.O_RDONLY | os.O_DIRECTORY), b"", rows, names, owners, directory_mtimes)
    for group in names.values():
        for path in group:
            rows[path] = (*rows[path], ("linked", tuple(sorted(group))) if len(group) > 1 else ())
    return rows


def _walk(fd: int, prefix: bytes, rows: dict, names: dict, owners: bool, directory_mtimes: bool) -> None:
    for name in sorted(map(os.fsencode, os.listdir(fd))):
        path = prefix + name
        about = os.stat(name, dir_fd=fd, follow_symlinks=False)
        is_dir = stat.S_ISDIR(about.st_mode)
        owner = (about.st_uid, about.st_gid) if owners else ()
        mtime = about.st_mtime_ns if directory_mtimes or not is_dir else None
        content: Any = None
        xattrs: tuple = ()
        if stat.S_ISREG(about.st_mode):
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
            digest = hashlib.sha256()
            while chunk := os.read(file, 1 << 20):
                digest.update(chunk)
            xattrs = tuple(sorted((x, os.getxattr(file, x)) for x in os.listxattr(file) if x.startswith("user.")))
            os.close(file)
            content = (about.st_size, digest.hexdigest())
            names.setdefault((about.st_dev, about.st_ino), []).append(path)
        elif stat.S_ISLNK(about.st_mode):
            content = os.readlink(name, dir_fd=fd)
        elif is_dir:
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            xattrs = tuple(sorted((x, os.getxattr(below, x)) for x in os.listxattr(below) if x.startswith("user.")))
            _walk(below, path + b"/", rows, names, owners, directory_mtimes)
        else:
            content = about.st_rdev
        rows[path] = (stat.filemode(about.st_mode), owner, mtime, content, xattrs)
    os.close(fd)
