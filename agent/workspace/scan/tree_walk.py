"""Lists every path of a workspace in one pass, in the bytes order of whole paths (design, "State and scan")."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Final, TypeAlias

from agent.core.directory.state_row import Fingerprint, ScannedPath
from agent.core.model.entry import new_tuple
from agent.core.spelling.path import WHITEOUT, ancestors, show
from agent.errors import WorkspaceError
from agent.workspace.filesystem.root import Root
from agent.workspace.filesystem.system_errors import changed, failed

TEMPORARY: Final = WHITEOUT + b".instep-"
"""The prefix of temporary files' names. No workspace can hold such a name, so no user has a file of that name."""

_SHOWN = 10
_FORMAT = 0o170000
_ENCODING = (sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())  # what os.fsencode asks for each name

Warn: TypeAlias = Callable[[bytes, str], None]
_Row: TypeAlias = ScannedPath | tuple[bytes]
"""A path that was found, or the position of the paths below a directory in the order: its path and `/`."""


class TreeWalk:
    """One pass over a workspace; iterate it once.

    Args:
        root: the directory. The root itself is not among the paths.
        warn: called as `warn(path, why)` for each path that is skipped, such as sockets.
        below: find only this path, the paths below it, and the directories above it; `b""` for everything.
        start: find no path before this one.
        stop: find neither this path nor any after it.

    Attributes:
        leftovers: files of a killed pull (see `TEMPORARY`), which are skipped; complete after the pass.

    File systems that are mounted below the root belong to the tree, as they do for `tar`.
    A path that is deleted between its listing and its `lstat` is skipped; every other error is raised.

    Raises, while iterated:
        WorkspaceError: something cannot be read (an unreadable directory is not an empty one), or, after
            the last path, names begin with `.wh.`, which no layer can hold.
        FileChangedError: a directory was replaced by something else meanwhile.
    """

    def __init__(
        self, root: Root, warn: Warn, below: bytes = b"", *, start: bytes = b"", stop: bytes | None = None
    ) -> None:
        self._root = root
        self._below = below
        self._start = start
        self._stop = stop
        self._warn = warn
        self._refused: list[bytes] = []
        self._refused_count = 0
        self.leftovers: list[bytes] = []

    def __iter__(self) -> Iterator[ScannedPath]:
        self._root.refresh()
        if self._root.is_removed():
            raise changed(b"", "was removed")  # the system would list it as empty
        for path in (*ancestors(self._below), self._below) if self._below else ():
            found = self._root.lstat(path)
            if found is None:
                return
            yield found
            if not stat.S_ISDIR(found.fingerprint.mode):
                return
        stack: list[Iterator[_Row]] = [iter(self._listing(self._below + b"/" if self._below else b""))]
        while stack:
            for row in stack[-1]:
                if type(row) is ScannedPath:
                    yield row
                else:
                    stack.append(iter(self._listing(row[0])))
                    break
            else:
                stack.pop()
        if self._refused:
            raise self._refusal()

    def _listing(self, prefix: bytes) -> list[_Row]:
        """Return everything in one directory, in order. `prefix` is the directory's path and `/`."""
        try:
            fd = self._root.directory(prefix[:-1])
            rows = self._read(fd, prefix)
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            raise changed(prefix[:-1]) from None
        except OSError as error:
            raise failed(error, prefix[:-1], "cannot be read") from error
        if self._is_boundary(prefix):
            rows = [row for row in rows if self._is_wanted(row)]
        rows.sort(key=itemgetter(0))
        return rows

    # One long loop: it runs for every path, and each call from it would cost as much as the system call.
    def _read(self, fd: int, prefix: bytes) -> list[_Row]:
        rows: list[_Row] = []
        add, new, home = rows.append, new_tuple, self._root.device
        encoding, errors = _ENCODING
        boundary = self._is_boundary(prefix)
        with os.scandir(fd) as entries:
            for entry in entries:
                name = entry.name.encode(encoding, errors)
                path = prefix + name
                if boundary and not self._includes(path, entry):
                    continue
                if name[:4] == WHITEOUT and self._skip(path, name):
                    continue
                try:
                    about = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise failed(error, path, "cannot be examined") from error
                mode = about.st_mode
                kind = mode & _FORMAT
                ino = about.st_ino
                if about.st_dev != home:
                    ino |= about.st_dev << 64
                found = (
                    ino,
                    about.st_size,
                    mode,
                    about.st_uid,
                    about.st_gid,
                    about.st_mtime_ns,
                    about.st_ctime_ns,
                )
                device = (0, 0)
                if kind == stat.S_IFREG:
                    pass
                elif kind == stat.S_IFDIR:
                    add((path + b"/",))
                elif kind in (stat.S_IFCHR, stat.S_IFBLK):
                    device = (os.major(about.st_rdev), os.minor(about.st_rdev))
                elif kind == stat.S_IFSOCK:
                    self._warn(path, "a socket cannot be kept, skipped")
                    continue
                # Not Found(...): a named tuple's constructor costs as much as the system call.
                add(new(ScannedPath, (path, new(Fingerprint, found), about.st_nlink, device)))
        return rows

    def _is_boundary(self, prefix: bytes) -> bool:
        """Return whether start or stop is inside a directory."""
        start, stop = self._start, self._stop
        return (start != b"" and start.startswith(prefix)) or (stop is not None and stop.startswith(prefix))

    def _is_wanted(self, row: _Row) -> bool:
        path = row[0].rstrip(b"/")
        return self._is_inside(path) if type(row) is ScannedPath else self._may_contain(path)

    def _includes(self, path: bytes, entry: os.DirEntry[str]) -> bool:
        return self._is_inside(path) or (self._may_contain(path) and entry.is_dir(follow_symlinks=False))

    def _is_inside(self, path: bytes) -> bool:
        """Return whether a path is between start and stop."""
        return self._start <= path and (self._stop is None or path < self._stop)

    def _may_contain(self, path: bytes) -> bool:
        """Return whether a path below this one may be between start and stop."""
        return self._start < path + b"0" and (self._stop is None or path + b"/" < self._stop)

    def _skip(self, path: bytes, name: bytes) -> bool:
        if name.startswith(TEMPORARY):
            self.leftovers.append(path)
        else:
            self._refused_count += 1
            if len(self._refused) < _SHOWN:
                self._refused.append(path)
        return True

    def _refusal(self) -> WorkspaceError:
        more = self._refused_count - len(self._refused)
        return WorkspaceError(
            "names that begin with .wh. mean deletions in an image and cannot be kept",
            subject=", ".join(map(show, sorted(self._refused))) + (f" and {more} more" if more else ""),
            remedy="rename or remove them",
        )
