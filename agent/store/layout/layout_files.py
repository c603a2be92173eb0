"""The files of an image layout: written whole or not at all, and a lock for its index."""

from __future__ import annotations

import errno
import os
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from agent.errors import UnavailableError
from agent.files.durable_write import rename_durably
from agent.files.file_lock import open_lock_file, try_lock

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
def translate_errors(path: str) -> Iterator[None]:
    """Turn an OSError about the layout at `path` into an error for users.

    A caller that expects a missing file catches FileNotFoundError inside.

    Raises:
        UnavailableError: the disk is full, access is denied, or the disk fails. Exit code 21: for the user the store of
            the images failed, not the workspace.
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
    """Hold an advisory lock on the file `path`, which is created if it is missing and never removed.

    Threads of one process exclude each other too. Writers hold the lock for moments only, so a lock that is not
    released for `wait` seconds means that its holder hangs.

    Raises:
        UnavailableError: the lock was not released for `wait` seconds, or the file cannot be opened or locked.
    """
    with translate_errors(path):
        descriptor = open_lock_file(path, 0o666)
    try:
        deadline, pause = time.monotonic() + wait, _PAUSE
        while not _try_lock(descriptor, path):
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"another process has held the lock for {wait:g} s",
                    subject=path,
                    remedy="see what it is doing, or end it; the lock goes with it",
                )
            time.sleep(pause * (0.5 + random.random()))  # noqa: S311 (jitter, so that waiters do not collide again)
            pause = min(2 * pause, _PAUSE_MAX)
        yield
    finally:
        os.close(descriptor)


class TemporaryFile:
    """A new file in `directory`. `rename_to` gives it its place; else it is removed when the context ends.

    The file is locked while its writer lives, so that `remove_abandoned` spares it.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._path = ""
        self.descriptor = -1

    def __enter__(self) -> TemporaryFile:
        with translate_errors(self._directory):
            while self.descriptor < 0:
                self._path = os.path.join(self._directory, f"{TEMPORARY}{secrets.token_hex(8)}")
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                if _try_lock(descriptor, self._path) and os.fstat(descriptor).st_nlink:
                    self.descriptor = descriptor
                else:  # remove_abandoned took it before it was locked
                    os.close(descriptor)
        return self

    def rename_to(self, path: str) -> None:
        """Sync the content and rename the file to `path`, replacing a file there.

        Raises:
            OSError: the system refused.
        """
        os.fsync(self.descriptor)
        rename_durably(self._path, path)
        self._path = ""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.descriptor)
        if self._path:
            with suppress(FileNotFoundError):
                os.unlink(self._path)


def remove_abandoned(directory: str) -> None:
    """Remove the temporary files of writers that were killed.

    Raises:
        OSError: the directory cannot be listed.
        UnavailableError: a file cannot be locked.
    """
    for name in os.listdir(directory):
        if not name.startswith(TEMPORARY):
            continue
        path = os.path.join(directory, name)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # removed meanwhile, or another user's
            continue
        try:
            if _try_lock(descriptor, path):
                with suppress(OSError):
                    os.unlink(path)
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int, path: str) -> bool:
    with translate_errors(path):
        return try_lock(descriptor)
