"""The mark on a workspace's directory: which pull wrote it last, and what was pushed from it.

What is remembered of a directory lies elsewhere (`home`), and may be lost, or put back from a backup, alone. The mark
lies on the directory itself, as an extended attribute of its root, which is no part of the workspace. So it tells a
state from an older one of the same directory, and a directory from a new one with the same inode number.

Not every file system takes extended attributes, and not every user may set them: then there is no mark.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import NamedTuple

from agent.core.model.entry import MARK

_FORMAT = re.compile(rb"1 ([0-9]+) ([0-9a-f]{16}) ([0-9a-f]{0,16}) ([0-9a-f]{0,64})")


class Mark(NamedTuple):
    """What a directory says of itself.

    Attributes:
        pulled: 16 hex digits that name the last pull that wrote into it; random.
        target: 16 hex digits that stand for the target that it was pushed to since, `""` if it was not.
        change: the id of what was pushed there last.
    """

    pulled: str
    target: str = ""
    change: str = ""


def new_mark() -> Mark:
    """Return a mark that no directory has."""
    return Mark(os.urandom(8).hex())


def is_name(text: str) -> bool:
    """Say whether a text can name a pull."""
    return re.fullmatch("[0-9a-f]{16}", text) is not None


def read_mark(fd: int) -> Mark | None:
    """Return the mark on an open directory; None if it has none, or a copy of another's: tools copy attributes."""
    with suppress(OSError):
        found = _FORMAT.fullmatch(os.getxattr(fd, MARK))
        if found and int(found[1]) == os.fstat(fd).st_ino:
            return Mark(*(part.decode() for part in found.groups()[1:]))
    return None


def write_mark(fd: int, mark: Mark) -> None:
    """Mark an open directory, if that is possible."""
    with suppress(OSError):
        os.setxattr(fd, MARK, f"1 {os.fstat(fd).st_ino} {' '.join(mark)}".encode())
