"""Files that appear whole or not at all, and a lock, for stores in a directory."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from agent.errors import UnavailableError

LOCK = ".instep.lock"
TEMPORARY = ".instep-tmp-"
CHUNK = 1 << 20
WAIT = 60.0
"""Seconds to wait for other writers of a layout's index."""

_PAUSE = 0.001  # seconds
_PAUSE_MAX = 0.05

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def reporting(path: str) -> Iterator[None]:
    """Turn what the operating system says of the store's directory into an error for people.

    Where a missing file means something, the caller catches that inside.

    Raises:
        UnavailableError: the disk is full, access is denied, or the disk fails. Exit code 21: for the user it is
            the place where images are kept that does not answer, not the workspace.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            what, remedy = "no space left for images", "free some space there and run it again"
        elif error.errno in _DENIED:
            what, remedy = os.strerror(error.errno).lower(), "change its owner or mode, or use another directory"
        else:
            what, remedy = (error.strerror or "input/output error").lower(), "check the disk and run it again"
        raise UnavailableError(what, subject=path, remedy=remedy) from error


@contextmanager
def locked(path: str, wait: float = WAIT) -> Iterator[None]:
    """Hold an advisory lock on the file `path`, which is made if need be and never removed.

    The kernel drops it when its holder dies. Threads of one process exclude each other too. It is held for moments
    only, so that many writers come to their turn; one that is not given up for `wait` seconds is its holder's illness.

    Raises:
        UnavailableError: it was not to be had.
    """
    with reporting(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        until, pause = time.monotonic() + wait, _PAUSE
        while not _claim(descriptor, path):
            if time.monotonic() > until:
                raise UnavailableError(
                    f"another process has held the lock for {wait:g} s",
                    subject=path,
                    remedy="see what it is doing, or end it; the lock goes with it",
                )
            time.sleep(pause * (0.5 + random.random()))  # noqa: S311 (so that those who wait do not go in step)
            pause = min(2 * pause, _PAUSE_MAX)
        yield
    finally:
        os.close(descriptor)


class TemporaryFile:
    """A file in `directory` that becomes another by `become`, or is gone when the context ends.

    Its lock tells `sweep` that its writer lives.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._path = ""
        self.descriptor = -1

    def __enter__(self) -> TemporaryFile:
        with reporting(self._directory):
            while self.descriptor < 0:
                self._path = os.path.join(self._directory, f"{TEMPORARY}{secrets.token_hex(8)}")
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                if _claim(descriptor, self._path) and os.fstat(descriptor).st_nlink:
                    self.descriptor = descriptor
                else:  # a sweep took it between its making and its lock
                    os.close(descriptor)
        return self

    def become(self, path: str) -> None:
        """Make the content durable and put it at `path`, replacing what is there."""
        os.fsync(self.descriptor)
        os.rename(self._path, path)
        self._path = ""
        _sync_directory(os.path.dirname(path))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.descriptor)
        if self._path:
            with suppress(FileNotFoundError):
                os.unlink(self._path)


def sweep(directory: str) -> None:
    """Remove what killed writers left."""
    for name in os.listdir(directory):
        if not name.startswith(TEMPORARY):
            continue
        path = os.path.join(directory, name)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # gone meanwhile, or another user's
            continue
        try:
            if _claim(descriptor, path):
                with suppress(OSError):
                    os.unlink(path)
        finally:
            os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _claim(descriptor: int, path: str) -> bool:
    with reporting(path):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
