"""An open workspace directory, whose paths are opened component by component through descriptors (design, "Trust").

Symbolic links on disk are never followed. So nothing outside can be read or written, whatever other processes do, and a
path may be longer than PATH_MAX and deeper than the limit of descriptors.
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from types import TracebackType
from typing import Final

from agent.core.directory.state_row import Fingerprint, ScannedPath
from agent.core.model.entry import new_tuple
from agent.core.spelling.path import show
from agent.errors import WorkspaceError
from agent.workspace.filesystem.clock_granularity import read_mounts, tick
from agent.workspace.filesystem.directory_mark import DirectoryMark, read_mark, write_mark
from agent.workspace.filesystem.system_errors import failed

OPEN_DIRECTORIES: Final = 64
DIR_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Root:
    """A workspace's top directory, held open. Serves one thread; another takes a `duplicate`.

    Attributes:
        path: the directory's real path, for messages and for the state's key; never used to open anything.
        identity: (st_dev, st_ino) of the directory.
        device: st_dev of the directory.
    """

    def __init__(self, fd: int, path: bytes) -> None:
        self.path = path
        self._fd = fd
        about = os.fstat(fd)
        self.identity = (about.st_dev, about.st_ino)
        self.device = about.st_dev
        self._open: OrderedDict[bytes, int] = OrderedDict()
        self._last = b""
        self._last_fd = fd

    def __enter__(self) -> Root:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close every descriptor. May be called twice; other calls are an error then."""
        self.refresh()
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = self._last_fd = -1

    def refresh(self) -> None:
        """Close every directory but the root, so that directories which others moved or replaced are opened again."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        self._last, self._last_fd = b"", self._fd

    def duplicate(self) -> Root:
        """Return another Root of the same directory, for another thread or process.

        Raises:
            WorkspaceError: it cannot be opened.
        """
        try:
            # Not dup(2): both would share one offset, so each would miss the entries that the other has read.
            return Root(os.open(b".", DIR_FLAGS, dir_fd=self._fd), self.path)
        except OSError as error:
            raise failed(error, b"", "cannot be opened") from error

    @property
    def mark(self) -> DirectoryMark | None:
        """The directory's mark, None if it has none."""
        return read_mark(self._fd)

    def set_mark(self, mark: DirectoryMark) -> None:
        """Set the directory's mark, if the system allows it."""
        write_mark(self._fd, mark)

    def tick(self) -> int:
        """Return the granularity of change times here, in ns, by the mounts (design, "State and scan")."""
        return tick(read_mounts(), (os.major(self.device), os.minor(self.device)), self.path)

    def directory(self, path: bytes) -> int:
        """Return a descriptor of the directory `path`, `b""` for the root; valid until the next call.

        Raises:
            OSError: the error of openat(2); ENOTDIR or ELOOP if a component is no directory.
        """
        if path == self._last:
            return self._last_fd
        fd = self._open.get(path)
        if fd is not None:
            self._open.move_to_end(path)
        else:
            fd = self._walk(path) if path else self._fd
        self._last, self._last_fd = path, fd
        return fd

    def at(self, path: bytes) -> tuple[int, bytes]:
        """Return (descriptor of the parent directory of `path`, last component); raises as `directory`."""
        above, _, name = path.rpartition(b"/")
        return (self._last_fd if above == self._last else self.directory(above)), name

    def close_directory(self, path: bytes) -> None:
        """Close the descriptor of a directory that is removed, or about to be."""
        fd = self._open.pop(path, None)
        if fd is not None:
            os.close(fd)
            self._last, self._last_fd = b"", self._fd

    def lstat(self, path: bytes) -> ScannedPath | None:
        """Return the `lstat` of `path`, None if it does not exist.

        Raises:
            WorkspaceError: the system refused.
        """
        try:
            fd, name = self.at(path)
            return self.found(path, os.stat(name, dir_fd=fd, follow_symlinks=False))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise failed(error, path, "cannot be examined") from error

    def is_removed(self) -> bool:
        """Return whether the root itself was removed meanwhile.

        Raises:
            WorkspaceError: the system refused.
        """
        try:
            return os.fstat(self._fd).st_nlink == 0
        except OSError as error:
            raise failed(error, b"", "cannot be examined") from error

    def found(self, path: bytes, about: os.stat_result) -> ScannedPath:
        """Return a stat result in the form of a scan."""
        device = (0, 0)
        if stat.S_ISCHR(about.st_mode) or stat.S_ISBLK(about.st_mode):
            device = (os.major(about.st_rdev), os.minor(about.st_rdev))
        return ScannedPath(path, self.fingerprint(about), about.st_nlink, device)

    def fingerprint(self, about: os.stat_result) -> Fingerprint:
        """Return the fingerprint of a stat result.

        Inode numbers are unique per device only: on another device than the root's (below a mount point, or on
        overlayfs) `ino` has the device above its 64 bits. Else two unrelated files could look like two names of one.
        """
        ino = about.st_ino
        if about.st_dev != self.device:
            ino |= about.st_dev << 64
        fingerprint: Fingerprint = new_tuple(
            Fingerprint,
            (
                ino,
                about.st_size,
                about.st_mode,
                about.st_uid,
                about.st_gid,
                about.st_mtime_ns,
                about.st_ctime_ns,
            ),
        )
        return fingerprint

    def _walk(self, path: bytes) -> int:
        above = path
        fd = self._fd
        while above:
            above = above.rpartition(b"/")[0]
            if above in self._open:
                fd = self._open[above]
                self._open.move_to_end(above)
                break
        rest = path[len(above) + 1 :] if above else path
        for name in rest.split(b"/"):
            if name in (b"", b".", b".."):
                raise ValueError(f"not a canonical path: {path!r}")
            fd = os.open(name, DIR_FLAGS, dir_fd=fd)
            above = above + b"/" + name if above else name
            self._cache(above, fd)
        return fd

    def _cache(self, path: bytes, fd: int) -> None:
        self._open[path] = fd
        if len(self._open) > OPEN_DIRECTORIES:
            gone, old = self._open.popitem(last=False)
            os.close(old)
            if gone == self._last:
                self._last, self._last_fd = b"", self._fd


def open_root(path: str | bytes, *, create: bool = False) -> Root:
    """Open the directory `path`.

    The path to the directory is the user's own, so its links are followed; links below the directory are not.

    Args:
        path: the directory.
        create: make it and its parents first, if they do not exist.

    Raises:
        WorkspaceError: `path` is no directory, or cannot be opened.
    """
    name = os.fsencode(path)
    try:
        if create:
            os.makedirs(name, exist_ok=True)
        real = os.path.realpath(name)
        return Root(os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), real)
    except (FileNotFoundError, NotADirectoryError, FileExistsError) as error:
        if create and isinstance(error, FileNotFoundError):  # in a file system that keeps no directories, such as /proc
            what, remedy = "a directory cannot be made there", "name another place"
        else:
            what, remedy = "not a directory", "name a directory that exists"
        raise WorkspaceError(what, subject=show(name), remedy=remedy) from error
    except OSError as error:
        raise failed(error, name, "cannot be opened") from error
