"""The directory in which the state of a workspace is stored (docs/decisions/state-outside.md)."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from agent.core.spelling.path import show
from agent.errors import WorkspaceError
from agent.workspace.filesystem.path_containment import lies_inside
from agent.workspace.filesystem.system_errors import failed

VARIABLE: Final = "INSTEP_STATE"


def state_home(environ: Mapping[str, str], root: str | bytes, option: str | None = None) -> str:
    """Return the path of the directory for the state of the workspace at `root`. Nothing is created.

    `option` is that path, if given. Else the directory is named after the workspace's real path and lies in the first
    of: $INSTEP_STATE, $XDG_STATE_HOME/instep, $HOME/.local/state/instep, /tmp/instep-<uid>. Of the last three, those
    are skipped in which this user cannot write (a random UID has no home), and those inside the workspace: it must not
    contain its own state.

    Raises:
        WorkspaceError: the user asked for a directory inside the workspace.
    """
    real = os.path.realpath(os.fsdecode(root))
    key = sha256(os.fsencode(real)).hexdigest()[:32]
    if option:
        return _outside(os.path.abspath(option), real)
    if given := environ.get(VARIABLE):
        return _outside(os.path.join(os.path.abspath(given), key), real)
    for variable, below in (("XDG_STATE_HOME", "instep"), ("HOME", ".local/state/instep")):
        base = environ.get(variable, "")
        # A relative one is to be ignored (XDG base directory specification).
        if os.path.isabs(base) and not lies_inside(base, real) and _writable(os.path.join(base, below)):
            return os.path.join(base, below, key)
    return os.path.join(_shared(), key)


def make_state_home(path: str, *, shared: bool = False) -> None:
    """Create the directory that `state_home` returned, for this user alone.

    Args:
        shared: create it for all users instead. Every user that can reach it is trusted.

    Raises:
        WorkspaceError: the directory cannot be created, belongs to another user, or others can write in it.
    """
    try:
        if shared:
            os.makedirs(path, mode=0o777, exist_ok=True)
            return
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.makedirs(path, mode=0o700, exist_ok=True)
        above = os.path.dirname(path)
        for place in (above, path) if above == _shared() else (path,):
            about = os.lstat(place)
            if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o022:
                raise WorkspaceError(
                    "another user could change the state here",
                    subject=show(os.fsencode(place)),
                    remedy=f"remove it, or name another directory in {VARIABLE}",
                )
    except OSError as error:
        raise failed(error, os.fsencode(path), "the state's directory cannot be made") from error


def _shared() -> str:
    return f"/tmp/instep-{os.geteuid()}"  # noqa: S108 (make_state_home checks whose it is)


def _outside(path: str, root: str) -> str:
    if lies_inside(path, root):
        raise WorkspaceError(
            "the state cannot be kept inside the workspace",
            subject=show(os.fsencode(path)),
            remedy="name a directory outside of it",
        )
    return path


def _writable(path: str) -> bool:
    """Return whether this user can write in `path`, or create it."""
    while not os.path.lexists(path) and path != "/":
        path = os.path.dirname(path)
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK, effective_ids=True)
