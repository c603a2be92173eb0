"""An advisory lock on a file (flock(2)), which the kernel releases when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import os

_HELD = frozenset({errno.EWOULDBLOCK, errno.EACCES, errno.EINTR})


def open_lock_file(path: str, mode: int) -> int:
    """Return a descriptor of the lock file at `path`, which is created with `mode` if it is missing.

    Nothing may remove the file: two processes could then lock two files of that name.

    Raises:
        OSError: the file cannot be opened, or a symbolic link is in its place.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def try_lock(descriptor: int) -> bool:
    """Lock an open file, without waiting; return False if another descriptor holds the lock.

    Raises:
        OSError: the file system does not lock, or fails.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise
    return True
