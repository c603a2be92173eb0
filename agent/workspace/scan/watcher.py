"""Waits until a directory changed and was then quiet."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from agent.core.spelling.path import show
from agent.errors import WorkspaceError
from agent.workspace.filesystem.root import open_root
from agent.workspace.filesystem.system_errors import failed
from agent.workspace.scan.watched_tree import WATCH_LIMITS, SettledChange, WatchedTree

if TYPE_CHECKING:
    from watchdog.observers.inotify_c import InotifyFD

_WAIT_MAX = 1.0  # seconds, after which the reader is checked


class Watcher:
    """Watches a directory and everything below it (inotify(7), read by watchdog), also directories that are made later.

    watchdog's observer hides an overflow of the kernel's queue, and the failure to watch a directory below the first.
    So this class uses watchdog's reader of the queue instead.

    Args:
        path: the directory.
        clock: returns monotonic seconds.

    Raises:
        WorkspaceError: the directory cannot be watched, or the kernel's limit of watches is too low.
    """

    def __init__(self, path: str | bytes, *, clock: Callable[[], float] = time.monotonic) -> None:
        reader = _reader()
        root = open_root(path)
        self._path = root.path
        self._clock = clock
        self._stopped = False
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            self._reader = reader()
        except OSError as error:
            root.close()
            os.close(self._wakeup)
            raise failed(error, self._path, "cannot be watched") from error
        self._tree = WatchedTree(root, self._reader, self._wake, clock)
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

    def wait(self, settle: float, timeout: float | None = None) -> SettledChange | None:
        """Wait for a change, and then until there was none for `settle` seconds.

        Args:
            settle: seconds of quiet.
            timeout: seconds after which to return None, unless a change is settling.

        Returns:
            The change; None after `stop`, or after `timeout`.

        Raises:
            WorkspaceError: the directory itself was removed, or there are too many directories to watch.
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
            self._listen(_WAIT_MAX if end is None else min(end - now, _WAIT_MAX))
        return None

    def stop(self) -> None:
        """End `wait`, now and from now on. May be called in a signal handler and from any thread."""
        self._stopped = True
        self._wake()

    def close(self) -> None:
        """Stop watching. May be called twice."""
        self._stopped = True
        self._reader.stop()
        self._reader.join()
        self._tree.close()
        bell, self._wakeup = self._wakeup, -1
        if bell >= 0:
            os.close(bell)

    def _wake(self) -> None:
        if self._wakeup >= 0:
            os.eventfd_write(self._wakeup, 1)

    def _listen(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        if poll.poll(max(0.0, seconds) * 1000 + 1):
            os.eventfd_read(self._wakeup)

    def _check(self) -> None:
        refusal = self._tree.refusal
        if refusal is None:
            if not self._reader.is_alive():
                raise WorkspaceError("watching ended", subject=show(self._path), remedy="start it again")
        elif refusal.errno in WATCH_LIMITS:
            raise WorkspaceError(
                "it has more directories than the kernel lets this user watch",
                subject=show(self._path),
                remedy="raise fs.inotify.max_user_watches (sysctl)",
            )
        else:
            raise failed(refusal, self._path, "cannot be watched any more")


def _reader() -> type[InotifyFD]:
    """Import watchdog, which only one command needs, in a version that reports an overflow."""
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
