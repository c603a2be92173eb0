"""Squash, prune, watch and exec killed at any write: nothing is lost, and the next run goes on (G8, G9)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import agent.cli.main
from agent.sync.commands.prune_target import PruneOptions, prune
from agent.sync.commands.squash_command import SquashOptions, squash_target
from agent.sync.commands.watch_directory import watch
from agent.sync.operation.options import PushOptions
from agent.workspace.scan.watcher import Watcher
from tests.fakes.contents import noise, write
from tests.fakes.killing import killed_at
from tests.fakes.plain import applied, on_disk
from tests.fakes.soaking import FULL, SEED, SOAK
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600 if SOAK else 120)]
STEP = 1 if SOAK else 5 if FULL else 10
"""Every so many writes are tried: another set of them each time, but in a plain run."""


@pytest.fixture
def workspaces(place: Path) -> Workspaces:
    return Workspaces(place)


def squash(there: Workspaces) -> None:
    squash_target(there.site("-"), SquashOptions())


def pruned(there: Workspaces) -> None:
    prune(there.site("-"), PruneOptions(older_than=0))


def moments() -> range:
    print(f"seed {SEED}")
    return range(SEED % STEP, 1000, STEP)


@pytest.mark.parametrize("tend", [squash, pruned])
def test_upkeep_that_is_killed_changes_nothing_that_anyone_sees(
    workspaces: Workspaces, tend: Callable[[Workspaces], None]
) -> None:
    top = workspaces.at("a")
    for number in moments():
        for part in range(2):
            write(top, b"f%d" % part, noise(2000, number + part))
            write(top, b"new-%d-%d" % (number, part), b"n")
            workspaces.push("a")
        ids, tree = workspaces.ids(), snapshot(top)
        died = killed_at(number, lambda: tend(workspaces))
        for again in (True, False):
            workspaces.pull("z")
            assert unlike(tree, snapshot(workspaces.at("z"))) == {}
            assert workspaces.ids() == ids
            assert applied(workspaces.site("z").store, "ws") == on_disk(top)
            if again:
                tend(workspaces)
        if not died:
            break
    assert number > 10


def test_a_watch_that_is_killed_is_taken_up_by_the_next(workspaces: Workspaces) -> None:
    top = workspaces.at("a")

    def act() -> None:
        site = workspaces.site("a")
        with Watcher(top) as watcher:
            pushes = watch(site, PushOptions(lane="a"), watcher, 0.01)
            next(pushes)
            write(top, b"second", b"%d" % number)
            next(pushes)

    for number in moments():
        write(top, b"first", b"%d" % number)
        died = killed_at(number, act)
        workspaces.push("a")
        workspaces.pull("z")
        assert unlike(snapshot(top), snapshot(workspaces.at("z"))) == {}
        assert workspaces.changed("a") == []
        if not died:
            break
    assert number > 20
    assert on_disk(workspaces.at("z"))["second"][2] == b"%d" % number


def test_an_exec_that_is_killed_loses_nothing_that_its_command_did(workspaces: Workspaces) -> None:
    """Before its command ran, a plain rerun does it all. Afterwards what the command did is there, to be pushed."""
    write(workspaces.at("a"), b"count", b"")
    workspaces.push("a")
    counter = workspaces.at("b") + b"/count"

    def act() -> None:
        place = ["--state", str(workspaces.place / ".state-b"), "--lane", "b", "--quiet"]
        words = [*place, workspaces.target, os.fsdecode(workspaces.at("b")), "--", "sh", "-c", "printf x >> count"]
        code = agent.cli.main.run(["exec", *words])
        assert code == 0, f"exit {code}"

    for length, number in enumerate(moments()):
        died = killed_at(number, act)
        if os.path.exists(counter) and os.path.getsize(counter) > length:
            workspaces.push("b")
        else:
            assert not killed_at(10**6, act)
        workspaces.pull("z")
        assert on_disk(workspaces.at("z"))["count"][2] == b"x" * (length + 1)
        assert workspaces.changed("b") == []
        if not died:
            break
    assert number > 20
