"""Prune deletes what a checkpoint holds, and nothing else (design, "Prune"; G1, G9)."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.core.spelling.tags import mark_tag, pointer_tag
from agent.errors import RefusedError, UsageError
from agent.store.port import Store
from agent.sync.commands.probe_store import doctor
from agent.sync.commands.prune_target import HOUR, PruneOptions, PruneReport, prune
from agent.sync.commands.read_target import diff
from agent.sync.commands.squash_command import SquashOptions, squash_target
from agent.sync.operation.options import PushOptions
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.push_steps.push_directory import push
from tests.fakes.contents import write
from tests.fakes.docker_registry import BINARY, DockerRegistry
from tests.fakes.memory_store import MemoryStore
from tests.fakes.memory_workspaces import MemoryWorkspaces, entries_of
from tests.fakes.small_registry import Deletes, SmallRegistry
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


def test_what_a_checkpoint_has_held_for_the_grace_time_goes(memory: MemoryWorkspaces) -> None:
    memory.now = 10**18
    fill(memory, "a", 2)
    memory.now += 5 * HOUR  # The age of a change is not what counts.
    report = pruned(memory, HOUR)
    assert (report.entries, report.kept, report.due) == (0, 2, memory.now + HOUR)
    first = report.checkpoint
    memory.now += HOUR - 1
    report = pruned(memory, HOUR)
    assert (report.entries, report.kept, report.due, report.checkpoint) == (0, 2, memory.now + 1, first)
    write(memory.at("a"), b"late", b"late")
    memory.push("a")
    memory.now += 1
    assert pruned(memory, HOUR, dry_run=True).entries == 2
    report = pruned(memory, HOUR)
    assert (report.entries, report.kept, report.due) == (2, 1, memory.now + HOUR)
    assert sorted(checkpoints_of(memory.store)) == sorted([first, report.checkpoint])
    memory.pull("c", after=("a",))
    same(memory, "a", "c")


def test_no_list_that_lags_less_than_the_grace_time_hides_a_change(
    memory: MemoryWorkspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader sees head as it was at first, and is shown the tags of some time ago."""
    memory.now = 10**18
    minute, lists, first = HOUR // 60, [list[str]()], None
    for number in range(12):
        write(memory.at("a"), b"file-%d" % number, b"x")
        memory.push("a")
        first = first or memory.store.pointers["main"]
        pruned(memory, HOUR)
        lists.append(list(memory.store.pointers))
        memory.now += 20 * minute
        head, memory.store.pointers["main"] = memory.store.pointers["main"], first
        with monkeypatch.context() as lagging:  # by 50 minutes at most
            lagging.setattr(
                memory.store, "tags", lambda prefix="": [tag for tag in lists[-3:][0] if tag.startswith(prefix)]
            )
            memory.pull(f"reader-{number}", after=("a",))
        memory.store.pointers["main"] = head
        found = set(os.listdir(memory.at(f"reader-{number}")))
        assert found >= {b"file-%d" % old for old in range(number - 1)}
    assert len(entries_of(memory.store)) < 8
    assert len(checkpoints_of(memory.store)) < 8


def test_a_prune_after_which_nothing_happened_adds_nothing(memory: MemoryWorkspaces) -> None:
    memory.now = 10**18
    fill(memory, "a", 3)
    pruned(memory, HOUR)
    for _ in range(3):
        tags = dict(memory.store.pointers)
        memory.now += 10
        pruned(memory, HOUR)
        assert memory.store.pointers == tags
    memory.now += HOUR
    assert pruned(memory, HOUR).entries == 3
    for _ in range(3):
        tags = dict(memory.store.pointers)
        memory.now += HOUR
        pruned(memory, HOUR)
        assert memory.store.pointers == tags


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


def test_a_checkpoint_stays_until_one_that_holds_more_is_old_enough(memory: MemoryWorkspaces) -> None:
    memory.now = 10**18
    fill(memory, "a", 2)
    first = pruned(memory, HOUR).checkpoint
    memory.now += HOUR // 2
    write(memory.at("a"), b"more", b"more")
    memory.push("a")
    second = pruned(memory, HOUR).checkpoint
    memory.now += HOUR * 3 // 4
    report = pruned(memory, HOUR)
    # The first checkpoint is old enough: what it holds goes. The second is not, so that the first is needed.
    assert (report.entries, report.kept, report.checkpoints) == (2, 1, 0)
    assert set(checkpoints_of(memory.store)) == {first, second}
    memory.now += HOUR // 2
    report = pruned(memory, HOUR)
    assert (report.entries, report.kept, report.checkpoints) == (1, 0, 1)
    assert checkpoints_of(memory.store) == [second]
    memory.pull("b")
    same(memory, "a", "b")


def test_a_checkpoint_from_the_future_is_dated_anew(memory: MemoryWorkspaces) -> None:
    memory.now = 10**18
    fill(memory, "a", 1)
    memory.now += 1000 * HOUR
    pruned(memory, HOUR)
    memory.now -= 999 * HOUR
    report = pruned(memory, HOUR)
    assert (report.kept, report.due) == (1, memory.now + HOUR)
    memory.now += HOUR
    assert pruned(memory, HOUR).entries == 1
    assert len(checkpoints_of(memory.store)) == 1


def test_a_checkpoint_is_no_older_than_what_it_holds(memory: MemoryWorkspaces) -> None:
    memory.now = 10**18
    fill(memory, "a", 1)
    pushed = memory.now
    memory.now -= 1000 * HOUR  # A pruner whose clock is behind.
    pruned(memory, HOUR)
    memory.now = pushed + HOUR - 1
    assert pruned(memory, HOUR).entries == 0
    memory.now = pushed + HOUR
    assert pruned(memory, HOUR).entries == 1


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


# Registries that delete in their own way


def small(place: Path, deletes: Deletes) -> Iterator[tuple[SmallRegistry, Workspaces]]:
    with closing(SmallRegistry(deletes)) as registry:
        there = Quick(place, f"{registry.address}/prune/ws:main")
        yield registry, there
        there.close()


class Quick(Workspaces):
    """Waits for nothing, and remembers for how long it would have waited."""

    def __init__(self, place: Path, target: str) -> None:
        super().__init__(place, target)
        self.slept: list[float] = []

    def site(self, name: str, target: str | None = None) -> WorkspaceContext:
        return super().site(name, target)._replace(sleep=self.slept.append)


@pytest.mark.parametrize("deletes", ["whole", "by tag", "late"])
def test_what_is_said_to_be_deleted_is_gone(tmp_path: Path, deletes: Deletes) -> None:
    for registry, there in small(tmp_path, deletes):
        fill(there, "a", 5)
        report = pruned(there)
        assert (report.entries, report.kept, report.refused) == (5, 0, 0)
        checkpoint = report.checkpoint or ""
        witness = checkpoint.replace("._c", "._w")
        assert registry.tags("prune/ws") == sorted(["main", checkpoint, witness, mark_tag("main")])
        there.pull("b")
        same(there, "a", "b")
        tags = registry.tags("prune/ws")
        pruned(there)
        assert registry.tags("prune/ws") == tags
        fill(there, "b", 2)
        report = pruned(there, all=True)
        # What an earlier prune deleted may still be shown, and counts once more.
        assert report.entries == 2 or (deletes == "late" and report.entries > 2)
        assert (report.checkpoints, report.head, report.refused) == (1, True, 0)
        assert registry.tags("prune/ws") == []
        report.check()


@pytest.mark.parametrize("deletes", ["in name only", "never"])
def test_where_nothing_goes_nothing_is_said_to_have_gone(tmp_path: Path, deletes: Deletes) -> None:
    for registry, there in small(tmp_path, deletes):
        fill(there, "a", 5)
        first = pruned(there)
        assert (first.entries, first.kept, first.refused) == (0, 0, 3)
        tags = registry.tags("prune/ws")
        for number in range(3):
            write(there.at("a"), b"more", b"%d" % number)
            there.push("a")
            report = pruned(there)
            assert (report.entries, report.checkpoints, report.refused) == (0, 0, 3)
            # Where nothing goes, another checkpoint would stay, too.
            assert [tag for tag in registry.tags("prune/ws") if "._c" in tag] == [first.checkpoint]
        report = pruned(there, all=True)
        assert (report.entries, report.head) == (0, False)
        with pytest.raises(RefusedError, match="3 images that should have gone are still there") as caught:
            report.check()
        assert caught.value.exit_code == 21
        assert "REGISTRY_STORAGE_DELETE_ENABLED" in caught.value.remedy
        assert set(registry.tags("prune/ws")) > set(tags)
        assert registry.http.count("DELETE") < 40, "it is not asked again and again"
        there.pull("b")
        same(there, "a", "b")


def test_one_image_that_cannot_go_keeps_no_other(tmp_path: Path) -> None:
    for registry, there in small(tmp_path, "whole"):
        fill(there, "a", 5)
        locked = next(tag for tag in registry.tags("prune/ws") if "._e" in tag)
        registry.locked.add(locked)
        report = pruned(there)
        assert (report.entries, report.refused) == (4, 1)
        with pytest.raises(RefusedError, match="an image that should have gone is still there"):
            report.check()
        assert [tag for tag in registry.tags("prune/ws") if "._e" in tag] == [locked]


def test_all_finds_what_a_list_that_lags_does_not_show(
    memory: MemoryWorkspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(memory, "a", 2)
    pruned(memory)
    fill(memory, "a", 3)
    shown = [tag for tag in memory.store.pointers if "._c" in tag]
    with monkeypatch.context() as lagging:
        lagging.setattr(memory.store, "tags", lambda prefix="": shown)
        assert pruned(memory, all=True).entries == 3
    assert memory.store.pointers == {}


@pytest.mark.parametrize("where", ["layout", "registry"])
def test_prune_on_a_real_store(where: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    target = None
    if where == "registry":
        target = f"{request.getfixturevalue('registry')}/prune/{uuid.uuid4().hex}:ws"
    there = Workspaces(tmp_path, target)
    fill(there, "a", 3)
    report = pruned(there)
    assert (report.entries, report.refused) == (3, 0)
    there.pull("b")
    same(there, "a", "b")
    write(there.at("b"), b"more", b"more")
    there.push("b")
    there.pull("a")
    same(there, "a", "b")
    report = pruned(there, all=True)
    store: Store = there.site("-").store
    assert (report.refused, store.tags()) == (0, [])
    there.close()


def test_prune_where_deletion_is_switched_off(tmp_path: Path) -> None:
    if shutil.which(BINARY) is None:
        pytest.skip(f"{BINARY} is not installed")
    with closing(DockerRegistry(tmp_path, deletes=False)) as running:
        there = Quick(tmp_path, f"{running.address}/prune/off:ws")
        fill(there, "a", 2)
        for everything in (False, True):
            with pytest.raises(RefusedError, match="the registry does not delete images, 405"):
                pruned(there, all=everything).check()
        report = doctor(there.site("-"), 3.0)
        assert [check.verdict for check in report.checks if check.name == "deleting"] == ["weak"]
        there.pull("b")
        same(there, "a", "b")
        there.close()
