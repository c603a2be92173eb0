"""Gives new files their names, and leaves out those whose place others took."""

from __future__ import annotations

import os
import stat

from agent.core.directory.state_row import PREEXISTING_FINGERPRINT, Fingerprint
from agent.workspace.filesystem.root import Root
from agent.workspace.filesystem.system_errors import collides
from agent.workspace.write.directory_entries import DirectoryEntries


class Placement:
    """Moves what was made under a temporary name to its path.

    Args:
        root: the directory.
        entries: changes names below it.
        keep: never replace what others put there: leave the path out instead.

    Attributes:
        left_out: the paths that were left out.
    """

    def __init__(self, root: Root, entries: DirectoryEntries, *, keep: bool) -> None:
        self._root = root
        self._entries = entries
        self._keep = keep
        self.left_out: list[bytes] = []

    def place(self, path: bytes, made: bytes, about: os.stat_result) -> Fingerprint:
        """Rename `made` to the last part of `path`; return the new fingerprint.

        It is `PREEXISTING_FINGERPRINT` if the path was left out.

        Args:
            about: the last `fstat` of what was made.

        Raises:
            OSError: the system refused.
            DivergedError: with `keep`, a directory is at `path`.
        """
        try:
            if not self._entries.rename_into_place(path, made):
                return self._root.fingerprint(about)
            above, name = self._root.at(path)
            now = os.stat(name, dir_fd=above, follow_symlinks=False)
        except (FileExistsError, FileNotFoundError):
            if not self._keep:
                raise
            return self.leave_out(path, made)
        if self._keep and _content_of(now) != _content_of(about):
            return PREEXISTING_FINGERPRINT  # another process wrote to it as soon as it had its name
        return self._root.fingerprint(now)

    def leave_out(self, path: bytes, made: bytes) -> Fingerprint:
        """Remove `made`, because others put something at `path`; return `PREEXISTING_FINGERPRINT`.

        Raises:
            DivergedError: a directory is at `path`.
        """
        self._entries.discard(path, made)
        found = self._root.lstat(path)
        if found is not None and stat.S_ISDIR(found.fingerprint.mode):
            raise collides(path)
        self.left_out.append(path)
        return PREEXISTING_FINGERPRINT


def _content_of(about: os.stat_result) -> tuple[int, int, int]:
    return about.st_ino, about.st_size, about.st_mtime_ns
