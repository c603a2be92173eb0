"""How much memory a push takes does not follow the number of paths (design, "Protocol": bounded memory)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

FEW, MANY = 10, 60
"""Directories of a thousand files."""
MORE = 24 << 20
"""Bytes that the many may take more than the few, 500 for each path; lists of all paths took 1,200. The table of
contents takes some 50, compressed; the rest is a pipeline that is full where it was half empty."""

_PUSH = """
import sys
from agent.cli.main import run
code = run(sys.argv[1:])
sys.exit(code or print(open("/proc/self/status").read()))
"""


def fill(top: Path, directories: range) -> None:
    for directory in directories:
        place = top / f"directory-{directory:04d}"
        place.mkdir(parents=True)
        for number in range(1000):
            os.mknod(place / f"a-file-with-a-name-{number:04d}")


def peak(tmp_path: Path) -> int:
    """Push, and return the largest resident memory of the process in bytes."""
    command = ["push", f"oci:{tmp_path}/layout:ws", str(tmp_path / "a"), "--state", str(tmp_path / "state")]
    said = subprocess.run(
        [sys.executable, "-c", _PUSH, *command], check=True, stdout=subprocess.PIPE, text=True, timeout=60
    ).stdout
    high = re.search(r"VmHWM:\s*(\d+) kB", said)
    assert high, said
    return int(high[1]) << 10


def test_a_push_of_many_new_files_takes_little_more_memory_than_one_of_few(tmp_path: Path) -> None:
    fill(tmp_path / "a", range(FEW))
    few = peak(tmp_path)
    fill(tmp_path / "a", range(FEW, MANY))
    many = peak(tmp_path)
    assert many - few < MORE, f"{few >> 20} MiB for {FEW},000 files, {many >> 20} MiB for {MANY - FEW},000 more"
    assert peak(tmp_path) < few + MORE
