"""One command: seconds on the wall and of the processors, peak memory, and what it moved."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Result:
    """What a command and its children took.

    Attributes:
        seconds: on the wall.
        cpu: seconds of the processors, user and system.
        rss: peak resident memory of the largest of the processes, bytes.
        requests, received, sent: HTTP requests and bytes, None where nobody counts them.
        connections: how many were opened, where the wire was watched.
        output: what the command printed, where it is kept.
    """

    seconds: float
    cpu: float = 0.0
    rss: int = 0
    requests: int | None = None
    received: int | None = None
    sent: int | None = None
    connections: int | None = None
    output: str = ""


# A process is born with the memory of the one that started it, so a small one must: it runs the command and says how
# long it took, the processors' time, how much memory (KiB) it used, and how it ended.
_LAUNCHER = """
import os, sys, time
began = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - began
cpu = usage.ru_utime + usage.ru_stime
os.write(int(sys.argv[1]), f"{seconds} {cpu} {usage.ru_maxrss} {os.waitstatus_to_exitcode(status)}".encode())
"""


def run(
    words: Sequence[str], environ: Mapping[str, str] | None = None, cwd: str | None = None, *, keep: bool = False
) -> Result:
    """Run a command that must succeed; its output is dropped unless it is to be kept.

    Raises:
        RuntimeError: it failed.
    """
    read, write = os.pipe()
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(write), *words],
        env=environ,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if keep else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[write],
        check=False,
    )
    os.close(write)
    with os.fdopen(read) as said:
        seconds, cpu, kibibytes, code = said.read().split() or ("0", "0", "0", "1")
    if code != "0":
        raise RuntimeError(f"{' '.join(words)} exited {code}: {done.stderr.decode(errors='replace')[-2000:]}")
    return Result(float(seconds), float(cpu), int(kibibytes) * 1024, output=done.stdout.decode() if keep else "")


def shell(script: str, environ: Mapping[str, str] | None = None, *, keep: bool = False) -> Result:
    """Run a pipeline that must succeed as a whole."""
    return run(["bash", "-c", f"set -euo pipefail; {script}"], environ, keep=keep)


def best(results: Sequence[Result]) -> Result:
    """Return the fastest of several runs of one thing, with the least processor time, the most memory and requests."""
    fastest = min(results, key=lambda result: result.seconds)
    return replace(
        fastest,
        cpu=min(result.cpu for result in results),
        rss=max(result.rss for result in results),
        requests=max((result.requests for result in results if result.requests is not None), default=None),
        output="",
    )


def in_turn(count: int, measured: Mapping[str, Callable[[int], Result]]) -> dict[str, Result]:
    """Measure several things `count` times, one after the other in each round, so that a disturbance hits them all."""
    rounds = [{label: measure(number) for label, measure in measured.items()} for number in range(count)]
    return {label: best([each[label] for each in rounds]) for label in measured}
