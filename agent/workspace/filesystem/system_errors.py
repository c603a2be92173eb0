"""Errors for users, made of the system's errors."""

from __future__ import annotations

import errno
import os
from typing import Final

from agent.core.spelling.path import show
from agent.errors import DivergedError, FileChangedError, WorkspaceError

_REMEDY = {
    errno.ENOSPC: "free some space, or give the volume a larger limit, and run it again",
    errno.EDQUOT: "free some space, or raise the quota, and run it again",
    errno.EFBIG: "raise the limit for the size of files, or use another file system",
    errno.EROFS: "mount the volume writable",
    errno.EACCES: "give this user the permission, or run as the owner",
    errno.EPERM: "give this user the permission, or run as the owner",
    errno.EIO: "the disk or its server fails; check it, then run it again",
    errno.ESTALE: "the file server lost the directory; mount it again",
    errno.EBUSY: "it is mounted or in use; unmount it first",
    errno.ENAMETOOLONG: "the file system does not hold names this long; use another one",
    errno.EMLINK: "the file system does not hold this many links to one file; use another one",
    errno.ENOTEMPTY: "it holds files that the workspace does not know; move them away",
    errno.EMFILE: "raise the limit for open files (ulimit -n)",
    errno.ENFILE: "the machine has too many open files; close some",
}
NOT_SUPPORTED: Final = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""Errors of a file system without extended attributes, or hard links."""

NO_DATA: Final = frozenset({errno.ENXIO})
"""Errors for an offset after which the file is only a hole (lseek(2))."""

LINK_IN_THE_WAY: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO})
"""Errors for a file or directory that was replaced by a link, a file or a socket (open(2))."""

_LOST_FOUND = b"lost+found"
"""The directory at the root of ext4 that only root can read."""

_STOP_OTHERS = "stop whatever works in the directory, then run it again"


def failed(error: OSError, path: bytes, doing: str) -> WorkspaceError:
    """Return the error for an OSError; `doing` says what failed, such as `cannot be read`."""
    code = error.errno or 0
    remedy = _REMEDY.get(code, "check the directory and its file system")
    if path == _LOST_FOUND and code in (errno.EACCES, errno.EPERM):
        remedy = "it is the file system's own; let a directory beside it be the workspace (in a pod: subPath)"
    return WorkspaceError(f"{doing}: {os.strerror(code) if code else error}", subject=show(path) or ".", remedy=remedy)


def collides(path: bytes) -> DivergedError:
    """Return the error for a path that is a directory on disk and none in the workspace, or the reverse."""
    return DivergedError(
        "the workspace and the directory disagree about whether this is a directory",
        subject=show(path),
        remedy="stop what writes there before the workspace is pulled, or pull into an empty directory",
    )


def changed(path: bytes, what: str = "changed while it was read") -> FileChangedError:
    """Return the error for a path that another process changed meanwhile."""
    return FileChangedError(what, subject=show(path) or ".", remedy=_STOP_OTHERS)
