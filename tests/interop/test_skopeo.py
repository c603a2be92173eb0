"""skopeo inspects and copies what we push; what it copied is still the workspace."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from agent.core.spelling.reference import parse_reference
from tests.fakes.contents import write
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces
from tests.interop.conftest import History
from tests.interop.tools import Skopeo

EVERY = pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])


@EVERY
def test_skopeo_inspects_what_was_pushed(
    in_registry: Callable[[str], History], skopeo: Skopeo, compression: str
) -> None:
    pushed = in_registry(compression)
    said = skopeo.inspect(f"docker://{pushed.workspaces.target}")
    assert len(said["Layers"]) == pushed.layers
    assert (said["Os"], said["Architecture"]) == ("linux", "amd64")
    assert "ws" in said["RepoTags"]


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_what_skopeo_copied_to_a_layout_is_the_workspace(
    in_registry: Callable[[str], History], skopeo: Skopeo, tmp_path: Path, compression: str
) -> None:
    pushed = in_registry(compression)
    skopeo.copy(f"docker://{pushed.workspaces.target}", f"oci:{tmp_path}/copy:ws")
    there = Workspaces(tmp_path, f"oci:{tmp_path}/copy:ws")
    there.pull("b")
    assert there.notices == []
    assert unlike(pushed.tree, snapshot(there.at("b"))) == {}
    assert there.ids() == pushed.workspaces.ids()
    goes_on(there)


def goes_on(there: Workspaces) -> None:
    """Push on top of what was pulled into `b`, and pull that."""
    write(there.at("b"), b"more", b"more")
    os.unlink(there.at("b") + b"/lone")
    there.push("b")
    there.pull("c")
    assert unlike(snapshot(there.at("b")), snapshot(there.at("c"))) == {}


@pytest.mark.parametrize(("compression", "into"), [("none", "gzip"), ("gzip", "zstd"), ("zstd", "gzip")])
def test_a_copy_that_was_encoded_anew_has_the_tree_and_the_history(
    history: Callable[[str], History], skopeo: Skopeo, tmp_path: Path, compression: str, into: str
) -> None:
    pushed = history(compression)
    skopeo.copy(f"oci:{pushed.layout}:ws", f"oci:{tmp_path}/copy:ws", "--dest-compress-format", into)
    there = Workspaces(tmp_path, f"oci:{tmp_path}/copy:ws")
    there.pull("b")
    assert there.notices == []
    assert there.ids() == pushed.workspaces.ids()
    assert unlike(pushed.tree, snapshot(there.at("b"))) == {}
    goes_on(there)


def test_what_skopeo_copied_to_a_directory_is_whole(
    in_registry: Callable[[str], History], skopeo: Skopeo, tmp_path: Path
) -> None:
    pushed = in_registry("zstd")
    skopeo.copy(f"docker://{pushed.workspaces.target}", f"dir:{tmp_path}/copy")
    reference = parse_reference(pushed.workspaces.target)
    head = pushed.workspaces.open_store(reference).get_manifest("ws")
    assert head is not None
    assert (tmp_path / "copy" / "manifest.json").read_bytes() == head.data
    for layer in json.loads(head.data)["layers"]:
        digest = layer["digest"].removeprefix("sha256:")
        assert sha256((tmp_path / "copy" / digest).read_bytes()).hexdigest() == digest


def test_a_layout_and_a_registry_are_copied_both_ways(
    history: Callable[[str], History], skopeo: Skopeo, registry: str, tmp_path: Path
) -> None:
    pushed = history("zstd")
    target = f"{registry}/copied/{uuid.uuid4().hex}:ws"
    skopeo.copy(f"oci:{pushed.layout}:ws", f"docker://{target}")
    there = Workspaces(tmp_path, target)
    there.pull("b")
    assert unlike(pushed.tree, snapshot(there.at("b"))) == {}
    there.close()


def test_a_copy_in_dockers_format_is_still_the_workspace(
    history: Callable[[str], History], skopeo: Skopeo, registry: str, tmp_path: Path
) -> None:
    pushed = history("gzip")  # skopeo puts no zstd into Docker's format
    target = f"{registry}/docker/{uuid.uuid4().hex}:ws"
    skopeo.copy(f"oci:{pushed.layout}:ws", f"docker://{target}", "--format", "v2s2")
    there = Workspaces(tmp_path, target)
    there.pull("b")
    assert unlike(pushed.tree, snapshot(there.at("b"))) == {}
    goes_on(there)
    there.close()


def test_a_head_that_was_encoded_anew_is_mended_from_its_entries(skopeo: Skopeo, registry: str, tmp_path: Path) -> None:
    there = Workspaces(tmp_path, f"{registry}/anew/{uuid.uuid4().hex}:ws")
    for number in range(3):
        write(there.at("a"), b"file-%d" % number, b"x" * number)
        there.push("a")
    ids = there.ids()
    skopeo.copy(f"docker://{there.target}", f"oci:{tmp_path}/copy:ws", "--dest-compress-format", "gzip")
    skopeo.copy(f"oci:{tmp_path}/copy:ws", f"docker://{there.target}")
    assert there.ids() == ids
    there.pull("b")
    assert unlike(snapshot(there.at("a")), snapshot(there.at("b"))) == {}
    write(there.at("b"), b"more", b"more")
    there.push("b")
    assert there.ids()[:-1] == ids
    there.pull("a")
    assert unlike(snapshot(there.at("a")), snapshot(there.at("b"))) == {}
    there.close()
