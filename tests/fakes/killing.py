"""Processes to which something happens, without any warning, at the n-th thing they ask of the system."""

from __future__ import annotations

import os
import resource
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from agent.errors import AgentError

KILLED = 9
REFUSED = 3
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Killed(BaseException):
    """Stands for SIGKILL where agent and test are one process: no handler of errors catches it."""


@dataclass(frozen=True)
class Calls:
    """Calls of the system, as the interpreter names them.

    Attributes:
        events: those of which it tells (audit events).
        wrapped: functions of `os` of which it does not.
        writing: whether files that are opened to be written to count; `reading`: all the others.
    """

    events: frozenset[str]
    wrapped: tuple[str, ...]
    writing: bool = True
    reading: bool = False


def _os(*names: str) -> frozenset[str]:
    return frozenset(f"os.{name}" for name in names)


CHANGES = Calls(
    _os("rename", "remove", "rmdir", "mkdir", "link", "symlink", "utime", "chmod", "chown", "truncate"),
    ("write", "pwrite", "fsync", "mkfifo", "ftruncate"),
)
"""What changes any file."""
OPENING = Calls(_os("scandir", "listdir"), (), reading=True)
"""What needs a descriptor."""
ALL = Calls(
    CHANGES.events | OPENING.events | _os("listxattr", "getxattr", "setxattr"),
    (*CHANGES.wrapped, "read", "pread", "stat", "lstat", "fstat", "lseek", "readlink"),
    reading=True,
)
"""Everything that meets a disk, and may find it broken."""


def killed_at(number: int, act: Callable[[], object]) -> bool:
    """Do `act` in a child that dies right before the `number`-th change that it makes to any file, counted from 0.

    Returns:
        Whether it died so; False if it came to its end before.
    """
    code, _ = _in_child(lambda: _count_down(number, CHANGES, lambda: os._exit(KILLED)), act)
    assert code in (0, KILLED), f"the child ended with {code}"
    return code == KILLED


@dataclass(frozen=True)
class Refused:
    """What became of an act to which the system refused something. `error` is what it raised, None if nothing."""

    struck: bool
    error: str | None
    exit_code: int | None


def refused_at(number: int, code: int, calls: Calls, act: Callable[[], object]) -> Refused:
    """Do `act` in a child whose `number`-th call fails with the errno `code`. Any error but an AgentError is a bug."""
    struck: list[str] = []

    def strike() -> None:
        struck.append("".join(traceback.format_stack(limit=6)[:-3]))
        raise OSError(code, os.strerror(code))

    def told() -> bytes:
        return b"struck" if struck else b""

    return _refused(_in_child(lambda: _count_down(number, calls, strike), act, told))


def limited_to(number: int, act: Callable[[], object]) -> Refused:
    """Do `act` in a child that may have so many more open files than it begins with (RLIMIT_NOFILE)."""

    def prepare() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        held = []
        with suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        for fd in held[:number]:
            os.close(fd)

    return _refused(_in_child(prepare, act))


def _refused(found: tuple[int, str]) -> Refused:
    ended, said = found
    assert ended in (0, REFUSED), f"the child ended with {ended}"
    mark, _, text = said.partition("\n")
    exit_code, _, error = text.partition(" ")
    return Refused(mark == "struck", error or None, int(exit_code) if exit_code else None)


def _in_child(
    prepare: Callable[[], None], act: Callable[[], object], told: Callable[[], bytes] = lambda: b""
) -> tuple[int, str]:
    """Return the child's exit code, and what it told: `told` at its end, and the AgentError that ended it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        write, leave = os.write, os._exit
        try:
            prepare()
            act()
            write(writer, told() + b"\n")
            leave(0)
        except AgentError as error:
            write(writer, told() + f"\n{error.exit_code} {type(error).__name__}: {error}".encode())
            leave(REFUSED)
        except BaseException:
            traceback.print_exc()
        leave(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), said


def _count_down(number: int, calls: Calls, then: Callable[[], None]) -> None:
    left = [number]

    def count() -> None:
        left[0] -= 1
        if left[0] == -1:
            then()

    def hear(event: str, args: tuple[object, ...]) -> None:
        if event in calls.events:
            count()
        elif event == "open" and isinstance(args[2], int) and not isinstance(args[0], int):
            writes = bool(args[2] & _WRITING)
            if (writes and calls.writing) or (not writes and calls.reading):
                count()

    # What the interpreter does not tell of is wrapped.
    for name in calls.wrapped:
        real = getattr(os, name)
        setattr(os, name, lambda *args, real=real, **named: (count(), real(*args, **named))[1])
    sys.addaudithook(hear)
