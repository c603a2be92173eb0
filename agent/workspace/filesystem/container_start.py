"""The start time of this container, or of this machine."""

from __future__ import annotations

import os
import time

_STAT = "/proc/1/stat"
_START_FIELD = 19
"""The index of the start time among the fields after the command's name (proc(5))."""


def container_started() -> int:
    """Return the start time of process 1, in ns since 1970 by the present clock; now, if it cannot be read.

    In a container of a Tekton step, process 1 is the entrypoint, which waits until the steps before it have ended.
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
