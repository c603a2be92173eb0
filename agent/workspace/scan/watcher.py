"""Notice that a directory changed and has come to rest."""

from __future__ import annotations

import errno
import os
import select
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple

from agent.core.spelling.path import show
from agent.errors import WorkspaceError
from agent.workspace.filesystem.root import Root, open_root
from agent.workspace.filesystem.system_errors import failed

if TYPE_CHECKING:
    from watchdog.observers.inotify_c import InotifyEvent, InotifyFD, WatchDescriptor

REMEMBERED: Final = 10_000
"""The most paths that a `Rest` names."""

_LIMITS = frozenset({errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_LONGEST_NAP = 1.0  # seconds; then look whether the reader still lives


class Rest(NamedTuple):
    """A directory changed and is quiet again.

    Attributes:
        paths: what changed, relative to the directory, as far as it is known: to tell people, not to rely on.
        overflow: the kernel's queue overflowed and events were lost: only a full scan tells what changed.
    """

    paths: frozenset[bytes]
    overflow: bool


class Watcher:
    """Watches a directory and everything below it (inotify(7), read by watchdog); directories made later too.

    watchdog's observer keeps an overflow of the kernel's queue to itself, and the failure to watch a directory
    below the first as well; therefore this stands one step lower, on its reader of the queue.

    Args:
        path: the directory.
        clock: seconds, monotonic.

    Raises:
        WorkspaceError: it cannot be watched, or the kernel's limit of watches is too low for it.
    """

    def __init__(self, path: str | bytes, *, clock: Callable[[], float] = time.monotonic) -> None:
        reader = _reader()
        root = open_root(path)
        self._path = root.path
        self._clock = clock
        self._stopped = False
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            self._reader = reader()
        except OSError as error:
            root.close()
            os.close(self._bell)
            raise failed(error, self._path, "cannot be watched") from error
        self._tree = _Tree(root, self._reader, self._ring, clock)
        self._reader.start()
        try:
            self._tree.cover(b"")
            self._check()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def wait(self, settle: float, timeout: float | None = None) -> Rest | None:
        """Wait until something changed and then nothing for `settle` seconds.

        Args:
            settle: seconds of quiet.
            timeout: seconds after which to return None, unless a change is settling.

        Returns:
            What came to rest; None after `stop`, or when the time is over.

        Raises:
            WorkspaceError: the directory itself is gone, or there are too many directories to watch.
        """
        until = None if timeout is None else self._clock() + timeout
        while not self._stopped:
            self._check()
            now, last = self._clock(), self._tree.last
            if last is not None and now >= last + settle:
                return self._tree.take()
            if last is None and until is not None and now >= until:
                return None
            end = until if last is None else last + settle
            self._listen(_LONGEST_NAP if end is None else min(end - now, _LONGEST_NAP))
        return None

    def stop(self) -> None:
        """End `wait`, now and from now on. May be called in a signal handler and from any thread."""
        self._stopped = True
        self._ring()

    def close(self) -> None:
        """Stop watching; closing again is no error."""
        self._stopped = True
        self._reader.stop()
        self._reader.join()
        self._tree.close()
        bell, self._bell = self._bell, -1
        if bell >= 0:
            os.close(bell)

    def _ring(self) -> None:
        if self._bell >= 0:
            os.eventfd_write(self._bell, 1)

    def _listen(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        if poll.poll(max(0.0, seconds) * 1000 + 1):
            os.eventfd_read(self._bell)

    def _check(self) -> None:
        refusal = self._tree.refusal
        if refusal is None:
            if not self._reader.is_alive():
                raise WorkspaceError("watching ended", subject=show(self._path), remedy="start it again")
        elif refusal.errno in _LIMITS:
            raise WorkspaceError(
                "it has more directories than the kernel lets this user watch",
                subject=show(self._path),
                remedy="raise fs.inotify.max_user_watches (sysctl)",
            )
        else:
            raise failed(refusal, self._path, "cannot be watched any more")


def _reader() -> type[InotifyFD]:
    """Import watchdog: only one command pays for that, and only some versions tell of an overflow."""
    try:
        from watchdog.observers.inotify_c import InotifyFD, WatchCallback
    except ImportError as error:
        raise _too_old() from error
    if not hasattr(WatchCallback, "on_queue_overflow"):
        raise _too_old()
    return InotifyFD


def _too_old() -> WorkspaceError:
    return WorkspaceError(
        "this version cannot tell when the kernel loses events", subject="watchdog", remedy="install watchdog>=7.1,<8"
    )


class _Tree:
    """The watches on a directory and all below it, and what they told. The reader's thread calls `on_…`.

    A directory gets its watch before the event that announced it counts as a change: what happened in it
    unwatched happened before the scan that the change leads to.
    """

    def __init__(self, root: Root, reader: InotifyFD, ring: Callable[[], None], clock: Callable[[], float]) -> None:
        from watchdog.observers.inotify_c import CallbackId, InotifyConstants, Mask

        self._root = root
        self._reader = reader
        self._ring = ring
        self._clock = clock
        self._lock = threading.Lock()
        self._covering = threading.Lock()
        self._ident = CallbackId
        self._gone = InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_MOVE_SELF | InotifyConstants.IN_UNMOUNT
        # Not opening and closing for reading: a scan would then wake its own watcher.
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

    def take(self) -> Rest:
        """Return what was told since the last time."""
        with self._lock:
            rest = Rest(frozenset(self._paths), self._overflow)
            self._paths.clear()
            self._overflow = False
            self.last = None
        return rest

    def cover(self, path: bytes) -> None:
        """Watch the directory `path` and all below it, anew those that are watched already."""
        # A Root of its own: what an older one holds open may have moved.
        with self._covering, self._root.duplicate() as root:
            waiting = [path]
            while waiting and self.refusal is None:
                path = waiting.pop()
                try:
                    waiting += self._watch(root, path)
                except OSError as error:
                    # One that vanished leads to an event of its own, one that cannot be read fails the scan.
                    if not path or error.errno in _LIMITS:
                        self.refusal = error

    def on_event(self, event: InotifyEvent) -> None:
        """Note a change, after watching the directory that it may have brought."""
        path = self._watched.get(event.wd, (b"", 0))[0]
        if event.name:
            path = path + b"/" + event.name if path else event.name
            if event.is_directory and (event.is_create or event.is_moved_to):
                self.cover(path)
        elif not path and event.wd in self._watched and event.mask & self._gone:
            self.refusal = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        elif not path and event.wd in self._watched:
            return  # the root's own attributes are no part of the workspace, and a push leaves its mark there
        self._note({path})

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """Forget a directory that is gone."""
        self._watched.pop(wd, None)

    def on_queue_overflow(self) -> None:
        """Note that events were lost, after watching the directories that they may have brought."""
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
            if len(self._paths) < REMEMBERED:
                self._paths |= paths
            self._overflow |= overflow
            self.last = self._clock()
        self._ring()
