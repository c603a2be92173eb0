"""umoci reads what we push, and shows the same tree: plain OCI rules, applied by someone else (design, G4)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.contents import write
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces
from tests.interop.conftest import History
from tests.interop.tools import Skopeo, Umoci


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_umoci_unpacks_the_tree_that_was_pushed(
    history: Callable[[str], History], umoci: Umoci, compression: str
) -> None:
    pushed = history(compression)
    bundle = umoci.unpack(pushed.layout, "ws")
    owners = os.geteuid() == 0
    assert unlike(pushed.tree, snapshot(bundle / "rootfs", owners=owners)) == {}


def test_entries_are_whole_images_too(
    in_registry: Callable[[str], History], skopeo: Skopeo, umoci: Umoci, tmp_path: Path
) -> None:
    pushed = in_registry("gzip")
    tags = [tag for tag in pushed.workspaces.site("a").store.tags() if "._e" in tag]
    assert len(tags) == pushed.layers
    repository = pushed.workspaces.target.removesuffix(":ws")
    shown = []
    for number, tag in enumerate(tags):
        skopeo.copy(f"docker://{repository}:{tag}", f"oci:{tmp_path}/copy:{number}")
        shown.append(snapshot(umoci.unpack(tmp_path / "copy", str(number)) / "rootfs"))
    assert sum(not unlike(pushed.tree, tree) for tree in shown) == 1
    assert len({len(tree) for tree in shown}) == len(tags)


def test_umoci_agrees_about_what_parallel_writers_made(workspaces: Workspaces, umoci: Umoci) -> None:
    write(workspaces.at("a"), b"d/one", b"one")
    write(workspaces.at("a"), b"d/two", b"two")
    write(workspaces.at("a"), b"f", b"file")
    workspaces.push("a", compression="gzip")
    workspaces.pull("b")
    workspaces.pull("c")
    for path in (b"/d/one", b"/d/two"):
        os.unlink(workspaces.at("a") + path)
    os.rmdir(workspaces.at("a") + b"/d")
    write(workspaces.at("b"), b"d/three", b"three")
    write(workspaces.at("b"), b"d/one", b"one, changed beside its deletion")
    os.unlink(workspaces.at("c") + b"/f")
    write(workspaces.at("c"), b"f/in", b"in")
    for name in ("b", "a", "c"):
        workspaces.push(name, compression="gzip")
    workspaces.pull("d")
    merged = snapshot(workspaces.at("d"))
    assert {b"d/one", b"d/three", b"f/in"} <= merged.keys()
    bundle = umoci.unpack(workspaces.place / "layout", "ws")
    assert unlike(merged, snapshot(bundle / "rootfs")) == {}
