"""umoci reads what we push, and shows the same tree: plain OCI rules, applied by someone else (design, G4)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces
from tests.interop.conftest import History, make_parallel_changes
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
    make_parallel_changes(workspaces, "gzip")
    bundle = umoci.unpack(workspaces.place / "layout", "ws")
    assert unlike(snapshot(workspaces.at("d")), snapshot(bundle / "rootfs")) == {}


def test_umoci_unpacks_it_without_privilege_too(history: Callable[[str], History], umoci: Umoci) -> None:
    pushed = history("gzip")
    bundle = umoci.unpack(pushed.layout, "ws", rootless=True)
    ours, theirs = pushed.tree, snapshot(bundle / "rootfs", owners=False, xattrs=False)
    assert ours.keys() == theirs.keys()
    # It keeps owners in an extended attribute, and makes files of devices.
    assert {path for path, row in ours.items() if row[0][0] != theirs[path][0][0]} <= {b"devices/loop", b"devices/null"}
    for path, (mode, _, mtime, content, _, linked) in ours.items():
        if mode[0] not in "bc":
            assert theirs[path] == (mode, (), mtime, content, (), linked), path
