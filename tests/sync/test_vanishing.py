"""What was read of a target is pruned and collected before it is used: then it is read again (design, "Protocol")."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.errors import ConflictError, UnavailableError, UsageError, VanishedError
from agent.sync.commands.prune_target import PruneOptions, prune
from agent.sync.commands.read_target import cat, diff, log, ls
from agent.sync.commands.squash_command import SquashOptions, squash_target
from tests.fakes.contents import noise, write
from tests.fakes.memory_store import MemoryStore
from tests.fakes.memory_workspaces import MemoryWorkspaces
from tests.fakes.soaking import SEED, SOAK
from tests.fakes.trees import snapshot, unlike

pytestmark = pytest.mark.soak
CALLS = 200
"""More than any operation here makes."""
STEP = 1 if SOAK else 2
"""A plain run tries every so many calls, another set of them each time."""
LARGE = [b"d/large-0", b"d/large-1", b"d/large-2"]
Act = Callable[[MemoryWorkspaces], object]


def workspace(new: Path) -> MemoryWorkspaces:
    """Return a workspace of three changes, read by ranges, by layers and ahead; `b` has pulled the first two."""
    new.mkdir()
    there = MemoryWorkspaces(new)
    for number in range(3):
        write(there.at("a"), b"d/large-%d" % number, noise(300_000, number))
        write(there.at("a"), b"small", b"%d" % number)
        os.utime(there.at("a") + b"/d", ns=(0, 0))
        there.push("a")
        if number == 1:
            there.pull("b")
    return there


def sweep(there: MemoryWorkspaces) -> None:
    """Squash, prune and collect, as a user, another and the registry might."""
    squash_target(there.site("-"), SquashOptions())
    prune(there.site("-"), PruneOptions(older_than=0))
    collect(there.store)


def collect(store: MemoryStore) -> None:
    named = " ".join(store.manifests[digest][0].decode() for digest in store.pointers.values())
    for digest in [digest for digest in store.blobs if digest not in named]:
        del store.blobs[digest]
    for digest in store.manifests.keys() - store.pointers.values():
        del store.manifests[digest]


def at_call(there: MemoryWorkspaces, number: int, happens: Callable[[], object], act: Act) -> bool:
    """Act, and let something happen before one of the calls of the store; say whether there was such a call."""
    calls = 0

    def before(name: str, subject: str) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            there.store.before = None
            happens()
            there.store.before = before

    there.store.before = before
    try:
        act(there)
    finally:
        there.store.before = None
    return calls >= number


def pull_anew(there: MemoryWorkspaces) -> None:
    there.pull("new")
    assert unlike(snapshot(there.at("a")), snapshot(there.at("new"))) == {}


def pull_over_older(there: MemoryWorkspaces) -> None:
    there.pull("b")
    assert unlike(snapshot(there.at("a")), snapshot(there.at("b"))) == {}


def pull_beside_others(there: MemoryWorkspaces) -> None:
    write(there.at("new"), b"theirs", b"theirs")
    there.pull("new", keep=True)
    os.unlink(there.at("new") + b"/theirs")
    assert unlike(snapshot(there.at("a")), snapshot(there.at("new"))) == {}
    assert there.changed("new") == []


def pull_sparsely(there: MemoryWorkspaces) -> None:
    there.pull("new", paths=(b"d",))
    assert sorted(os.listdir(there.at("new") + b"/d")) == [b"large-0", b"large-1", b"large-2"]


def pull_and_repair(there: MemoryWorkspaces) -> None:
    there.store.pointers.pop("main", None)
    there.pull("new", repair=True)
    assert unlike(snapshot(there.at("a")), snapshot(there.at("new"))) == {}


def show(there: MemoryWorkspaces) -> None:
    site = there.site("-")
    assert len(log(site.store, site.target).changes) == 3


def list_paths(there: MemoryWorkspaces) -> None:
    site = there.site("-")
    assert [listed.path for listed in ls(site.store, site.target, ())] == sorted([b"d", *LARGE, b"small"])


def print_file(there: MemoryWorkspaces) -> None:
    site = there.site("-")
    assert b"".join(cat(site.store, site.target, LARGE[1])) == noise(300_000, 1)


def compare(there: MemoryWorkspaces) -> None:
    site = there.site("-")
    newest = there.log()[0].id
    try:
        assert [one.path for one in diff(site.store, site.target, None, newest)] == [LARGE[2], b"small"]
    except UsageError as error:
        assert "its entry is gone" in error.what  # a tree as of a squashed change


def push_more(there: MemoryWorkspaces) -> None:
    write(there.at("a"), b"more", b"more")
    there.push("a")
    pull_anew(there)


def push_unless_it_conflicts(there: MemoryWorkspaces) -> None:
    write(there.at("b"), b"other", b"other")
    there.push("b", on_conflict="fail")
    there.pull("a")
    pull_anew(there)
    assert len(there.log()) == 4


def push_what_conflicts(there: MemoryWorkspaces) -> None:
    write(there.at("b"), b"small", b"mine")
    with pytest.raises(ConflictError, match="nothing was published"):
        there.push("b", on_conflict="fail")
    assert len(there.log()) == 3


FETCHERS: list[Act] = [pull_anew, pull_over_older, pull_beside_others, pull_sparsely, print_file]
OTHERS: list[Act] = [
    show,
    list_paths,
    compare,
    pull_and_repair,
    push_more,
    push_unless_it_conflicts,
    push_what_conflicts,
]


@pytest.mark.parametrize("act", [*FETCHERS, *OTHERS])
def test_what_vanishes_before_any_call_is_read_again(place: Path, act: Act) -> None:
    print(f"seed {SEED}")
    for number in range(1 + SEED % STEP, CALLS, STEP):
        there = workspace(place / f"{number}")
        if not at_call(there, number, lambda there=there: sweep(there), act):  # type: ignore[misc]
            break
    assert 2 < number < CALLS - 1


@pytest.mark.parametrize("act", FETCHERS)
def test_what_stands_there_and_is_damaged_is_an_error_after_a_second_look(place: Path, act: Act) -> None:
    there = workspace(place / "there")
    there.store.blobs.clear()
    there.store.log.clear()
    with pytest.raises(VanishedError, match="no such blob") as caught:
        act(there)
    assert caught.value.exit_code == 30
    assert [name for name, _ in there.store.log].count("tags") in (2, 3), "another layer may come first"


def test_who_never_gets_to_the_end_says_that_others_prune(place: Path) -> None:
    there = workspace(place / "there")

    def vanish(name: str, subject: str) -> None:
        if name == "read_blob":
            there.store.before = None
            write(there.at("a"), b"d/large-0", noise(300_000, len(there.store.log)))
            there.push("a")
            sweep(there)
            there.store.before = vanish

    there.store.before = vanish
    with pytest.raises(UnavailableError, match="others prune it faster"):
        there.pull("new")
    there.store.before = None
    pull_anew(there)
