"""One command: seconds on the wall and peak memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """`seconds` and peak resident memory (`rss`, bytes) of a command and of its children, the largest one's."""

    seconds: float
    rss: int


# A process is born with the memory of the one that started it, so a small one must: it runs the command and says how
# long it took, how much memory (KiB) it used, and how it ended.
_LAUNCHER = """
import os, sys, time
began = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - began
os.write(int(sys.argv[1]), f"{seconds} {usage.ru_maxrss} {os.waitstatus_to_exitcode(status)}".encode())
"""


def run(words: Sequence[str], environ: Mapping[str, str] | None = None, cwd: str | None = None) -> Result:
    """Run a command that must succeed."""
    read, write = os.pipe()
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(write), *words]
    done = subprocess.run(
        launcher, env=environ, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, pass_fds=[write], check=False
    )
    os.close(write)
    with os.fdopen(read) as said:
        seconds, kibibytes, code = said.read().split() or ("0", "0", "1")
    if code != "0":
        raise RuntimeError(f"{' '.join(words)} exited {code}: {done.stderr.decode(errors='replace')[-2000:]}")
    return Result(float(seconds), int(kibibytes) * 1024)


def shell(script: str, environ: Mapping[str, str] | None = None) -> Result:
    """Run a pipeline that must succeed as a whole."""
    return run(["bash", "-c", f"set -euo pipefail; {script}"], environ)


def best(count: int, measured: Callable[[int], Result]) -> Result:
    """Return the fastest of several runs, with the largest memory of all."""
    results = [measured(number) for number in range(count)]
    return Result(min(result.seconds for result in results), max(result.rss for result in results))
