"""What is remembered of other directories at the same path: kept beside, until theirs is back.

Each file in the state's directory is about one directory on disk. A file about another one is renamed after that one's
device and inode before a new file takes its place, and renamed back when that directory stands there again.
"""

from __future__ import annotations

import os
import re

from agent.workspace.filesystem.system_errors import failed

_ASIDE = re.compile(r"state-([0-9]+)-([0-9]+)")

Owner = tuple[int, int]
"""(st_dev, st_ino) of the directory that a file is about."""


def path_aside(home: str, name: str, owner: Owner) -> str:
    """Return where a file about a directory lies once it is set aside."""
    return os.path.join(home, f"{name}-{owner[0]}-{owner[1]}")


def set_aside(home: str, name: str, owner: Owner) -> str:
    """Rename a file after the directory that it is about, and return its new path.

    One of that name was of a directory that is gone: its inode number was given to another one.

    Raises:
        WorkspaceError: the system refused.
    """
    kept = path_aside(home, name, owner)
    _rename(os.path.join(home, name), kept)
    return kept


def take_back(home: str, name: str, owner: Owner) -> None:
    """Rename back what was set aside about a directory.

    Raises:
        WorkspaceError: the system refused.
    """
    _rename(path_aside(home, name, owner), os.path.join(home, name))


def owners_aside(home: str, inode: int) -> list[Owner]:
    """Return the directories with an inode number of which a state was set aside.

    Raises:
        WorkspaceError: the state's directory cannot be read.
    """
    try:
        found = [match for match in map(_ASIDE.fullmatch, sorted(os.listdir(home))) if match]
    except OSError as error:
        raise failed(error, os.fsencode(home), "cannot be read") from error
    return [(int(match[1]), int(match[2])) for match in found if int(match[2]) == inode]


def _rename(path: str, to: str) -> None:
    try:
        os.rename(path, to)
    except OSError as error:
        raise failed(error, os.fsencode(path), "cannot be renamed") from error
