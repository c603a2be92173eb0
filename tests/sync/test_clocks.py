"""Clocks that jump, between pushes and in the middle of one: order, fingerprints and grace do not depend on them."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent.core.directory.state_row import StateRow
from agent.sync.commands.prune_target import HOUR, PruneOptions, prune
from agent.sync.directory_scan.scan_directory import scan_directory
from agent.sync.local.open_directory import open_directory
from agent.sync.operation.options import PushOptions
from agent.sync.push_steps.push_directory import push
from tests.fakes.contents import write
from tests.fakes.memory_workspaces import MemoryWorkspaces, entries_of
from tests.fakes.plain import on_disk
from tests.fakes.trees import snapshot, unlike

YEAR = 365 * 24 * HOUR
JUMPS = [HOUR, -HOUR, YEAR, -YEAR]
jumping = pytest.mark.parametrize("jump", JUMPS, ids=["an hour on", "an hour back", "a year on", "a year back"])


@contextmanager
def jumping_at(memory: MemoryWorkspaces, call: int, jump: int, dies: bool = False) -> Iterator[None]:
    """Let the clock jump at a call of the store, and the agent die there if it shall."""
    left = [call]

    def strike(name: str, subject: str) -> None:
        left[0] -= 1
        if left[0] == -1:
            assert memory.now is not None
            memory.now += jump
            if dies:
                raise KeyboardInterrupt

    memory.store.before = strike
    try:
        yield
    except KeyboardInterrupt:
        assert dies
    finally:
        memory.store.before = None


@jumping
def test_what_was_seen_is_older_than_what_was_made_of_it_whatever_the_clock_says(
    memory: MemoryWorkspaces, jump: int
) -> None:
    memory.now = time.time_ns()
    for number in range(6):
        writer, reader = ("a", "b") if number % 2 else ("b", "a")
        write(memory.at(writer), b"file", b"%d" % number)
        memory.push(writer)
        memory.pull(reader)
        assert on_disk(memory.at(reader))["file"][2] == b"%d" % number
        memory.now += jump if number % 3 else -jump
    stamps = [entry.stamp for entry in memory.log()]
    assert stamps == sorted(stamps, reverse=True)
    assert len(set(stamps)) == 6


@pytest.mark.sweep(3)
@jumping
@pytest.mark.parametrize("dies", [False, True])
def test_a_clock_that_jumps_at_any_call_of_a_push_leaves_one_change(
    memory: MemoryWorkspaces, jump: int, dies: bool
) -> None:
    memory.now = time.time_ns()
    write(memory.at("a"), b"file", b"first")
    memory.push("a")
    for call in range(13):
        write(memory.at("a"), b"file", b"%d" % call)
        with jumping_at(memory, call, jump, dies):
            memory.push("a")
        memory.push("a")
        assert len(entries_of(memory.store)) == call + 2
        assert memory.changed("a") == []
        memory.pull("b")
        assert on_disk(memory.at("b"))["file"][2] == b"%d" % call
    stamps = [entry.stamp for entry in memory.log()]
    assert stamps == sorted(stamps, reverse=True)


@jumping
def test_what_was_written_under_another_clock_is_noticed(memory: MemoryWorkspaces, jump: int) -> None:
    """The agent's clock jumps, that of the file system does not: the same size and time, written at once again."""
    chance = random.Random(1)
    memory.now = time.time_ns()
    top = memory.at("a")
    for number in range(20):
        place = write(top, b"file", b"%02d" % number)
        os.utime(place, ns=(0, 0))
        memory.push("a")
        assert memory.now is not None
        memory.now += chance.choice([jump, -jump])
        memory.pull("b")
        assert unlike(snapshot(top), snapshot(memory.at("b"))) == {}


def test_a_clock_that_went_back_during_a_scan_leaves_no_fingerprint_trusted(memory: MemoryWorkspaces) -> None:
    """What was found after the jump may look older than the scan, and be written again within the same tick."""
    write(memory.at("a"), b"file", b"one")
    memory.push("a")
    write(memory.at("a"), b"new", b"new")
    times = iter([time.time_ns() + HOUR])
    site = memory.site("a")._replace(clock=lambda: next(times, time.time_ns()))
    push(site, PushOptions(lane="a"))
    assert suspects(memory) == {b"file", b"new"}
    memory.push("a")
    time.sleep(0.05)
    memory.push("a")
    assert suspects(memory) == set()


def suspects(memory: MemoryWorkspaces) -> set[bytes]:
    """Return the paths whose content the next look at `a` reads."""
    site = memory.site("a")
    with open_directory(site) as directory:
        assert directory.state is not None
        known: list[StateRow] = list(directory.state.rows)
        look = scan_directory(site, directory.root, known, directory.state.clean_before)
        return {old.path for old, _ in look.scan_join.suspects}


@jumping
def test_a_pruner_whose_clock_is_wrong_takes_nothing_away(memory: MemoryWorkspaces, jump: int) -> None:
    memory.now = time.time_ns()
    for number in range(3):
        write(memory.at("a"), b"file-%d" % number, b"x")
        memory.push("a")
    ids = [entry.id for entry in memory.log()]
    memory.now += jump
    assert prune(memory.site("-"), PruneOptions(HOUR // 2)).entries == 0
    assert [entry.id for entry in memory.log()] == ids
    write(memory.at("a"), b"late", b"x")
    memory.push("a")
    memory.now -= jump
    prune(memory.site("-"), PruneOptions(HOUR))
    memory.pull("b", after=("a",))
    assert unlike(snapshot(memory.at("a")), snapshot(memory.at("b"))) == {}
    assert len(memory.log()) == 4
    # A push whose clock was ahead holds up what it is in, for as long as that.
    memory.now += max(jump, 0) + HOUR + 10  # stamps of one moment count up
    assert prune(memory.site("-"), PruneOptions(HOUR)).kept == 0
    memory.pull("b", after=("a",))
    assert unlike(snapshot(memory.at("a")), snapshot(memory.at("b"))) == {}
    assert len(memory.log()) == 4
