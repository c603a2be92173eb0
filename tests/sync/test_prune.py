"""Prune deletes what a checkpoint holds, and nothing else (design section 6, prune; G1, G9)."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from agent.core.tags import pointer_tag
from agent.errors import MissingBlobError, UsageError
from agent.store.port import Store
from agent.sync.options import PushOptions
from agent.sync.prune import HOUR, PruneOptions, PruneReport, prune
from agent.sync.push import push
from agent.sync.read import diff
from agent.sync.squashing import SquashOptions, squash_target
from tests.fakes.contents import write
from tests.fakes.memory_store import MemoryStore
from tests.fakes.memory_workspaces import MemoryWorkspaces, entries_of
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces


@pytest.fixture
def memory(tmp_path: Path) -> MemoryWorkspaces:
    return MemoryWorkspaces(tmp_path)


def pruned(there: Workspaces, older_than: int = 0, **options: bool) -> PruneReport:
    return prune(there.site("-"), PruneOptions(older_than, **options))


def squash(there: Workspaces) -> None:
    squash_target(there.site("-"), SquashOptions())


def checkpoints_of(store: MemoryStore) -> list[str]:
    return [tag for tag in store.pointers if "._c" in tag]


def collect(store: MemoryStore, among: set[str] | None = None) -> None:
    """Collect garbage as a registry does: blobs that no manifest names go."""
    named = " ".join(data.decode() for data, _ in store.manifests.values())
    for digest in [digest for digest in store.blobs if digest not in named]:
        if among is None or digest in among:
            del store.blobs[digest]


def fill(there: Workspaces, name: str, count: int, **options: object) -> None:
    for number in range(count):
        write(there.at(name), b"%s-%d" % (name.encode(), number), b"%d" % number)
        there.push(name, **options)  # type: ignore[arg-type]


def same(there: Workspaces, one: str, other: str) -> None:
    assert unlike(snapshot(there.at(one)), snapshot(there.at(other))) == {}


def test_prune_leaves_one_checkpoint_and_the_same_workspace(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 4)
    report = pruned(memory)
    assert (report.entries, report.kept, report.refused) == (4, 0, 0)
    assert entries_of(memory.store) == []
    assert [tag for tag in memory.store.pointers if "._p" in tag] == []
    assert checkpoints_of(memory.store) == [report.checkpoint]
    collect(memory.store)
    del memory.store.pointers["main"]
    memory.pull("b")
    same(memory, "a", "b")
    assert len(memory.log()) == 4
    write(memory.at("b"), b"more", b"more")
    memory.push("b")
    memory.pull("a")
    same(memory, "a", "b")


def test_what_a_squash_and_a_prune_took_away_is_said_to_be_gone(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 3)
    old = memory.log()[1].id
    squash(memory)
    memory.pull("before", at=old)
    pruned(memory)
    site = memory.site("-")
    for look in (lambda: memory.pull("after", at=old), lambda: diff(site.store, site.target, old, None)):
        with pytest.raises(UsageError, match=f"{old}: its entry is gone"):
            look()


def test_a_dry_run_deletes_and_writes_nothing(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 3)
    before = memory.frozen()
    report = pruned(memory, dry_run=True)
    assert (report.entries, report.checkpoint, report.dry_run) == (3, None, True)
    report = pruned(memory, dry_run=True, all=True)
    assert (report.entries, report.head) == (3, True)
    assert memory.frozen() == before


def test_what_is_younger_than_the_grace_time_stays(memory: MemoryWorkspaces) -> None:
    memory.now = 10**18
    fill(memory, "a", 1)
    memory.now += 2 * HOUR
    fill(memory, "b", 0)
    memory.pull("b")
    write(memory.at("b"), b"late", b"late")
    memory.push("b")
    report = pruned(memory, HOUR)
    assert (report.entries, report.kept) == (1, 1)
    memory.pull("c", after=("b",))
    same(memory, "b", "c")


def test_the_last_checkpoint_stays_and_older_ones_go(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 2)
    first = pruned(memory).checkpoint
    assert pruned(memory).checkpoint == first
    assert checkpoints_of(memory.store) == [first]
    write(memory.at("a"), b"new", b"")
    memory.push("a")
    report = pruned(memory)
    assert report.checkpoints == 1
    assert checkpoints_of(memory.store) == [report.checkpoint] != [first]
    memory.pull("b")
    same(memory, "a", "b")


def test_an_older_checkpoint_stays_for_the_grace_time(memory: MemoryWorkspaces) -> None:
    memory.now = 10**18
    fill(memory, "a", 2)
    memory.now += 10  # stamps of one moment count up
    first = pruned(memory).checkpoint
    memory.now += HOUR // 2
    write(memory.at("a"), b"more", b"more")
    memory.push("a")
    memory.now += HOUR * 3 // 4
    report = pruned(memory, HOUR)
    # The first two changes are old enough, and what is only in the checkpoint of them; the third is not.
    assert (report.entries, report.kept, report.checkpoints) == (0, 1, 1)
    assert first not in checkpoints_of(memory.store)
    memory.now += HOUR // 2
    write(memory.at("a"), b"last", b"last")
    memory.push("a")
    report = pruned(memory, HOUR)
    # The second checkpoint holds the third change, which is old enough now.
    assert (report.entries, report.kept, report.checkpoints) == (1, 1, 1)
    memory.now += HOUR // 2
    write(memory.at("a"), b"last", b"again")
    memory.push("a")
    assert pruned(memory, HOUR * 2).checkpoints == 0


def test_of_two_checkpoints_with_the_same_changes_both_pruners_keep_one(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 3)
    unsquashed = pruned(memory).checkpoint
    squash(memory)
    both = set(checkpoints_of(memory.store))
    assert len(both) == 2
    assert unsquashed in both
    pruned(memory)
    assert len(checkpoints_of(memory.store)) == 1
    memory.pull("b")
    same(memory, "a", "b")


def test_after_a_pruned_lane_is_all_that_the_checkpoint_holds(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 2, lane="run/build")
    pruned(memory)
    memory.slept.clear()
    memory.pull("c", after=("run/build",))
    assert memory.slept == []  # head tells that the lane ran
    del memory.store.pointers["main"]
    memory.pull("b", after=("run/build",))
    same(memory, "a", "b")


def test_pruning_beside_a_slow_pusher_loses_nothing(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 4)
    memory.pull("b")
    write(memory.at("b"), b"slow", b"slow")
    calls = 0

    def between(name: str, subject: str) -> None:
        # Before each of the pusher's calls another squashes, prunes and collects what nobody names any more.
        nonlocal calls
        calls += 1
        memory.store.before = None
        if calls % 3 == 1:
            write(memory.at("a"), b"a-at-%d" % calls, b"")
            memory.push("a")
            squash(memory)
        pruned(memory)
        collect(memory.store, old)

    old = set(memory.store.blobs)  # No registry collects while something is uploaded that nothing names yet.

    def watched(name: str, subject: str) -> None:
        between(name, subject)
        memory.store.before = watched

    memory.store.before = watched
    report = push(memory.site("b"), PushOptions(lane="b"))
    memory.store.before = None
    assert report.id in {entry.id for entry in memory.log()}
    memory.pull("c")
    found = {os.fsdecode(name) for name in os.listdir(memory.at("c"))}
    wanted = {f"a-{number}" for number in range(4)} | {f"a-at-{n}" for n in range(1, calls + 1) if n % 3 == 1}
    assert found == wanted | {"slow"}


def test_a_push_whose_layers_were_collected_is_rebuilt(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 3)
    memory.pull("b")
    squash(memory)
    pruned(memory)
    collect(memory.store)
    write(memory.at("b"), b"new", b"new")
    memory.push("b")
    memory.pull("c")
    same(memory, "b", "c")
    assert len(memory.log()) == 4
    write(memory.at("b"), b"newer", b"newer")
    memory.push("b")
    memory.pull("c")
    same(memory, "b", "c")


def test_a_push_whose_own_layer_was_collected_uploads_it_again(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 2)
    write(memory.at("a"), b"own", b"own")
    once = [True]

    def lose(name: str, subject: str) -> None:
        if name == "put_manifest" and once and once.pop():
            collect(memory.store)

    memory.store.before = lose
    memory.push("a")
    memory.store.before = None
    memory.pull("b")
    same(memory, "a", "b")


def test_a_push_onto_what_is_gone_for_good_says_so(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 2)
    assert pruned(memory, all=True).head
    collect(memory.store)
    write(memory.at("a"), b"new", b"")
    with pytest.raises(MissingBlobError):
        memory.push("a")


def test_a_push_that_died_is_known_for_ones_own_after_it_was_pruned(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 1)
    write(memory.at("a"), b"x", b"x")

    def die(name: str, subject: str) -> None:
        if (name, subject) == ("put_manifest", "main"):
            raise KeyboardInterrupt

    memory.store.before = die
    with pytest.raises(KeyboardInterrupt):
        memory.push("a")
    memory.store.before = None
    pruned(memory)
    os.unlink(memory.at("a") + b"/x")
    write(memory.at("a"), b"y", b"y")
    memory.push("a")
    memory.pull("b")
    same(memory, "a", "b")
    assert len(memory.log()) == 3


def test_all_removes_the_workspace_and_nothing_of_its_neighbour(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 2)
    fill(memory, "b", 2, to="memory.test/team/ws:main-2")
    memory.store.put_manifest(
        "main.mine", *memory.store.manifests[memory.store.pointers[pointer_tag("main-2", "b", None, 0)]]
    )
    squash(memory)
    kept = {tag: digest for tag, digest in memory.store.pointers.items() if tag.startswith("main-2")}
    report = pruned(memory, all=True)
    assert (report.entries, report.checkpoints, report.head) == (2, 1, True)
    assert set(memory.store.pointers) == {*kept, "main.mine"}
    memory.pull("c", target="memory.test/team/ws:main-2")
    same(memory, "b", "c")


def test_what_vanishes_between_list_and_read_is_found_in_the_checkpoint(memory: MemoryWorkspaces) -> None:
    fill(memory, "a", 3)
    del memory.store.pointers["main"]
    done = []

    def prune_now(name: str, subject: str) -> None:
        if name == "get_manifest" and "._e" in subject and not done:
            done.append(subject)
            memory.store.before = None
            pruned(memory)
            memory.store.before = prune_now

    memory.store.before = prune_now
    memory.pull("b")
    memory.store.before = None
    assert done
    same(memory, "a", "b")


@pytest.mark.parametrize("where", ["layout", "registry"])
def test_prune_on_a_real_store(where: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    target = None
    if where == "registry":
        target = f"{request.getfixturevalue('registry')}/prune/{uuid.uuid4().hex}:ws"
    there = Workspaces(tmp_path, target)
    fill(there, "a", 3)
    report = pruned(there)
    assert report.entries + report.refused == 3
    there.pull("b")
    same(there, "a", "b")
    write(there.at("b"), b"more", b"more")
    there.push("b")
    there.pull("a")
    same(there, "a", "b")
    report = pruned(there, all=True)
    store: Store = there.site("-").store
    assert report.refused or store.tags() == []
    there.close()
