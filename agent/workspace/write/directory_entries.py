"""Put names into directories, replace what stands there in one step, and get into read-only directories."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from agent.core.spelling.path import parent
from agent.workspace.filesystem.root import Root
from agent.workspace.filesystem.system_errors import NOT_SUPPORTED
from agent.workspace.scan.scan import TEMPORARY

_T = TypeVar("_T")
_NO_LINKS: Final = NOT_SUPPORTED | {errno.EPERM, errno.EMLINK}


class Names:
    """Changes names below a root. Every method raises OSError as the system does.

    A directory of this user's own that does not let its owner write is made to, until `restore`.

    Args:
        keep: what stands already is never replaced: `put` makes everything beside its place, and `settle` raises
            FileExistsError.
    """

    def __init__(self, root: Root, *, keep: bool = False) -> None:
        self._root = root
        self._keep = keep
        self._opened: dict[bytes, int] = {}
        self._count = 0

    def within(self, path: bytes, act: Callable[[int, bytes], _T]) -> _T:
        """Return act(descriptor of the directory that holds `path`, last name of `path`)."""
        above, name = self._root.at(path)
        try:
            return act(above, name)
        except PermissionError:
            if not self._open_up(parent(path)):
                raise
        above, name = self._root.at(path)
        return act(above, name)

    def put(self, path: bytes, make: Callable[[int, bytes], _T]) -> tuple[_T, bytes]:
        """Make something new at `path`, or beside it if something stands there, until `settle`.

        `make` must refuse a name that is taken with FileExistsError.

        Returns:
            What `make` returned, and the name that it was made under.
        """

        def attempt(above: int, name: bytes) -> tuple[_T, bytes]:
            if self._keep:
                return self._put_beside(above, make)
            try:
                return make(above, name), name
            except FileExistsError:
                return self._put_beside(above, make)

        return self.within(path, attempt)

    def settle(self, path: bytes, placed: bytes) -> bool:
        """Move what `put` placed to `path` in one step; False if it is there already."""
        above, name = self._root.at(path)
        if placed == name:
            return False
        if self._keep:
            _move_to_free(above, placed, name)
        else:
            os.rename(placed, name, src_dir_fd=above, dst_dir_fd=above)
        return True

    def discard(self, path: bytes, placed: bytes) -> None:
        """Remove what `put` placed, as well as can be."""
        try:
            above, _ = self._root.at(path)
            os.unlink(placed, dir_fd=above)
        except OSError:
            return

    def restore(self, skip: Callable[[bytes], bool]) -> None:
        """Give directories that were made writable their modes back, save those that `skip` names."""
        for path, mode in self._opened.items():
            if not skip(path):
                try:
                    os.fchmod(self._root.directory(path), mode)
                except (FileNotFoundError, NotADirectoryError):
                    continue
        self._opened.clear()

    def _put_beside(self, above: int, make: Callable[[int, bytes], _T]) -> tuple[_T, bytes]:
        while True:
            self._count += 1
            name = TEMPORARY + b"%d-%d" % (os.getpid(), self._count)
            try:
                return make(above, name), name
            except FileExistsError:
                continue  # left by a process of that number that was killed

    def _open_up(self, path: bytes) -> bool:
        """Let the owner write in the directory `path`; False if that is not what was missing."""
        fd = self._root.directory(path)
        about = os.fstat(fd)
        mode = stat.S_IMODE(about.st_mode)
        if about.st_uid != os.geteuid() or mode & 0o300 == 0o300:
            return False
        os.fchmod(fd, mode | 0o700)
        self._opened.setdefault(path, mode)
        return True


def _move_to_free(above: int, placed: bytes, name: bytes) -> None:
    """Rename within a directory, never over something: in one step where there are hard links."""
    try:
        os.link(placed, name, src_dir_fd=above, dst_dir_fd=above, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=above, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.rename(placed, name, src_dir_fd=above, dst_dir_fd=above)
        return
    os.unlink(placed, dir_fd=above)
