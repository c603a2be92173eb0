"""A pull that did not end: every command tells one story of it, and the way on (G8)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from agent.core.spelling.reference import parse_reference
from agent.errors import DivergedError
from agent.sync.pull_steps.pull_directory import pull
from agent.sync.task.argument import parse_step
from agent.sync.task.step_setup import check_pulled, pull_options, state_of
from agent.workspace.filesystem.durable_files import write_checksummed
from agent.workspace.write.tree_writer import TreeWriter
from tests.fakes.contents import write
from tests.fakes.memory_workspaces import MemoryWorkspaces
from tests.fakes.plain import on_disk, put_image
from tests.fakes.trees import snapshot, unlike

BASE = "memory.test/tools/base:1"


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture
def pushed(memory: MemoryWorkspaces) -> MemoryWorkspaces:
    """A workspace pushed from `a`."""
    for name in (b"d/one", b"d/two", b"three"):
        write(memory.at("a"), name, name)
    memory.push("a")
    return memory


def interrupt(
    memory: MemoryWorkspaces, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], after: int = 1
) -> None:
    """Do `act`, which pulls, and die once so many files were written."""
    real, written = TreeWriter.write_file, []

    def write_file(*args: Any, **named: Any) -> Any:
        if len(written) == after:
            raise Killed
        written.append(args)
        return real(*args, **named)

    monkeypatch.setattr(TreeWriter, "write_file", write_file)
    with pytest.raises(Killed):
        act()
    monkeypatch.setattr(TreeWriter, "write_file", real)


def story(memory: MemoryWorkspaces, name: str = "b", target: str | None = None) -> str:
    where = os.fsdecode(memory.at(name))
    target = target or memory.target
    return f"{where}: a pull of {target} into this directory was interrupted; go on with: agent pull {target} {where}"


@pytest.mark.parametrize("is_first", [True, False])
def test_all_tell_one_story(pushed: MemoryWorkspaces, monkeypatch: pytest.MonkeyPatch, is_first: bool) -> None:
    if not is_first:
        pushed.pull("b")
        for name in (b"d/one", b"three"):
            write(pushed.at("a"), name, b"second")
        pushed.push("a")
    interrupt(pushed, monkeypatch, lambda: pushed.pull("b"))
    before, disk = pushed.frozen("b"), snapshot(pushed.at("b"))
    for act in (
        lambda: pushed.push("b"),
        lambda: pushed.push("b", dry_run=True),
        lambda: pushed.push("b", to="memory.test/team/ws:new"),
    ):
        with pytest.raises(DivergedError) as refused:
            act()
        assert str(refused.value) == story(pushed)
    report = pushed.status("b")
    assert pushed.notices == [story(pushed)]
    assert (report.interrupted, report.target) == (True, pushed.target)
    if is_first:
        assert (report.frontier, report.differences) == ([], [])
    assert pushed.frozen("b") == before
    assert unlike(disk, snapshot(pushed.at("b"))) == {}
    pushed.pull("b")
    assert pushed.notices == [f"{story(pushed).partition(';')[0]}; this one replaces what it left"]
    assert unlike(snapshot(pushed.at("a")), snapshot(pushed.at("b"))) == {}
    assert not pushed.status("b").interrupted
    assert pushed.push("b").id is None


def test_the_target_of_the_story_is_that_of_the_pull_that_was_interrupted(
    pushed: MemoryWorkspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(pushed.at("o"), b"other", b"o")
    write(pushed.at("o"), b"three", b"o")
    other = "memory.test/team/ws:other"
    pushed.push("o", to=other)
    pushed.pull("b")
    interrupt(pushed, monkeypatch, lambda: pushed.pull("b", target=other))
    with pytest.raises(DivergedError) as refused:
        pushed.push("b")
    assert str(refused.value) == story(pushed, target=other)


def test_the_way_on_keeps_the_selection(pushed: MemoryWorkspaces, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(pushed, monkeypatch, lambda: pushed.pull("b", paths=(b"d",)))
    assert pushed.status("b").sparse == ["d"]
    pushed.pull("b")
    assert sorted(on_disk(pushed.at("b"))) == ["d", "d/one", "d/two"]


@pytest.mark.parametrize("again", ["the same", "another base"])
def test_a_start_from_a_base_goes_on_though_the_target_holds_nothing(
    memory: MemoryWorkspaces, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    put_image(memory.open_store(parse_reference(BASE)), "1", [{"one": b"1", "two": b"2"}])
    put_image(memory.open_store(parse_reference(BASE)), "2", [{"two": b"2", "three": b"3"}])
    interrupt(memory, monkeypatch, lambda: memory.pull("b", base=parse_reference(BASE)))
    base = BASE if again == "the same" else BASE[:-1] + "2"
    memory.pull("b", base=parse_reference(base))
    assert len(on_disk(memory.at("b"))) == 2


@pytest.mark.parametrize("is_first", [True, False])
def test_what_was_put_there_meanwhile_is_not_taken_for_what_the_pull_left(
    pushed: MemoryWorkspaces, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    if not is_first:
        pushed.pull("b")
        os.unlink(pushed.at("a") + b"/d/two")
        write(pushed.at("a"), b"three", b"second")
        write(pushed.at("a"), b"four", b"second")
        pushed.push("a")
    interrupt(pushed, monkeypatch, lambda: pushed.pull("b"))
    write(pushed.at("b"), b"notes/mine", b"mine")
    disk = snapshot(pushed.at("b"))
    for _ in range(2):
        with pytest.raises(DivergedError, match=r"does not have \(notes, notes/mine\); move them away .*--force"):
            pushed.pull("b")
        assert unlike(disk, snapshot(pushed.at("b"))) == {}
    os.rename(pushed.at("b") + b"/notes", pushed.at("kept") + b"/notes")
    pushed.pull("b")
    assert unlike(snapshot(pushed.at("a")), snapshot(pushed.at("b"))) == {}


def test_force_gives_up_what_was_put_there_meanwhile(pushed: MemoryWorkspaces, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(pushed, monkeypatch, lambda: pushed.pull("b"))
    write(pushed.at("b"), b"notes/mine", b"mine")
    pushed.pull("b", force=True)
    assert unlike(snapshot(pushed.at("a")), snapshot(pushed.at("b"))) == {}


def test_the_steps_of_a_task_tell_it_too(pushed: MemoryWorkspaces, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = pushed.place / "volume"
    workspace = {"name": "w", "directory": os.fsdecode(pushed.at("b")), "target": pushed.target}
    argument = parse_step(json.dumps({"volume": str(volume), "workspaces": [workspace]}))
    state = state_of(argument, argument.workspaces[0])
    site = pushed.site("b")._replace(state=state, shares_state=True)
    interrupt(pushed, monkeypatch, lambda: pull(site, pull_options(argument, argument.workspaces[0])))
    for act in (
        lambda: check_pulled(argument, argument.workspaces[0]),
        lambda: pull(site, pull_options(argument, argument.workspaces[0])),
    ):
        with pytest.raises(DivergedError, match=r"a pull of memory.test/team/ws:main into this directory was interrup"):
            act()


def test_a_note_of_a_pull_that_makes_no_sense_still_warns(pushed: MemoryWorkspaces) -> None:
    pushed.pull("b")
    about = os.stat(pushed.at("b"))
    root = [about.st_dev, about.st_ino]
    for value in (
        *({"root": "x"}, {"root": [1]}, {"target": 5}, {}),
        *({"root": root, "target": 5}, {"root": root, "sparse": ["x"]}, {"root": root, "more": 1}),
    ):
        write_checksummed(pushed.place / ".state-b" / "pulling", value)
        with pytest.raises(DivergedError, match="interrupted; pull again"):
            pushed.push("b")
        assert pushed.status("b").interrupted
    pushed.pull("b")
    assert not pushed.status("b").interrupted
