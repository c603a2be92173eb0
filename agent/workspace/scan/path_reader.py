"""Reads one path of a workspace: its type, attributes and content."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from typing import Final, NamedTuple

from agent.archive.tar.pax import is_kept
from agent.core.directory.state_row import ScannedPath
from agent.core.model.entry import KIND_BY_FILE_TYPE, Kind, Node, Xattrs
from agent.core.spelling.path import show
from agent.errors import WorkspaceError
from agent.workspace.filesystem.root import Root
from agent.workspace.filesystem.system_errors import LINK_IN_THE_WAY, NO_DATA, NOT_SUPPORTED, changed, failed

CHUNK: Final = 1 << 20
"""Bytes; at most this much is read at once."""

CAPABILITY: Final = b"security.capability"

_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ZEROS = bytes(CHUNK)
_BLOCK = 512  # the unit of st_blocks (stat(2))


class Content(NamedTuple):
    """An opened file: its extended attributes and its content, whole or in chunks of at most 1 MiB.

    A caller that reads `data` to its end gets the file as the scan found it, or a FileChangedError.
    """

    xattrs: Xattrs
    data: bytes | Iterator[bytes]


def read_xattrs(place: int | str) -> Xattrs:
    """Return the extended attributes that a layer can hold, sorted; `place` is a descriptor or a path.

    Raises:
        OSError: they cannot be read. A file system without extended attributes is no error.
    """
    try:
        names = os.listxattr(place)
    except OSError as error:
        if error.errno in NOT_SUPPORTED:
            return ()
        raise
    if not names:
        return ()
    encoded = sorted(name for name in map(os.fsencode, names) if is_kept(name))
    return tuple((name, os.getxattr(place, name)) for name in encoded)


def examine(root: Root, found: ScannedPath) -> Node:
    """Return the node of a path that a scan found, without a file's `sha256`. Only files have a `size`.

    Raises:
        FileChangedError: the path changed since the scan.
        WorkspaceError: the path cannot be read, or is a socket.
    """
    kind = KIND_BY_FILE_TYPE.get(stat.S_IFMT(found.fingerprint.mode))
    if kind is None:
        raise WorkspaceError("a socket cannot be kept", subject=show(found.path), remedy="remove it")
    try:
        if kind is Kind.DIR:
            fd = root.directory(found.path)  # which stays open for the scan, which lists it next
            _compare(root, found, os.fstat(fd))
            return _node(found, kind, xattrs=read_xattrs(fd))
        above, name = root.at(found.path)
        if kind is Kind.FILE:
            fd = os.open(name, _FILE_FLAGS, dir_fd=above)
            try:
                _compare(root, found, os.fstat(fd))
                return _node(found, kind, xattrs=read_xattrs(fd))
            finally:
                os.close(fd)
        target = os.readlink(name, dir_fd=above) if kind is Kind.LINK else b""
        _compare(root, found, os.stat(name, dir_fd=above, follow_symlinks=False))
        return _node(found, kind, target=target)
    except OSError as error:
        if error.errno == errno.EINVAL and kind is Kind.LINK:  # no longer a link (readlink(2))
            raise changed(found.path) from error
        raise _refused(error, found.path) from error


def open_content(root: Root, found: ScannedPath) -> Content:
    """Open a file that a scan found.

    A small file (up to 1 MiB) is read at once. The descriptor of a larger one is open until the end of `data`, or until
    `data` is collected. Holes are not read; their zeros come from one buffer.

    Raises, also from `data`:
        FileChangedError: the file changed since the scan, or while it was read.
        WorkspaceError: it cannot be read.
    """
    fd, size = -1, found.fingerprint.size
    try:
        above, name = root.at(found.path)
        fd = os.open(name, _FILE_FLAGS, dir_fd=above)
        try:
            # One byte more: a file may grow without a change of its times, within one tick of the clock.
            data = os.read(fd, size + 1) if size <= CHUNK else b""
            while 0 < len(data) < size and (more := os.read(fd, size + 1 - len(data))):
                data += more
            xattrs = read_xattrs(fd)
        finally:
            # If the fingerprint is the same now, the scanned file was read.
            _compare(root, found, os.fstat(fd))
        if size > CHUNK:
            stream, fd = _Stream(root, found, fd), -1
            return Content(xattrs, stream)
        if len(data) != size:
            raise changed(found.path)
        return Content(xattrs, data)
    except OSError as error:
        raise _refused(error, found.path) from error
    finally:
        if fd >= 0:
            os.close(fd)


def hash_content(root: Root, found: ScannedPath) -> bytes:
    """Return the raw sha256 of a file's content; raises as `open_content`."""
    data = open_content(root, found).data
    digest = sha256()
    for chunk in (data,) if isinstance(data, bytes) else data:
        digest.update(chunk)
    return digest.digest()


class _Stream(Iterator[bytes]):
    """The content of an open file, without reading its holes; owns the descriptor."""

    _fd = -1

    def __init__(self, root: Root, found: ScannedPath, fd: int) -> None:
        about = os.fstat(fd)
        self._root, self._found, self._fd = root, found, fd
        self._at = 0
        self._sparse = about.st_blocks * _BLOCK < about.st_size
        self._data_until = 0 if self._sparse else about.st_size
        self._hole_until = 0

    def __next__(self) -> bytes:
        if self._fd < 0:
            raise StopIteration
        try:
            return self._read()
        except OSError as error:
            self.close()
            raise _refused(error, self._found.path) from error

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def finish(self, size: int) -> None:
        """Check that the file has `size` bytes and did not change, and close it."""
        try:
            if size != self._found.fingerprint.size:
                raise changed(self._found.path)
            _compare(self._root, self._found, os.fstat(self._fd))
        finally:
            self.close()

    def _read(self) -> bytes:
        size = self._found.fingerprint.size
        if self._at >= size:
            # One byte more: a file may grow without a change of its times, within one tick of the clock.
            self.finish(self._at + len(os.pread(self._fd, 1, self._at)))
            raise StopIteration
        if self._sparse and self._at >= self._data_until and self._at >= self._hole_until:
            self._seek()
        if self._at < self._hole_until:
            length = min(CHUNK, self._hole_until - self._at)
            self._at += length
            return _ZEROS if length == CHUNK else _ZEROS[:length]
        data = os.pread(self._fd, min(CHUNK, self._data_until - self._at), self._at)
        if not data:
            self.close()
            raise changed(self._found.path)
        self._at += len(data)
        return data

    def _seek(self) -> None:
        """Find the end of the hole at the current offset, and the end of the data after it."""
        size = self._found.fingerprint.size
        try:
            data = os.lseek(self._fd, self._at, os.SEEK_DATA)
            self._hole_until = min(data, size)
            self._data_until = min(os.lseek(self._fd, data, os.SEEK_HOLE), size) if data < size else size
        except OSError as error:
            if error.errno not in NO_DATA:
                raise
            self._hole_until = size


def _compare(root: Root, found: ScannedPath, about: os.stat_result) -> None:
    now, then = root.fingerprint(about), found.fingerprint
    if now != then:
        if stat.S_ISDIR(then.mode):
            # Its size and times change with the names in it, which the scan lists itself.
            now = now._replace(size=then.size, mtime=then.mtime, ctime=then.ctime)
        if now != then:
            raise changed(found.path)


def _node(found: ScannedPath, kind: Kind, *, target: bytes = b"", xattrs: Xattrs = ()) -> Node:
    fingerprint = found.fingerprint
    size = fingerprint.size if kind is Kind.FILE else 0
    mode, uid, gid, mtime = fingerprint.mode & 0o7777, fingerprint.uid, fingerprint.gid, fingerprint.mtime
    return Node(kind, mode, uid, gid, mtime, size, b"", target, found.device, xattrs)


def _refused(error: OSError, path: bytes) -> WorkspaceError:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)) or error.errno in LINK_IN_THE_WAY:
        return changed(path)
    return failed(error, path, "cannot be read")
