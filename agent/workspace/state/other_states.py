"""States of other directories at the same path: renamed, and restored if their directory returns.

Each file in the state's directory belongs to one directory on disk. If another directory is at the path, the file is
renamed after its own directory's device and inode. It gets its name back when that directory is at the path again.
"""

from __future__ import annotations

import os
import re

from agent.workspace.filesystem.system_errors import failed

_ASIDE = re.compile(r"state-([0-9]+)-([0-9]+)")

Owner = tuple[int, int]
"""(st_dev, st_ino) of the directory that a file belongs to."""


def path_aside(home: str, name: str, owner: Owner) -> str:
    """Return the path of a directory's file after `set_aside`."""
    return os.path.join(home, f"{name}-{owner[0]}-{owner[1]}")


def set_aside(home: str, name: str, owner: Owner) -> str:
    """Rename a file after its directory, and return its new path.

    An older file of that name is replaced: its directory was removed, and the inode number was used again.

    Raises:
        WorkspaceError: the system refused.
    """
    aside = path_aside(home, name, owner)
    _rename(os.path.join(home, name), aside)
    return aside


def take_back(home: str, name: str, owner: Owner) -> None:
    """Rename a directory's file back after `set_aside`.

    Raises:
        WorkspaceError: the system refused.
    """
    _rename(path_aside(home, name, owner), os.path.join(home, name))


def owners_aside(home: str, inode: int) -> list[Owner]:
    """Return the directories with an inode number whose states were set aside.

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
