"""Where the trees lie: in memory, where it has room."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import run

_MEMORY = Path("/dev/shm")


@contextmanager
def make_place(need: int) -> Iterator[Path]:
    """Make a directory on tmpfs, or on disk if that has not so many bytes free."""
    in_memory = _MEMORY.is_dir() and free(_MEMORY) > need
    with tempfile.TemporaryDirectory(prefix="instep-bench-", dir=_MEMORY if in_memory else None) as name:
        yield Path(name)


def free(directory: Path) -> int:
    """Return how many bytes can be written there; what is written to tmpfs takes memory."""
    room = shutil.disk_usage(directory).free
    found = re.search(r"^MemAvailable: *([0-9]+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return min(room, int(found[1]) * 1024) if found and kind(directory) == "tmpfs" else room


def free_names(directory: Path) -> int:
    """Return how many files can be made there."""
    return os.statvfs(directory).f_favail


def kind(directory: Path) -> str:
    """Return the name of the file system there."""
    return run(["stat", "-f", "-c", "%T", str(directory)], keep=True).output.strip()
