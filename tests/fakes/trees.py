"""Directories as values, by lstat and read alone: what the agent's own code is compared with."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from typing import Any

_BLOCK = 64 << 10
_ZEROS = bytes(_BLOCK)
_KEPT = ("user.", "security.capability")
Tree = dict[bytes, tuple[Any, ...]]


def snapshot(
    top: str | bytes, *, owners: bool = True, directory_mtimes: bool = True, mtimes: bool = True, xattrs: bool = True
) -> Tree:
    """Return every path below `top` with everything that is to survive a push and a pull.

    Each is (mode as `ls -l` shows it, owner, mtime, what is in it, extended attributes, names of the same file).
    Holes count as the zeros that they are read as. Sockets are left out.
    """
    rows: Tree = {}
    names: dict[tuple[int, int], list[bytes]] = {}
    _walk(os.open(top, os.O_RDONLY | os.O_DIRECTORY), b"", rows, names)
    for group in names.values():
        for path in group:
            rows[path] = (*rows[path][:-1], tuple(sorted(group)) if len(group) > 1 else ())
    for path, (mode, owner, mtime, content, attributes, linked) in rows.items():
        timed = mtimes and (directory_mtimes or not mode.startswith("d"))
        rows[path] = (
            mode,
            owner if owners else (),
            mtime if timed else None,
            content,
            attributes if xattrs else (),
            linked,
        )
    return rows


def unlike(one: Tree, other: Tree) -> dict[bytes, tuple[Any, Any]]:
    """Return what differs between two snapshots, by path: an empty dict is what a test hopes for."""
    return {
        path: (one.get(path), other.get(path))
        for path in sorted(one.keys() | other.keys())
        if one.get(path) != other.get(path)
    }


def make_path(top: str | bytes, path: bytes) -> int:
    """Make the directory `path` below `top` step by step, however long it is; return a descriptor of it."""
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for name in path.split(b"/"):
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        os.close(fd)
        fd = below
    return fd


def _walk(fd: int, prefix: bytes, rows: Tree, names: dict[tuple[int, int], list[bytes]]) -> None:
    for name in sorted(map(os.fsencode, os.listdir(fd))):
        path = prefix + name
        about = os.stat(name, dir_fd=fd, follow_symlinks=False)
        content: Any = None
        attributes: tuple[tuple[str, bytes], ...] = ()
        if stat.S_ISSOCK(about.st_mode):
            continue
        if stat.S_ISREG(about.st_mode):
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
            content = (about.st_size, _digest(file))
            attributes = _attributes(file)
            os.close(file)
        elif stat.S_ISLNK(about.st_mode):
            content = os.readlink(name, dir_fd=fd)
        elif stat.S_ISDIR(about.st_mode):
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            attributes = _attributes(below)
            _walk(below, path + b"/", rows, names)
        else:
            content = about.st_rdev
        if not stat.S_ISDIR(about.st_mode):
            names.setdefault((about.st_dev, about.st_ino), []).append(path)
        owner = (about.st_uid, about.st_gid)
        rows[path] = (stat.filemode(about.st_mode), owner, about.st_mtime_ns, content, attributes, ())
    os.close(fd)


def _attributes(fd: int) -> tuple[tuple[str, bytes], ...]:
    return tuple(sorted((name, os.getxattr(fd, name)) for name in os.listxattr(fd) if name.startswith(_KEPT)))


def _digest(fd: int) -> str:
    """Return a digest of a content that costs nothing for holes: of its blocks that are not all zeros."""
    digest = hashlib.sha256()
    at = 0
    while True:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return digest.hexdigest()
            raise
        at = data - data % _BLOCK
        block = os.pread(fd, _BLOCK, at)
        if not block:
            return digest.hexdigest()
        if block != _ZEROS[: len(block)]:
            digest.update(b"%d:" % at + block)
        at += _BLOCK
