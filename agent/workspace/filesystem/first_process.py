"""When the process began that this container, or this machine, began with."""

from __future__ import annotations

import os
import time

_STAT = "/proc/1/stat"
_START_FIELD = 19
"""Of the start time, among the fields behind the command's name (proc(5))."""


def container_started() -> int:
    """Return when the first process here started, ns since 1970 by today's clock; now, if that cannot be read.

    In a container that is its own first process, which for a Tekton step waits there until its turn comes.
    """
    now = time.time_ns()
    try:
        with os.fdopen(os.open(_STAT, os.O_RDONLY | os.O_CLOEXEC), "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        ticks = int(fields[_START_FIELD])
    except (OSError, IndexError, ValueError):
        return now
    since_boot = ticks * (10**9 // os.sysconf("SC_CLK_TCK"))
    return min(now, max(1, now - time.clock_gettime_ns(time.CLOCK_BOOTTIME) + since_boot))
