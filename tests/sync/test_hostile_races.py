"""Another process swaps directories for links during pulls and pushes: nothing outside is touched or read.

`INSTEP_SOAK=seconds` tries for so long.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agent.errors import AgentError
from tests.fakes.contents import noise, write
from tests.fakes.memory_workspaces import MemoryWorkspaces
from tests.fakes.sentinel import Sentinel
from tests.fakes.soaking import SOAK
from tests.fakes.swapping import Swapping

SECONDS = SOAK or 2.0
DIRECTORIES = (b"d", b"d/below", b"d/below/deep", b"e", b"f")
DECLARED = {0, 11, 31, 40}
pytestmark = [pytest.mark.soak, pytest.mark.timeout(60 + 4 * SECONDS)]


@pytest.fixture
def sentinel(tmp_path: Path) -> Sentinel:
    return Sentinel(tmp_path)


def fill(top: bytes, number: int) -> None:
    """Write files into every directory that will be swapped, others each time, of names that stand outside, too."""
    for directory in DIRECTORIES:
        for name in (b"victim", b"dir/file", b"%d" % number, b"many/%d" % (number % 7)):
            write(top, directory + b"/" + name, noise(3000, number))
        os.chmod(os.path.join(top, directory), 0o700 + number % 8)
        os.chmod(os.path.join(top, directory, b"victim"), 0o600 + number % 8)


def attempts(act: Callable[[int], object]) -> Iterator[str]:
    """Do something again and again until the time is over; say how each ended."""
    until = time.monotonic() + SECONDS
    number = 0
    while time.monotonic() < until:
        number += 1
        try:
            act(number)
        except AgentError as error:
            assert error.exit_code in DECLARED, str(error)
            yield f"{error.exit_code} {error.what}"
        else:
            yield "0"


def swapped(memory: MemoryWorkspaces, sentinel: Sentinel, name: str) -> Swapping:
    paths = [sentinel.place / name / os.fsdecode(path) for path in DIRECTORIES]
    return Swapping(paths, sentinel.path, sentinel.place / "ws-aside")


@pytest.mark.parametrize("force", [False, True])
def test_a_pull_touches_nothing_outside(sentinel: Sentinel, memory: MemoryWorkspaces, force: bool) -> None:
    for number in range(4):
        fill(memory.at("ws-writer"), number)
        memory.push("ws-writer")
    ids = memory.ids()
    memory.pull("ws", at=ids[0])
    ended: Counter[str] = Counter()
    with swapped(memory, sentinel, "ws"):
        for outcome in attempts(lambda number: memory.pull("ws", at=ids[number % 4], force=force or number % 5 == 0)):
            ended[outcome] += 1
            assert sentinel.changes() == {}
    print(ended)
    assert sentinel.changes() == {}
    assert len(ended) > 1, "the race was never lost"
    memory.pull("ws", force=True)
    assert sentinel.changes() == {}


def test_a_pull_beside_others_touches_nothing_outside(sentinel: Sentinel, memory: MemoryWorkspaces) -> None:
    fill(memory.at("ws-writer"), 1)
    memory.push("ws-writer")
    ended: Counter[str] = Counter()
    for directory in DIRECTORIES:
        os.makedirs(os.path.join(memory.at("ws"), directory))
    with swapped(memory, sentinel, "ws"):

        def pull(number: int) -> None:
            for file in ("state", "pulling"):
                with suppress(FileNotFoundError):
                    os.unlink(sentinel.place / ".state-ws" / file)
            memory.pull("ws", keep=True)

        for outcome in attempts(pull):
            ended[outcome] += 1
            assert sentinel.changes() == {}
    print(ended)
    assert len(ended) > 1, "the race was never lost"


def test_a_push_reads_nothing_outside(sentinel: Sentinel, memory: MemoryWorkspaces) -> None:
    secret = b"a secret that stands outside "
    for name in ("victim", "dir/file", "1", "many/1"):
        (sentinel.path / name).parent.mkdir(exist_ok=True)
        (sentinel.path / name).write_bytes(secret * 100)
    fill(memory.at("ws"), 0)
    memory.push("ws", compression="none")
    ended: Counter[str] = Counter()

    def push(number: int) -> None:
        for directory in DIRECTORIES:
            with suppress(OSError):
                (sentinel.place / "ws" / os.fsdecode(directory) / "victim").touch()
        memory.push("ws", compression="none")

    with swapped(memory, sentinel, "ws"):
        for outcome in attempts(push):
            ended[outcome] += 1
    print(ended)
    assert len(ended) > 1, "the race was never lost"
    assert not any(secret in blob for blob in memory.store.blobs.values())
