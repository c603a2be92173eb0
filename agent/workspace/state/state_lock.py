"""Locks that keep two agents from working in one directory, or with one state, at the same time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from agent.core.spelling.path import show
from agent.errors import BusyError
from agent.files.file_lock import open_lock_file, try_lock
from agent.workspace.filesystem.durable_files import mode_in
from agent.workspace.filesystem.system_errors import failed

WAIT: Final = 10.0
"""Seconds that an agent waits for another one in its directory."""
_POLL = 0.05  # seconds
_LOCK = "lock"


def _ignore(text: str) -> None:
    """Ignore a notice."""


class LockWait(NamedTuple):
    """The wait for another agent's lock.

    Attributes:
        wait: seconds.
        say: called once with the reason for the wait.
        clock: returns monotonic seconds.
        sleep: waits for a number of seconds.
    """

    wait: float = WAIT
    say: Callable[[str], None] = _ignore
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def acquire(self, try_acquire: Callable[[], bool], subject: bytes, holder: Callable[[], str] = str) -> None:
        """Try until a lock is acquired.

        Args:
            try_acquire: tries once; returns whether it succeeded.
            subject: the path in messages.
            holder: returns the lock's holder, such as ` (pid 5)`, or nothing.

        Raises:
            BusyError: another agent held the lock for `wait` seconds.
        """
        deadline, is_announced = self.clock() + self.wait, False
        while not try_acquire():
            what = f"another agent{holder()} is at work"
            if self.clock() >= deadline:
                raise BusyError(what, subject=show(subject), remedy="wait until it is done, or end it")
            if not is_announced:
                self.say(f"{show(subject)}: {what}; waiting for it, {self.wait:g} s at most")
                is_announced = True
            self.sleep(_POLL)


@contextmanager
def lock_state(home: str, wait: LockWait | None = None, *, subject: bytes | None = None) -> Iterator[None]:
    """Hold the lock of the state in the directory `home`, which exists; the kernel releases it when this process dies.

    Args:
        home: the state's directory.
        wait: how to wait for another agent.
        subject: the workspace's directory, for messages.

    Raises:
        BusyError: another agent held the lock for as long as `wait` says.
        WorkspaceError: the lock file cannot be opened or locked.
    """
    path = os.path.join(home, _LOCK)
    try:
        fd = open_lock_file(path, mode_in(home))
    except OSError as error:
        raise failed(error, os.fsencode(path), "cannot be locked") from error

    def try_acquire() -> bool:
        try:
            return try_lock(fd)
        except OSError as error:
            raise failed(error, os.fsencode(path), "cannot be locked") from error

    try:
        (wait or LockWait()).acquire(try_acquire, subject or os.fsencode(home), lambda: _holder(fd))
        with suppress(OSError):  # the pid is for messages only: a full disk is no reason to stop
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(fd)


def lock_directory(fd: int, path: bytes, wait: LockWait) -> None:
    """Lock an open workspace directory until it is closed. The lock leaves no trace in the directory.

    It keeps agents apart that have two states of one directory: another user's, another container's, `--state`.
    On file systems that cannot lock directories (NFS, some FUSE) only the state's lock protects.

    Raises:
        BusyError: another agent held the lock for as long as `wait` says.
    """

    def try_acquire() -> bool:
        try:
            return try_lock(fd)
        except OSError:
            return True

    wait.acquire(try_acquire, path)


def _holder(fd: int) -> str:
    with suppress(OSError):
        pid = os.pread(fd, 20, 0).decode(errors="replace").strip()
        return f" (pid {pid})" if pid.isdigit() else ""
    return ""
