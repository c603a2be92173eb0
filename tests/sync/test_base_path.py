"""A directory of a base as the beginning of a workspace (docs/decisions/base-path.md)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.core.spelling.reference import Reference, parse_reference
from agent.errors import UsageError
from agent.sync.commands.read_target import log
from tests.fakes.contents import noise, write
from tests.fakes.memory_store import MemoryStore
from tests.fakes.memory_workspaces import MemoryWorkspaces
from tests.fakes.plain import applied, on_disk, put_image
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces

SHARE = b"usr/share/tool"


@pytest.fixture
def base(workspaces: Workspaces) -> Reference:
    """An image of two layers, of which nothing but a part is wanted."""
    top = workspaces.at("base")
    write(top, b"bin/sh", noise(9000))
    write(top, SHARE + b"/config", b"config")
    write(top, SHARE + b"/sub/large", noise(300_000))
    os.link(top + b"/" + SHARE + b"/config", top + b"/" + SHARE + b"/sub/config")
    os.link(top + b"/bin/sh", top + b"/" + SHARE + b"/sh")
    os.symlink(b"../x", top + b"/" + SHARE + b"/link")
    os.chmod(top + b"/" + SHARE + b"/sub", 0o2775)
    os.symlink(b"usr/share", top + b"/share")
    name = f"oci:{workspaces.place}/bases:1"
    workspaces.push("base", to=name)
    write(top, SHARE + b"/sub/late", b"late")
    os.unlink(top + b"/" + SHARE + b"/sub/config")
    workspaces.push("base", to=name)
    return parse_reference(name)


@pytest.mark.parametrize("path", [SHARE, b"share/tool"])
def test_the_directory_becomes_the_root(workspaces: Workspaces, base: Reference, path: bytes) -> None:
    workspaces.pull("a", base=base, base_path=path)
    wanted = snapshot(os.path.join(workspaces.at("base"), SHARE))
    wanted[b"sh"] = (*wanted[b"sh"][:-1], ())  # its other name lies outside
    assert unlike(snapshot(workspaces.at("a")), wanted) == {}
    assert workspaces.changed("a") == []
    assert workspaces.push("a").id is None


def test_the_target_gets_an_ordinary_base(workspaces: Workspaces, base: Reference) -> None:
    workspaces.pull("a", base=base, base_path=SHARE)
    write(workspaces.at("a"), b"new", b"new")
    os.unlink(workspaces.at("a") + b"/config")
    workspaces.push("a")
    Path(workspaces.place / "bases").rename(workspaces.place / "away")
    workspaces.pull("b")
    assert unlike(snapshot(workspaces.at("a")), snapshot(workspaces.at("b"))) == {}
    target = parse_reference(workspaces.target)
    changes = log(workspaces.open_store(target), target).changes
    assert [change.lane for change in changes] == ["a", "base"]


def test_plain_application_of_the_target_gives_the_tree(memory: MemoryWorkspaces) -> None:
    name = parse_reference("memory.test/base/image:3")
    store = memory.open_store(name)
    assert isinstance(store, MemoryStore)
    put_image(store, "3", [{"d/": None, "d/x": b"x", "d/y": b"y", "e": b"e"}, {"d/.wh.x": b"", "d/z": b"z"}])
    memory.pull("a", base=name, base_path=b"d")
    write(memory.at("a"), b"y", b"changed")
    memory.push("a")
    assert applied(memory.store, "main") == on_disk(memory.at("a"))
    assert sorted(on_disk(memory.at("a"))) == ["y", "z"]


def test_who_starts_from_the_same_directory_starts_from_the_same_base(workspaces: Workspaces, base: Reference) -> None:
    ids = {name: workspaces.pull(name, base=base, base_path=SHARE).frontier for name in ("a", "b")}
    assert ids["a"] == ids["b"] != []
    for name in ("a", "b"):
        write(workspaces.at(name), b"by-" + name.encode(), b"")
        workspaces.push(name)
    report = workspaces.pull("c")
    assert report.conflicts == []
    assert {b"by-a", b"by-b", b"sub/late"} <= snapshot(workspaces.at("c")).keys()


def test_another_directory_of_the_same_image_is_another_base(workspaces: Workspaces, base: Reference) -> None:
    paths = {"a": b"usr", "b": b"bin", "c": b""}
    ids = [workspaces.pull(name, base=base, base_path=path).frontier for name, path in paths.items()]
    assert len({tuple(found) for found in ids}) == 3


def test_a_second_pull_reads_nothing_of_the_base(workspaces: Workspaces, base: Reference) -> None:
    workspaces.pull("a", base=base, base_path=SHARE)
    layers = list((workspaces.place / "bases" / "blobs" / "sha256").iterdir())
    for layer in layers:
        if layer.stat().st_size > 20_000:
            layer.unlink()
    assert workspaces.pull("a", base=base, base_path=SHARE).written == 0


@pytest.mark.parametrize("path", [b"none", b"bin/sh", b"usr/share/tool/link"])
def test_what_is_no_directory_of_the_base_is_refused(workspaces: Workspaces, base: Reference, path: bytes) -> None:
    with pytest.raises(UsageError, match=path.decode()):
        workspaces.pull("a", base=base, base_path=path)
    assert os.listdir(workspaces.at("a")) == []


def test_an_empty_directory_is_an_empty_workspace(workspaces: Workspaces) -> None:
    os.makedirs(workspaces.at("base") + b"/empty")
    workspaces.push("base", to=f"oci:{workspaces.place}/bases:1")
    base = parse_reference(f"oci:{workspaces.place}/bases:1")
    workspaces.pull("a", base=base, base_path=b"empty")
    write(workspaces.at("a"), b"x", b"x")
    workspaces.push("a")
    workspaces.pull("b")
    assert set(snapshot(workspaces.at("b"))) == {b"x"}


def test_a_push_to_a_second_repository_takes_the_base_along(workspaces: Workspaces, base: Reference) -> None:
    workspaces.pull("a", base=base)
    write(workspaces.at("a"), b"new", b"new")
    workspaces.push("a")
    workspaces.pull("b")
    write(workspaces.at("b"), b"newer", b"newer")
    elsewhere = f"oci:{workspaces.place}/elsewhere:ws"
    workspaces.push("b", to=elsewhere)
    workspaces.pull("c", target=elsewhere)
    assert unlike(snapshot(workspaces.at("b")), snapshot(workspaces.at("c"))) == {}
