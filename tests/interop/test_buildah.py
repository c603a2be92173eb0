"""buildah starts containers from what we push and mounts the same tree, on a union file system and on copies."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from agent.core.spelling.reference import parse_reference
from tests.fakes.contents import write
from tests.fakes.trees import Tree, snapshot, unlike
from tests.fakes.workspaces import Workspaces
from tests.interop.conftest import History, make_parallel_changes
from tests.interop.tools import Buildah, without_links_of_links


def shown(tree: Tree, buildah: Buildah) -> Tree:
    return without_links_of_links(tree) if buildah.driver == "vfs" else tree


@pytest.mark.sweep(2)
@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_buildah_mounts_the_tree_that_was_pushed(
    history: Callable[[str], History], buildah: Buildah, compression: str
) -> None:
    pushed = history(compression)
    with buildah.container(f"oci:{pushed.layout}:ws") as (_, mounted):
        assert unlike(shown(pushed.tree, buildah), shown(snapshot(mounted), buildah)) == {}


def test_buildah_takes_it_from_a_registry_too(in_registry: Callable[[str], History], buildah: Buildah) -> None:
    pushed = in_registry("zstd")
    with buildah.container(f"docker://{pushed.workspaces.target}") as (_, mounted):
        assert unlike(shown(pushed.tree, buildah), shown(snapshot(mounted), buildah)) == {}


def test_buildah_agrees_about_what_parallel_writers_made(workspaces: Workspaces, buildah: Buildah) -> None:
    make_parallel_changes(workspaces, "zstd")
    merged = snapshot(workspaces.at("d"))
    with buildah.container(f"oci:{workspaces.place}/layout:ws") as (_, mounted):
        assert unlike(merged, snapshot(mounted)) == {}


@pytest.mark.sweep(2)
@pytest.mark.parametrize("words", [(), ("--squash",), ("--format", "docker")], ids=["layer", "squash", "docker"])
def test_what_buildah_makes_of_a_workspace_is_a_base_for_others(
    workspaces: Workspaces, buildah: Buildah, words: tuple[str, ...]
) -> None:
    write(workspaces.at("a"), b"d/one", b"one")
    write(workspaces.at("a"), b"two", b"two")
    workspaces.push("a")
    built = f"oci:{workspaces.place}/layout:built"
    with buildah.container(f"oci:{workspaces.place}/layout:ws") as (container, mounted):
        (mounted / "d" / "one").unlink()
        write(os.fsencode(mounted), b"three", b"three")
        now = snapshot(mounted, mtimes=False)  # it writes whole seconds
        buildah.commit(container, built, *words)
    workspaces.pull("b", target=built)
    workspaces.pull("c", target=f"oci:{workspaces.place}/new:ws", base=parse_reference(built))
    for name in ("b", "c"):
        assert unlike(now, snapshot(workspaces.at(name), mtimes=False)) == {}
    write(workspaces.at("c"), b"four", b"four")
    workspaces.push("c", to=f"oci:{workspaces.place}/new:ws")
    workspaces.pull("d", target=f"oci:{workspaces.place}/new:ws")
    assert unlike(snapshot(workspaces.at("c")), snapshot(workspaces.at("d"))) == {}


def test_a_workspace_outlives_an_image_that_buildah_put_over_its_head(workspaces: Workspaces, buildah: Buildah) -> None:
    write(workspaces.at("a"), b"file", b"file")
    workspaces.push("a")
    with buildah.container(f"oci:{workspaces.place}/layout:ws") as (container, mounted):
        write(os.fsencode(mounted), b"theirs", b"theirs")
        buildah.commit(container, f"oci:{workspaces.place}/layout:ws")
    workspaces.pull("b")
    assert {b"file"} <= snapshot(workspaces.at("b")).keys()
    assert b"theirs" in snapshot(workspaces.at("b")) or "someone else" in workspaces.notices[0]
