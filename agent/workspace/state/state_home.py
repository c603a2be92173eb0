"""Where the agent remembers directories, and how two agents keep out of each other's way in one."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import Final, NamedTuple

from agent.core.spelling.path import show
from agent.errors import BusyError, WorkspaceError
from agent.workspace.filesystem.durable_files import mode_in
from agent.workspace.filesystem.path_containment import lies_inside
from agent.workspace.filesystem.system_errors import failed

VARIABLE: Final = "INSTEP_STATE"
WAIT: Final = 10.0
"""Seconds that an agent waits for another one in its directory."""
_POLL = 0.05  # seconds
_LOCK = "lock"


def state_home(environ: Mapping[str, str], root: str | bytes, option: str | None = None) -> str:
    """Return the directory for the state of the workspace at `root`; nothing is made.

    `option` names it itself. Else it is named after the workspace's real path, in the first of: $INSTEP_STATE,
    $XDG_STATE_HOME/instep, $HOME/.local/state/instep, /tmp/instep-<uid>. The last three are passed over if this
    user cannot write there (a random UID has no home), or if they lie in the workspace itself, which must not
    carry its own state.

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
    """Make the directory that `state_home` named, for this user's eyes only.

    Args:
        shared: for everyone: whoever can reach it is trusted.

    Raises:
        WorkspaceError: it cannot be made, or it belongs to another user or others can write in it.
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


def _nothing(text: str) -> None:
    """Say nothing."""


class Turn(NamedTuple):
    """How long to wait for another agent, and how.

    Attributes:
        wait: seconds.
        say: tells the user why nothing happens, once.
        clock: seconds, monotonic.
        sleep: waits for seconds.
    """

    wait: float = WAIT
    say: Callable[[str], None] = _nothing
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def take(self, taken: Callable[[], bool], subject: bytes, holder: Callable[[], str] = str) -> None:
        """Wait until something can be had.

        Args:
            taken: tries to have it.
            subject: what it is, for people.
            holder: who has it, if that is known, as ` (pid 5)`.

        Raises:
            BusyError: another agent still works there.
        """
        until, said = self.clock() + self.wait, False
        while not taken():
            what = f"another agent{holder()} is at work"
            if self.clock() >= until:
                raise BusyError(what, subject=show(subject), remedy="wait until it is done, or end it")
            if not said:
                self.say(f"{show(subject)}: {what}; waiting for it, {self.wait:g} s at most")
                said = True
            self.sleep(_POLL)


@contextmanager
def lock(home: str, turn: Turn | None = None, *, subject: bytes | None = None) -> Iterator[None]:
    """Hold the lock of the state in `home`; the system releases it when this process dies.

    Args:
        home: a directory that is there.
        turn: how to wait for another agent.
        subject: the workspace's directory, for people.

    Raises:
        BusyError: another agent still works there.
        WorkspaceError: the lock cannot be had.
    """
    path = os.path.join(home, _LOCK)
    try:
        # Never removed: two agents could then hold locks on two files of that name.
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode_in(home))
    except OSError as error:
        raise failed(error, os.fsencode(path), "cannot be locked") from error
    try:
        (turn or Turn()).take(lambda: _taken(fd, path), subject or os.fsencode(home), lambda: _holder(fd))
        with suppress(OSError):  # who holds it is only said for people: a full disk is no reason to stop
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(fd)


def lock_directory(fd: int, path: bytes, turn: Turn) -> None:
    """Lock an open workspace directory, which leaves no trace in it, until it is closed.

    This keeps agents apart that remember one directory in two places: another user's, another container's, `--state`.
    Where directories cannot be locked (NFS, some FUSE) the lock of the state must do.

    Raises:
        BusyError: another agent still works there.
    """
    turn.take(lambda: _taken(fd), path)


def _taken(fd: int, path: str | None = None) -> bool:
    """Lock a file if that can be had now. Without `path`, to name it by, a file that cannot be locked counts, too."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR):
            return False
        if path is not None:
            raise failed(error, os.fsencode(path), "cannot be locked") from error
    return True


def _holder(fd: int) -> str:
    with suppress(OSError):
        pid = os.pread(fd, 20, 0).decode(errors="replace").strip()
        return f" (pid {pid})" if pid.isdigit() else ""
    return ""


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
    """Say whether this user can write in `path`, or make it."""
    while not os.path.lexists(path) and path != "/":
        path = os.path.dirname(path)
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK, effective_ids=True)
