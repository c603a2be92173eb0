"""Changes directory entries: makes and replaces names, also in directories that are read-only."""

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
from agent.workspace.scan.tree_walk import TEMPORARY

_T = TypeVar("_T")
_NO_LINKS: Final = NOT_SUPPORTED | {errno.EPERM, errno.EMLINK}


class DirectoryEntries:
    """Changes names below a root. Every method raises OSError as the system does.

    A read-only directory that this user owns is made writable until `restore_modes`.

    Args:
        keep: never replace an existing name: `make` makes everything under a temporary name, and `rename_into_place`
        raises
            FileExistsError.
    """

    def __init__(self, root: Root, *, keep: bool = False) -> None:
        self._root = root
        self._keep = keep
        self._opened: dict[bytes, int] = {}
        self._count = 0

    def within(self, path: bytes, act: Callable[[int, bytes], _T]) -> _T:
        """Return act(descriptor of the parent directory of `path`, last part of `path`)."""
        above, name = self._root.at(path)
        try:
            return act(above, name)
        except PermissionError:
            if not self._make_writable(parent(path)):
                raise
        above, name = self._root.at(path)
        return act(above, name)

    def make(self, path: bytes, create: Callable[[int, bytes], _T]) -> tuple[_T, bytes]:
        """Make something new at `path`, or under a temporary name beside it if `path` exists.

        `create` must raise FileExistsError for an existing name.

        Returns:
            The result of `create`, and the name that it made.
        """

        def attempt(above: int, name: bytes) -> tuple[_T, bytes]:
            if self._keep:
                return self._make_temporary(above, create)
            try:
                return create(above, name), name
            except FileExistsError:
                return self._make_temporary(above, create)

        return self.within(path, attempt)

    def rename_into_place(self, path: bytes, made: bytes) -> bool:
        """Rename the name that `make` returned to `path` in one step; False if it is the same name."""
        above, name = self._root.at(path)
        if made == name:
            return False
        if self._keep:
            _rename_if_free(above, made, name)
        else:
            os.rename(made, name, src_dir_fd=above, dst_dir_fd=above)
        return True

    def discard(self, path: bytes, made: bytes) -> None:
        """Remove the name that `make` returned; errors are ignored."""
        try:
            above, _ = self._root.at(path)
            os.unlink(made, dir_fd=above)
        except OSError:
            return

    def restore_modes(self, skip: Callable[[bytes], bool]) -> None:
        """Restore the modes of directories that were made writable, except those for which `skip` returns True."""
        for path, mode in self._opened.items():
            if not skip(path):
                try:
                    os.fchmod(self._root.directory(path), mode)
                except (FileNotFoundError, NotADirectoryError):
                    continue
        self._opened.clear()

    def _make_temporary(self, above: int, create: Callable[[int, bytes], _T]) -> tuple[_T, bytes]:
        while True:
            self._count += 1
            name = TEMPORARY + b"%d-%d" % (os.getpid(), self._count)
            try:
                return create(above, name), name
            except FileExistsError:
                continue  # left by a killed process with the same pid

    def _make_writable(self, path: bytes) -> bool:
        """Make the directory `path` writable for its owner; False if it is already, or another user's."""
        fd = self._root.directory(path)
        about = os.fstat(fd)
        mode = stat.S_IMODE(about.st_mode)
        if about.st_uid != os.geteuid() or mode & 0o300 == 0o300:
            return False
        os.fchmod(fd, mode | 0o700)
        self._opened.setdefault(path, mode)
        return True


def _rename_if_free(above: int, made: bytes, name: bytes) -> None:
    """Rename within a directory, never over an existing name: in one step if the file system has hard links."""
    try:
        os.link(made, name, src_dir_fd=above, dst_dir_fd=above, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=above, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.rename(made, name, src_dir_fd=above, dst_dir_fd=above)
        return
    os.unlink(made, dir_fd=above)
