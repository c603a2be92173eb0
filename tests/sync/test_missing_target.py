"""One error, one hint, and no directory is ever emptied (design, "Targets that are not there")."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from agent.core.spelling.reference import parse_reference
from agent.errors import AuthError, DivergedError, MissingTargetError, RefusedError, UnavailableError
from agent.sync.commands.prune_target import PruneOptions, prune
from agent.sync.commands.read_target import cat, diff, log, ls
from agent.sync.commands.squash_command import SquashOptions, squash_target
from agent.sync.operation.options import PullOptions
from agent.sync.pull_steps.pull_directory import pull
from agent.sync.task.argument import parse_step
from agent.sync.task.step_setup import pull_options
from tests.fakes.contents import write
from tests.fakes.memory_workspaces import MemoryWorkspaces, entries_of
from tests.fakes.plain import on_disk, put_image
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces

TYPO = "memory.test/team/ws:mian"
BASE = "memory.test/tools/base:1"
TOLD = r"ws:mian: it holds nothing \(the nearest tag there: main\)"


@pytest.fixture
def filled(memory: MemoryWorkspaces) -> MemoryWorkspaces:
    """A workspace pushed from `a`, a base beside it, and a target that holds nothing."""
    write(memory.at("a"), b"d/one", b"one")
    write(memory.at("a"), b"two", b"two")
    memory.push("a")
    put_image(memory.open_store(parse_reference(BASE)), "1", [{"base": b"base"}])
    return memory


def based(**options: Any) -> dict[str, Any]:
    return {"base": parse_reference(BASE), **options}


PULLS: list[dict[str, Any]] = [
    {},
    {"force": True},
    {"at": "f00d"},
    {"after": ("lane",)},
    {"paths": (b"d",)},
    {"repair": True},
    {"create": True, "at": "f00d"},
    {"lane": "x", "attempt": 1},
]


@pytest.mark.parametrize("options", PULLS, ids=str)
@pytest.mark.parametrize("name", ["a", "empty", "foreign"])
def test_a_pull_refuses_it_and_touches_nothing(filled: MemoryWorkspaces, options: dict[str, Any], name: str) -> None:
    if name == "foreign":
        write(filled.at(name), b"mine", b"mine")
    before, disk = filled.frozen(name), snapshot(filled.at(name))
    with pytest.raises(
        MissingTargetError, match=r"ws:mian: it holds nothing \(the nearest tag there: main\); .*--create"
    ) as e:
        filled.pull(name, target=TYPO, **options)
    assert e.value.exit_code == 12
    assert filled.frozen(name) == before
    assert unlike(disk, snapshot(filled.at(name))) == {}


STARTS: list[Callable[[], dict[str, Any]]] = [
    lambda: {"create": True},
    lambda: {"create": True, "force": True},
    lambda: {"create": True, "force": True, "paths": (b"d",)},
    based,
    lambda: based(force=True),
    lambda: based(create=True, force=True, repair=True),
]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("damage", ["", "changed", "state lost", "state damaged", "made again"])
def test_no_start_replaces_what_a_directory_holds(
    filled: MemoryWorkspaces, start: Callable[[], dict[str, Any]], damage: str
) -> None:
    """Even what was never pushed, and where nothing is known of it: it may be the only copy."""
    filled.pull("b")
    state = filled.place / ".state-b" / "state"
    if damage == "changed":
        write(filled.at("b"), b"unpushed", b"work")
    elif damage == "state lost":
        state.unlink()
    elif damage == "state damaged":
        state.write_bytes(state.read_bytes()[:-1])
    elif damage == "made again":
        os.rename(filled.at("b"), filled.at("b") + b"-moved")
        write(filled.at("b"), b"other", b"other")
    before, disk = filled.frozen("b"), snapshot(filled.at("b"))
    with pytest.raises(MissingTargetError, match=rf"{TOLD}, and the directory is not empty: .*; push"):
        filled.pull("b", target=TYPO, **start())
    assert filled.frozen("b") == before
    assert unlike(disk, snapshot(filled.at("b"))) == {}


@pytest.mark.parametrize("start", [{"create": True}, None], ids=["create", "base"])
def test_an_empty_directory_is_a_beginning_even_where_another_workspace_was_in_it(
    filled: MemoryWorkspaces, start: dict[str, Any] | None
) -> None:
    options = based() if start is None else start
    filled.pull("b")
    for name in ("d", "two"):
        place = os.path.join(os.fsdecode(filled.at("b")), name)
        shutil.rmtree(place) if os.path.isdir(place) else os.unlink(place)
    filled.pull("b", target=TYPO, **options)
    assert sorted(on_disk(filled.at("b"))) == ([] if start else ["base"])
    write(filled.at("b"), b"new", b"new")
    filled.push("b", to=TYPO)
    filled.pull("c", target=TYPO)
    assert sorted(on_disk(filled.at("c"))) == (["new"] if start else ["base", "new"])


@pytest.mark.parametrize("start", [{"create": True}, None], ids=["create", "base"])
def test_a_start_that_nothing_was_pushed_from_can_be_made_again(
    filled: MemoryWorkspaces, start: dict[str, Any] | None
) -> None:
    options = based() if start is None else start
    for _ in range(2):
        filled.pull("b", target=TYPO, **options)
    write(filled.at("b"), b"mine", b"mine")
    with pytest.raises(DivergedError, match=r"local changes \(mine\)"):
        filled.pull("b", target=TYPO, **options)
    filled.pull("b", target=TYPO, force=True, **options)
    assert sorted(on_disk(filled.at("b"))) == ([] if start else ["base"])


def test_a_target_that_vanished_empties_no_directory_that_was_pulled_from_it(filled: MemoryWorkspaces) -> None:
    filled.pull("b")
    prune(filled.site("-"), PruneOptions(all=True))
    disk = snapshot(filled.at("b"))
    for options in ({}, {"create": True}, {"create": True, "force": True}, based(force=True)):
        with pytest.raises(MissingTargetError, match="holds nothing"):
            filled.pull("b", **options)
    assert unlike(disk, snapshot(filled.at("b"))) == {}


def step(memory: MemoryWorkspaces, name: str, target: str) -> PullOptions:
    """Return how the step before a task pulls a directory."""
    workspace = {"name": "w", "directory": os.fsdecode(memory.at(name)), "target": target}
    argument = parse_step(json.dumps({"volume": "/instep", "workspaces": [workspace]}))
    return pull_options(argument, argument.workspaces[0])


def test_the_step_before_a_task_starts_a_workspace_and_keeps_what_lies_there(filled: MemoryWorkspaces) -> None:
    write(filled.at("b"), b"sidecar", b"s")
    pull(filled.site("b", TYPO), step(filled, "b", TYPO))
    assert sorted(on_disk(filled.at("b"))) == ["sidecar"]
    with pytest.raises(DivergedError, match=r"local changes \(sidecar\)"):
        pull(filled.site("b", TYPO), step(filled, "b", TYPO))
    assert sorted(on_disk(filled.at("b"))) == ["sidecar"]


def test_the_step_before_a_task_never_empties_what_it_pulled_before(filled: MemoryWorkspaces) -> None:
    options = step(filled, "b", filled.target)
    pull(filled.site("b"), options)
    prune(filled.site("-"), PruneOptions(all=True))
    disk = snapshot(filled.at("b"))
    with pytest.raises(MissingTargetError, match="left alone"):
        pull(filled.site("b"), options)
    assert unlike(disk, snapshot(filled.at("b"))) == {}


def test_a_directory_that_was_made_in_vain_is_gone(filled: MemoryWorkspaces) -> None:
    site = filled.site("new", TYPO)
    os.rmdir(filled.at("new"))
    with pytest.raises(MissingTargetError):
        pull(site, PullOptions())
    assert not os.path.lexists(site.directory)
    filled.at("new")
    with pytest.raises(MissingTargetError):
        pull(site, PullOptions())
    assert os.path.lexists(site.directory)  # it was there before


def test_every_command_that_needs_a_workspace_tells_the_same(filled: MemoryWorkspaces) -> None:
    typo = parse_reference(TYPO)
    store, site = filled.open_store(typo), filled.site("-", TYPO)
    before = filled.frozen()
    for act in (
        lambda: log(store, typo),
        lambda: list(ls(store, typo, ())),
        lambda: list(ls(store, typo, (), at="f00d")),
        lambda: list(cat(store, typo, b"two")),
        lambda: diff(store, typo, None, None),
        lambda: diff(store, typo, "f00d", "beef"),
        lambda: squash_target(site, SquashOptions()),
        lambda: squash_target(site, SquashOptions(after=("x",))),
        lambda: prune(site, PruneOptions()),
        lambda: prune(site, PruneOptions(dry_run=True)),
        lambda: prune(site, PruneOptions(all=True)),
        lambda: prune(site, PruneOptions(all=True, dry_run=True)),
    ):
        with pytest.raises(
            MissingTargetError, match=r"ws:mian: it holds nothing \(the nearest tag there: main\); check"
        ):
            act()  # type: ignore[no-untyped-call]
    assert filled.frozen() == before


def test_a_workspace_without_a_head_is_there(filled: MemoryWorkspaces) -> None:
    del filled.store.pointers["main"]
    assert filled.pull("b").paths == 3
    assert len(filled.log()) == 1


def test_an_image_of_someone_else_is_there(filled: MemoryWorkspaces) -> None:
    filled.pull("b", target=BASE)
    assert sorted(on_disk(filled.at("b"))) == ["base"]


def test_a_retry_that_must_see_nothing_is_no_missing_target(memory: MemoryWorkspaces) -> None:
    write(memory.at("a"), b"first", b"try")
    memory.push("a", lane="x", attempt=0)
    assert memory.pull("b", lane="x", attempt=1).paths == 0


@pytest.mark.parametrize("refusal", [AuthError, RefusedError])
@pytest.mark.parametrize("listed", ["never", "once"])
def test_a_list_that_is_refused_costs_only_the_hint(
    filled: MemoryWorkspaces, monkeypatch: pytest.MonkeyPatch, refusal: type[AuthError], listed: str
) -> None:
    real, calls = filled.store.tags, []

    def tags(prefix: str = "") -> list[str]:
        calls.append(prefix)
        if listed == "once" and len(calls) == 1:
            return real(prefix)
        raise refusal("not allowed", subject="memory.test", remedy="ask")

    monkeypatch.setattr(filled.store, "tags", tags)
    disk = snapshot(filled.at("a"))
    with pytest.raises(MissingTargetError, match="it holds nothing; check"):
        filled.pull("a", target=TYPO)
    assert unlike(disk, snapshot(filled.at("a"))) == {}


@pytest.mark.parametrize("options", [{}, {"create": True}])
def test_a_registry_that_is_away_tells_nothing_of_the_target(
    filled: MemoryWorkspaces, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    def tags(prefix: str = "") -> list[str]:
        raise UnavailableError("no route to host", subject="memory.test", remedy="wait")

    monkeypatch.setattr(filled.store, "tags", tags)
    with pytest.raises(UnavailableError, match="no route"):
        filled.pull("e", target=TYPO, **options)


def test_nothing_starts_where_the_list_is_refused_so_that_there_may_be_something(
    filled: MemoryWorkspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tags(prefix: str = "") -> list[str]:
        raise AuthError("not allowed", subject="memory.test", remedy="ask")

    monkeypatch.setattr(filled.store, "tags", tags)
    with pytest.raises(AuthError):
        filled.pull("e", target=TYPO, create=True)


def test_derived_tags_are_no_hint(memory: MemoryWorkspaces) -> None:
    write(memory.at("a"), b"f", b"f")
    memory.push("a")
    derived = entries_of(memory.store)[0]
    del memory.store.pointers["main"]
    with pytest.raises(MissingTargetError, match=r"it holds nothing \(there are no other tags, either\)") as e:
        memory.pull("b", target="memory.test/team/ws:mian")
    assert derived not in str(e.value)


def test_a_push_starts_a_workspace(filled: MemoryWorkspaces) -> None:
    write(filled.at("n"), b"f", b"f")
    assert filled.push("n", to=TYPO).id
    assert filled.push("a", to="memory.test/team/ws:copy").id


@pytest.mark.parametrize("kind", ["layout", "registry"])
def test_a_repository_that_is_not_there_at_all(
    request: pytest.FixtureRequest, workspaces: Workspaces, kind: str
) -> None:
    workspaces.target = f"oci:{workspaces.place}/none:ws"
    if kind == "registry":
        workspaces.target = f"{request.getfixturevalue('registry')}/no/such/place:ws"
    write(workspaces.at("a"), b"f", b"f")
    with pytest.raises(
        MissingTargetError, match=r"it holds nothing \(there are no other tags, either\); check the name"
    ):
        workspaces.pull("a")
    assert sorted(on_disk(workspaces.at("a"))) == ["f"]
    assert not (workspaces.place / "none").exists()
    workspaces.pull("b", create=True)
