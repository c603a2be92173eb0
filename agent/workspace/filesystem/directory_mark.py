"""The mark on a workspace's directory: the last pull into it, and the last push from it.

The state of a directory is stored elsewhere (`state_home`), and may be lost or restored from a backup on its own. The
mark is an extended attribute of the directory itself, and no part of the workspace. It distinguishes a state from an
older one of the same directory, and a directory from a new one with the same inode number
(docs/decisions/mark-on-the-directory.md).

There is no mark if the file system has no extended attributes, or this user may not set them.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import NamedTuple

from agent.core.model.entry import MARK

_FORMAT = re.compile(rb"1 ([0-9]+) ([0-9a-f]{16}) ([0-9a-f]{0,16}) ([0-9a-f]{0,64})")


class DirectoryMark(NamedTuple):
    """The value of a directory's mark.

    Attributes:
        pulled: 16 random hex digits, made by the last pull that wrote into the directory.
        target: 16 hex digits for the target of the last push since that pull, `""` if there was none.
        change: the id of the change that this push made.
    """

    pulled: str
    target: str = ""
    change: str = ""


def new_mark() -> DirectoryMark:
    """Return a new, unique mark."""
    return DirectoryMark(os.urandom(8).hex())


def is_name(text: str) -> bool:
    """Return whether a text is a valid `pulled`."""
    return re.fullmatch("[0-9a-f]{16}", text) is not None


def read_mark(fd: int) -> DirectoryMark | None:
    """Return the mark of an open directory; None if it has none, or one that was copied from another directory."""
    with suppress(OSError):
        found = _FORMAT.fullmatch(os.getxattr(fd, MARK))
        if found and int(found[1]) == os.fstat(fd).st_ino:
            return DirectoryMark(*(part.decode() for part in found.groups()[1:]))
    return None


def write_mark(fd: int, mark: DirectoryMark) -> None:
    """Set the mark of an open directory, if the system allows it."""
    with suppress(OSError):
        os.setxattr(fd, MARK, f"1 {os.fstat(fd).st_ino} {' '.join(mark)}".encode())
