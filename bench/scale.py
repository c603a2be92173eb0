"""A million small files (`file N`), and one large one."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from multiprocessing import Process
from pathlib import Path

from bench.agent import Agent
from bench.measure import Result, best
from bench.place import free, free_names
from bench.results import Results

FEW, MANY = 100_000, 1_000_000
LARGE = 10 << 30
ROUNDS = 3
_PER_DIRECTORY = 1000
_BLOCK = 1 << 20
MANY_ROOM = 6 << 30  # on tmpfs each file takes a page and an inode at least
LARGE_ROOM = LARGE + LARGE // 4 + (1 << 30)


def measure_many(place: Path, registry: str, results: Results) -> None:
    """Measure memory with 1,000,000 files, and that work grows no faster than the tree from 100,000 on."""
    if free(place) < MANY_ROOM or free_names(place) < MANY * 11 // 10:
        results.lack(f"{MANY:,} files: need {MANY_ROOM >> 30} GiB, and as many inodes.")
        return
    agent, tree, target = Agent(place), place / "many", f"{registry}/scale/{MANY}:main"
    _fill(tree, 0, FEW)
    _push(agent, f"{registry}/scale/{FEW}:main", tree, FEW, results)
    _fill(tree, FEW, MANY)
    _push(agent, target, tree, MANY, results)
    shutil.rmtree(tree)
    results.add(f"agent pull, {MANY:,} files", agent.pull(target, tree, state="state-pulled"))
    shutil.rmtree(tree)


def measure_large(place: Path, registry: str, results: Results) -> None:
    """Measure memory with one file of 10 GiB."""
    if free(place) < LARGE_ROOM:
        results.lack(f"A file of 10 GiB: needs {LARGE_ROOM >> 30} GiB.")
        return
    agent, tree, target = Agent(place), place / "large", f"{registry}/scale/large:main"
    tree.mkdir()
    with (tree / "file").open("wb", buffering=0) as file:
        for block in _blocks():
            file.write(block)
    results.add("agent push, 10 GiB", agent.push(target, tree))
    shutil.rmtree(tree)
    results.add("agent pull, 10 GiB", agent.pull(target, tree, state="state-pulled"))
    shutil.rmtree(tree)


def _push(agent: Agent, target: str, tree: Path, count: int, results: Results) -> None:
    """Push a tree of so many files: all, nothing, and one changed file."""

    def push() -> Result:
        return agent.push(target, tree, state=f"state-{count}")

    def push_one() -> Result:
        with (tree / "0" / "0" / "0.txt").open("a") as file:
            file.write("changed\n")
        return push()

    results.add(f"agent push, {count:,} files", push())
    rounds = ROUNDS if count == FEW else 1  # what takes ten times as long is disturbed by little
    for what, measure in (("nothing", push), ("one changed", push_one)):
        results.add(f"agent push, {what}, {count:,} files", best([measure() for _ in range(rounds)]))


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
    chance, zeros = random.Random(7), bytes(_BLOCK * 3 // 4)
    pool = [chance.randbytes(_BLOCK // 4) for _ in range(64)]  # too far apart for zstd to see them again
    for number in range(LARGE // _BLOCK):
        yield pool[number % len(pool)] + zeros
