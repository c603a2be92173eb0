"""File systems that are soon full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE = 4096


@contextmanager
def small_disk(place: Path, size: str = "1m") -> Iterator[Path]:
    """Mount a file system in memory at `place`, which is made; without the right to, skip the test."""
    place.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "x", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill_up(place: Path, *, leave: int) -> Path:
    """Fill the file system at `place` up to `leave` bytes, multiples of a page; return the file that does it."""
    filler = place / "filler"
    with open(filler, "wb", buffering=0) as file:
        about = os.statvfs(place)
        os.posix_fallocate(file.fileno(), 0, max(about.f_bavail * about.f_frsize - leave, PAGE))
    return filler
