"""A million small files, and one large one."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from multiprocessing import Process
from pathlib import Path

from bench.agent import Agent
from bench.measure import Result, best
from bench.results import Results

FEW, MANY = 100_000, 1_000_000
LARGE = 10 << 30
ROUNDS = 2
_PER_DIRECTORY = 1000
_BLOCK = 1 << 20
_MANY_ROOM = 6 << 30  # a file on tmpfs is a page and an inode, at least; twice, and the registry
_LARGE_ROOM = LARGE + LARGE // 4 + (1 << 30)


class Scale:
    """Measures memory, and that work grows no faster than the tree."""

    def __init__(self, place: Path, registry: str, results: Results) -> None:
        self._place = place
        self._registry = registry
        self._results = results
        self._agent = Agent(place)

    def many(self) -> None:
        """Push and pull 100,000 files, then 1,000,000."""
        found = os.statvfs(self._place)
        if found.f_bavail * found.f_frsize < _MANY_ROOM or found.f_favail < MANY * 11 // 10:
            self._results.lack(
                f"{MANY:,} files: need {_MANY_ROOM >> 30} GiB and as many inodes on {self._place.parent}"
            )
            return
        tree = self._place / "many"
        for begin, end in ((0, FEW), (FEW, MANY)):
            _fill(tree, begin, end)
            self._push(tree, end)
        shutil.rmtree(tree)
        pulled = self._agent.pull(self._target(MANY), tree, state="state-pulled")
        self._results.add(f"agent pull, {MANY:,} files", pulled)
        shutil.rmtree(tree)

    def large(self) -> None:
        """Push and pull one file of 10 GiB."""
        if shutil.disk_usage(self._place).free < _LARGE_ROOM:
            self._results.lack(f"a file of 10 GiB: needs {_LARGE_ROOM / (1 << 30):.1f} GiB on {self._place.parent}")
            return
        tree, target = self._place / "large", f"{self._registry}/scale/large:main"
        tree.mkdir()
        with (tree / "file").open("wb", buffering=0) as file:
            for block in _blocks():
                file.write(block)
        self._results.add("agent push, 10 GiB", self._agent.push(target, tree))
        shutil.rmtree(tree)
        self._results.add("agent pull, 10 GiB", self._agent.pull(target, tree, state="state-pulled"))
        shutil.rmtree(tree)

    def _push(self, tree: Path, count: int) -> None:
        """Push a tree of so many files: all, nothing, and one changed file."""

        def push() -> Result:
            return self._agent.push(self._target(count), tree, state=f"state-{count}")

        def push_one() -> Result:
            with (tree / "0" / "0" / "0.txt").open("a") as file:
                file.write("changed\n")
            return push()

        self._results.add(f"agent push, {count:,} files", push())
        for what, measure in (("nothing", push), ("one changed", push_one)):
            self._results.add(f"agent push, {what}, {count:,} files", best([measure() for _ in range(ROUNDS)]))

    def _target(self, count: int) -> str:
        return f"{self._registry}/scale/{count}:main"


def _fill(tree: Path, begin: int, end: int) -> None:
    """Write the files of these numbers, on both cores."""
    step = (end - begin) // 2
    running = [Process(target=_write, args=(tree, at, at + step)) for at in (begin, begin + step)]
    for process in running:
        process.start()
    for process in running:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"the files could not be written below {tree}")


def _write(tree: Path, begin: int, end: int) -> None:
    for first in range(begin, end, _PER_DIRECTORY):
        directory = tree / str(first // FEW) / str(first // _PER_DIRECTORY)
        directory.mkdir(parents=True, exist_ok=True)
        at = os.open(directory, os.O_RDONLY)
        for number in range(first, first + _PER_DIRECTORY):
            file = os.open(f"{number}.txt", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=at)
            os.write(file, b"file %d\n" % number)
            os.close(file)
        os.close(at)


def _blocks() -> Iterator[bytes]:
    """Yield 10 GiB without holes: of each MiB a quarter is random, the rest zeros; so it packs to a quarter."""
    pool, zeros = random.Random(7).randbytes(16 * _BLOCK), bytes(_BLOCK * 3 // 4)
    for number in range(LARGE // _BLOCK):
        at = number * 4097 % (len(pool) - _BLOCK // 4)
        yield pool[at : at + _BLOCK // 4] + zeros
