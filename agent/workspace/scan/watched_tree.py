"""The watches on a directory and everything below it, and the changes that they reported."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from agent.workspace.filesystem.root import Root

if TYPE_CHECKING:
    from watchdog.observers.inotify_c import InotifyEvent, InotifyFD, WatchDescriptor

PATHS_MAX: Final = 10_000
"""The most paths in a `SettledChange`."""

WATCH_LIMITS: Final = frozenset({errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""The kernel's limits of watches and descriptors (inotify_add_watch(2))."""


class SettledChange(NamedTuple):
    """A change of a directory, after which it was quiet for a while.

    Attributes:
        paths: changed paths, relative to the directory; perhaps not all, so for display only.
        overflow: the kernel's queue overflowed and events were lost: only a full scan finds every change.
    """

    paths: frozenset[bytes]
    overflow: bool


class WatchedTree:
    """The watches on a directory and all below it, and the reported changes. The reader's thread calls `on_…`.

    A new directory is watched before the event that announced it counts as a change. So what happens in it unwatched
    happens before the scan that the change leads to.
    """

    def __init__(self, root: Root, reader: InotifyFD, wake: Callable[[], None], clock: Callable[[], float]) -> None:
        from watchdog.observers.inotify_c import CallbackId, InotifyConstants, Mask

        self._root = root
        self._reader = reader
        self._wake = wake
        self._clock = clock
        self._lock = threading.Lock()
        self._covering = threading.Lock()
        self._ident = CallbackId
        self._gone = InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_MOVE_SELF | InotifyConstants.IN_UNMOUNT
        # Without opening and closing for reading: a scan would then trigger its own watcher.
        self._mask = Mask(
            InotifyConstants.IN_MODIFY
            | InotifyConstants.IN_ATTRIB
            | InotifyConstants.IN_CLOSE_WRITE
            | InotifyConstants.IN_CREATE
            | InotifyConstants.IN_DELETE
            | InotifyConstants.IN_MOVE
            | InotifyConstants.IN_DELETE_SELF
            | InotifyConstants.IN_MOVE_SELF
            | InotifyConstants.IN_ONLYDIR
        )
        self._watched: dict[WatchDescriptor, tuple[bytes, int]] = {}
        self._count = 0
        self._paths: set[bytes] = set()
        self._overflow = False
        self.last: float | None = None
        self.refusal: OSError | None = None

    def close(self) -> None:
        """Close the root."""
        self._root.close()

    def take(self) -> SettledChange:
        """Return the changes since the last call."""
        with self._lock:
            change = SettledChange(frozenset(self._paths), self._overflow)
            self._paths.clear()
            self._overflow = False
            self.last = None
        return change

    def cover(self, path: bytes) -> None:
        """Watch the directory `path` and all below it, also those that are watched already."""
        # A Root of its own: directories that an older one holds open may have moved.
        with self._covering, self._root.duplicate() as root:
            waiting = [path]
            while waiting and self.refusal is None:
                path = waiting.pop()
                try:
                    waiting += self._watch(root, path)
                except OSError as error:
                    # A deleted directory leads to an event of its own; an unreadable one makes the scan fail.
                    if not path or error.errno in WATCH_LIMITS:
                        self.refusal = error

    def on_event(self, event: InotifyEvent) -> None:
        """Note a change, after watching the directory that it may have created."""
        path = self._watched.get(event.wd, (b"", 0))[0]
        if event.name:
            path = path + b"/" + event.name if path else event.name
            if event.is_directory and (event.is_create or event.is_moved_to):
                self.cover(path)
        elif not path and event.wd in self._watched and event.mask & self._gone:
            self.refusal = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        elif not path and event.wd in self._watched:
            return  # the root's own attributes are no part of the workspace, and a push changes one
        self._note({path})

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """Drop the watch of a deleted directory."""
        self._watched.pop(wd, None)

    def on_queue_overflow(self) -> None:
        """Note that events were lost, after watching the directories that they may have created."""
        self.cover(b"")
        self._note(set(), overflow=True)

    def _watch(self, root: Root, path: bytes) -> list[bytes]:
        """Watch one directory and return the directories in it."""
        fd = root.directory(path)
        self._count += 1
        # By descriptor: a path could lead through a link, or be longer than PATH_MAX.
        place, ident = b"/proc/self/fd/%d" % fd, self._ident(self._count)
        wd = self._reader.add_callback(place, self._mask, self, ident)
        before = self._watched.get(wd)
        self._watched[wd] = path, ident
        if before is not None:
            self._reader.remove_callbacks([(wd, self._ident(before[1]))])
        prefix = path + b"/" if path else b""
        with os.scandir(fd) as entries:
            return [prefix + os.fsencode(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]

    def _note(self, paths: set[bytes], *, overflow: bool = False) -> None:
        with self._lock:
            if len(self._paths) < PATHS_MAX:
                self._paths |= paths
            self._overflow |= overflow
            self.last = self._clock()
        self._wake()
