"""What the system's refusals mean to the user."""

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
"""The file system has no extended attributes."""

NO_DATA: Final = frozenset({errno.ENXIO})
"""There is nothing but a hole up to the end of the file (lseek(2))."""

LINK_IN_THE_WAY: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO})
"""Another kind of thing stands where a file or directory was: a link, a file, a socket (open(2))."""

_FILE_SYSTEMS_OWN = b"lost+found"
"""What ext4 keeps at its root, for root alone."""

_MEANWHILE = "stop whatever works in the directory, then run it again"


def failed(error: OSError, path: bytes, doing: str) -> WorkspaceError:
    """Return the error to raise when the system refused: `doing` is what was tried, such as `cannot be read`."""
    code = error.errno or 0
    remedy = _REMEDY.get(code, "check the directory and its file system")
    if path == _FILE_SYSTEMS_OWN and code in (errno.EACCES, errno.EPERM):
        remedy = "it is the file system's own; let a directory beside it be the workspace (in a pod: subPath)"
    return WorkspaceError(f"{doing}: {os.strerror(code) if code else error}", subject=show(path) or ".", remedy=remedy)


def collides(path: bytes) -> DivergedError:
    """Return the error to raise where what stands and what shall stand are a directory and something else."""
    return DivergedError(
        "the workspace and the directory disagree about whether this is a directory",
        subject=show(path),
        remedy="stop what writes there before the workspace is pulled, or pull into an empty directory",
    )


def changed(path: bytes, what: str = "changed while it was read") -> FileChangedError:
    """Return the error to raise when someone else changed `path` under our hands."""
    return FileChangedError(what, subject=show(path) or ".", remedy=_MEANWHILE)
