"""buildah starts containers from what we push and mounts the same tree, on a union file system and on copies."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fakes.trees import Tree, snapshot, unlike
from tests.interop.conftest import History
from tests.interop.tools import Buildah, without_links_of_links


def shown(tree: Tree, buildah: Buildah) -> Tree:
    return without_links_of_links(tree) if buildah.driver == "vfs" else tree


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
