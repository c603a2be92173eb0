"""Processes that end, without any warning, at the n-th thing they do to the world."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

KILLED = 9
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_EVENTS = frozenset(
    f"os.{name}"
    for name in ("rename", "remove", "rmdir", "mkdir", "link", "symlink", "utime", "chmod", "chown", "truncate")
)
_CALLS = ("write", "pwrite", "fsync", "mkfifo", "ftruncate")


def killed_at(number: int, act: Callable[[], object]) -> bool:
    """Do `act` in a child that dies right before the `number`-th change that it makes to any file, counted from 0.

    Returns:
        Whether it died so; False if it came to its end before.
    """
    child = os.fork()
    if child == 0:
        try:
            _count_down(number)
            act()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED), f"the child ended with {code}"
    return code == KILLED


def _count_down(number: int) -> None:
    left = [number]

    def strike() -> None:
        if left[0] == 0:
            os._exit(KILLED)
        left[0] -= 1

    def hear(event: str, args: tuple[object, ...]) -> None:
        if event in _EVENTS or (event == "open" and isinstance(args[2], int) and args[2] & _WRITING):
            strike()

    # What the interpreter does not tell of is wrapped.
    for name in _CALLS:
        real = getattr(os, name)
        setattr(os, name, lambda *args, real=real, **named: (strike(), real(*args, **named))[1])
    sys.addaudithook(hear)
