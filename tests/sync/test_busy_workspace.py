"""Others write, rename, delete and truncate in a workspace while it is pushed: what is published did stand there."""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.errors import FileChangedError
from tests.fakes.contents import write
from tests.fakes.soaking import FULL, SEED, SOAK
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces

ROUNDS = 8 if FULL else 3
FILES = 12
BIG = 4 << 20
SAVED = re.compile(rb"(\d{6}-)\1*")
pytestmark = [pytest.mark.usefixtures("parts"), pytest.mark.soak, pytest.mark.timeout(120 + 2 * SOAK)]


@contextmanager
def disturbed(top: bytes, seed: int) -> Iterator[None]:
    """Let another process work in the directory meanwhile. It stops between two of its system calls."""
    child = os.fork()
    if child == 0:
        try:
            disturb(top, random.Random(seed))
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def disturb(top: bytes, chance: random.Random) -> None:
    """Write until killed. Files called `saved` are replaced in one step, those called `log` are written to in place.

    So is `big`, from its start to its end, which makes it older from its start to its end at any time.
    """
    number = 0
    big = os.open(top + b"/big", os.O_RDWR | os.O_CREAT, 0o644)
    while True:
        number += 1
        time.sleep(chance.choice([0, 0, 0.001, 0.02]))
        name = top + b"/d%d/" % chance.randrange(3)
        saved, log = name + b"saved-%d" % chance.randrange(FILES), name + b"log-%d" % chance.randrange(FILES)
        act = chance.randrange(9)
        try:
            if act < 3:
                with open(name + b"~", "wb") as file:
                    file.write(b"%06d-" % (number % 10**6) * chance.choice([1, 1, 500, 40_000]))
                os.rename(name + b"~", saved)
            elif act == 3:
                os.unlink(chance.choice([saved, log]))
            elif act == 8:
                block = (int(os.pread(big, 1, 0) or b"0") + 1) % 10
                for at in range(0, BIG, 64 << 10):
                    os.pwrite(big, b"%d" % block * (64 << 10), at)
            elif act == 4:
                os.rename(saved, top + b"/d%d/saved-%d" % (chance.randrange(3), chance.randrange(FILES)))
            elif act == 5:
                os.truncate(log, chance.randrange(10))
            else:
                # As long as before, and with the time it had: only the change time tells.
                with open(log, chance.choice(["ab", "r+b"])) as file:
                    file.write(b"%06d" % (number % 10**6))
                os.utime(log, ns=(0, 0))
            if chance.randrange(50) == 0:
                os.rename(name[:-1], top + b"/moved")
                os.rename(top + b"/moved", name[:-1])
        except FileNotFoundError:
            continue


def test_a_push_beside_others_at_work_publishes_what_stood_there_and_misses_nothing(place: Path) -> None:
    workspaces = Workspaces(place)
    top = workspaces.at("a")
    for number in range(3):
        write(top, b"d%d/kept" % number, b"kept")
    workspaces.push("a")
    print(f"seed {SEED}")
    until, rounds, pushed = time.monotonic() + SOAK, 0, 0
    while rounds < ROUNDS or time.monotonic() < until:
        with disturbed(top, SEED + rounds):
            for _ in range(3):
                before = workspaces.ids()
                try:
                    pushed += workspaces.push("a").id is not None
                except FileChangedError:
                    assert workspaces.ids() == before
                workspaces.pull("z")
                check_whole(workspaces.at("z"))
        workspaces.push("a")
        workspaces.pull("z")
        differs = unlike(snapshot(top, directory_mtimes=False), snapshot(workspaces.at("z"), directory_mtimes=False))
        assert differs == {}, f"seed {SEED}, round {rounds}"
        assert workspaces.changed("a") == []
        rounds += 1
    print(f"{pushed} of {3 * rounds} pushes beside others at work were done")
    assert pushed


def check_whole(top: bytes) -> None:
    """Check that each file that is only ever replaced is one of those that were put there, whole.

    And that `big` did stand there: at most one rewriting of it has begun and not ended.
    """
    big = Path(os.fsdecode(top), "big").read_bytes() if os.path.exists(top + b"/big") else b""
    runs = [int(run) for run, _ in itertools.groupby(big.decode())]
    assert len(runs) < 3, runs
    assert len(runs) < 2 or (runs[1] + 1) % 10 == runs[0], runs
    for above, _, names in os.walk(top):
        for name in names:
            if name.startswith(b"saved"):
                with open(os.path.join(above, name), "rb") as file:
                    assert SAVED.fullmatch(file.read()), name
