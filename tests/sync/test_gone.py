"""A push to a target that has vanished: the whole directory again (design, "Targets that are not there")."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from agent.core.spelling.reference import parse_reference
from agent.errors import DivergedError, MissingTargetError
from agent.sync.commands.prune_target import PruneOptions, prune
from tests.fakes.contents import write
from tests.fakes.memory_workspaces import MemoryWorkspaces, entries_of
from tests.fakes.plain import put_image
from tests.fakes.small_registry import SmallRegistry
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces

OTHER = "memory.test/team/ws:other"


@pytest.fixture
def memory(tmp_path: Path) -> MemoryWorkspaces:
    """A workspace of two changes that two directories hold."""
    there = MemoryWorkspaces(tmp_path)
    for number in range(2):
        write(there.at("a"), b"d/file-%d" % number, b"%d" % number)
        write(there.at("a"), b"top", b"%d" % number)
        there.push("a")
    there.pull("b")
    return there


def vanish(there: Workspaces, *, collected: bool) -> None:
    prune(there.site("-"), PruneOptions(all=True))
    if collected and isinstance(there, MemoryWorkspaces):
        there.store.blobs.clear()
        there.store.manifests.clear()


def arrived(there: Workspaces, name: str, target: str | None = None) -> None:
    """See that a new directory gets what another one holds, and that nothing remains to be pushed."""
    there.pull("new", target=target)
    assert unlike(snapshot(there.at(name)), snapshot(there.at("new"))) == {}
    assert there.push(name, to=target).id is None


@pytest.mark.parametrize("collected", [True, False])
@pytest.mark.parametrize("name", ["a", "b"])
def test_an_unchanged_directory_is_pushed_whole(memory: MemoryWorkspaces, name: str, collected: bool) -> None:
    vanish(memory, collected=collected)
    report = memory.push(name)
    assert (report.id is not None, report.written, report.head_moved) == (True, 4, True)
    assert any("the whole directory is pushed again" in text for text in memory.notices)
    arrived(memory, name)
    assert len(memory.log()) == 1


def test_what_would_be_pushed_is_said_and_nothing_is_remembered(memory: MemoryWorkspaces) -> None:
    vanish(memory, collected=True)
    before = memory.frozen("a")
    report = memory.push("a", dry_run=True)
    assert (report.written, report.dry_run) == (4, True)
    assert memory.frozen("a") == before


def test_a_changed_directory_is_pushed_whole_if_what_it_builds_on_is_collected(memory: MemoryWorkspaces) -> None:
    vanish(memory, collected=True)
    write(memory.at("a"), b"new", b"new")
    os.unlink(memory.at("a") + b"/top")
    report = memory.push("a")
    assert (report.written, report.deleted) == (4, 0)
    arrived(memory, "a")
    assert len(memory.log()) == 1


def test_a_changed_directory_brings_its_past_back_if_that_is_there(memory: MemoryWorkspaces) -> None:
    vanish(memory, collected=False)
    write(memory.at("a"), b"new", b"new")
    assert memory.push("a").written == 1
    arrived(memory, "a")
    assert len(memory.log()) == 3


def test_an_attempt_that_changes_nothing_is_pushed_whole(memory: MemoryWorkspaces) -> None:
    vanish(memory, collected=True)
    assert memory.push("a", lane="task", attempt=0).written == 4
    memory.pull("new")
    assert unlike(snapshot(memory.at("a")), snapshot(memory.at("new"))) == {}


def test_a_directory_moves_to_another_target_from_one_that_is_gone(memory: MemoryWorkspaces) -> None:
    vanish(memory, collected=True)
    report = memory.push("a", to=OTHER)
    assert report.written == 4
    arrived(memory, "a", OTHER)
    assert "main" not in memory.store.pointers


@pytest.mark.parametrize("changed", [True, False])
def test_another_workspace_in_its_place_is_left_alone(memory: MemoryWorkspaces, changed: bool) -> None:
    vanish(memory, collected=True)
    write(memory.at("c"), b"other", b"other")
    memory.push("c")
    if changed:
        write(memory.at("a"), b"new", b"new")
    before = memory.frozen("a")[1]
    with pytest.raises(DivergedError, match="is gone; the target holds another workspace now"):
        memory.push("a")
    assert memory.frozen("a")[1].keys() - before.keys() <= {"intent"}
    assert len(memory.log()) == 1
    assert memory.push("a", to=OTHER).written == (5 if changed else 4)
    arrived(memory, "a", OTHER)


@pytest.mark.parametrize("changed", [True, False])
def test_a_part_of_what_is_gone_is_not_taken_for_the_whole(memory: MemoryWorkspaces, changed: bool) -> None:
    memory.pull("part", paths=(b"d",))
    vanish(memory, collected=True)
    if changed:
        write(memory.at("part"), b"d/new", b"new")
    with pytest.raises(MissingTargetError, match="only a part") as caught:
        memory.push("part")
    assert caught.value.exit_code == 12
    assert memory.store.pointers == {}


def test_a_head_that_alone_is_lost_is_made_anew(memory: MemoryWorkspaces) -> None:
    del memory.store.pointers["main"]
    assert memory.push("b").id is None
    assert "main" in memory.store.pointers
    assert len(memory.log()) == 2


def test_what_head_alone_does_not_show_is_not_gone(memory: MemoryWorkspaces, monkeypatch: pytest.MonkeyPatch) -> None:
    old = memory.store.pointers["main"]
    write(memory.at("a"), b"new", b"new")
    memory.push("a")
    memory.store.pointers["main"] = old
    assert memory.push("a").id is None
    with monkeypatch.context() as lagging:
        lagging.setattr(memory.store, "tags", lambda prefix="": [])
        assert memory.push("a").id is None
    prune(memory.site("-"), PruneOptions(0))
    assert entries_of(memory.store) == []
    memory.store.pointers["main"] = old
    assert memory.push("a").id is None


def test_an_unchanged_directory_asks_for_head_alone(memory: MemoryWorkspaces) -> None:
    memory.store.log.clear()
    memory.push("a")
    assert memory.store.log == [("get_manifest", "main")]


def test_a_push_that_is_killed_on_the_way_is_done_by_the_next(memory: MemoryWorkspaces) -> None:
    vanish(memory, collected=True)
    memory.store.log.clear()
    memory.push("a")
    calls = len(memory.store.log)
    for number in range(calls):
        vanish(memory, collected=True)
        left = [number]

        def die(name: str, subject: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

        memory.store.before = die
        with pytest.raises(KeyboardInterrupt):
            memory.push("a")
        memory.store.before = None
        memory.push("a")
        arrived(memory, "a")
        assert len(memory.log()) == 1


def test_where_nothing_was_pushed_nothing_has_vanished(memory: MemoryWorkspaces) -> None:
    put_image(memory.store, "tools", [{"bin/tool": b"tool"}])
    memory.pull("fresh", target=OTHER, base=parse_reference("memory.test/team/ws:tools"))
    memory.store.log.clear()
    assert memory.push("fresh", to=OTHER).id is None
    assert memory.store.log == []


def test_an_image_of_others_that_is_the_base_may_move(memory: MemoryWorkspaces) -> None:
    target = "memory.test/team/ws:tools"
    put_image(memory.store, "tools", [{"bin/tool": b"tool"}])
    memory.pull("fresh", target=target)
    assert memory.push("fresh", to=target).id is None
    put_image(memory.store, "tools", [{"bin/tool": b"newer"}])
    assert memory.push("fresh", to=target).id is None


@pytest.mark.parametrize("where", ["layout", "registry", "small"])
def test_a_push_after_a_prune_of_all_on_a_real_store(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with closing(SmallRegistry("by tag")) as small:
        addresses = {"registry": lambda: request.getfixturevalue("registry"), "small": lambda: small.address}
        target = None if where == "layout" else f"{addresses[where]()}/gone/{os.path.basename(tmp_path)}:ws"
        there = Workspaces(tmp_path, target)
        write(there.at("a"), b"d/file", b"content")
        there.push("a")
        prune(there.site("-"), PruneOptions(all=True)).check()
        assert there.push("a").id
        arrived(there, "a")
        there.close()
