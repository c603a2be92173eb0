"""Images that others wrote are pulled as others unpack them, alone and as the base of a workspace."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.core.spelling.reference import parse_reference
from agent.errors import UnsupportedError
from agent.sync.commands.read_target import cat, diff, log, ls
from tests.fakes.contents import write
from tests.fakes.trees import Tree, snapshot, unlike
from tests.fakes.workspaces import Workspaces
from tests.interop.images import by_buildah, by_umoci, by_umoci_insert, index_of
from tests.interop.tools import Buildah, Skopeo, Umoci

MAKERS = ["umoci", "umoci insert", "buildah"]


@dataclass(frozen=True)
class Foreign:
    """An image at `layout`:image, its number of layers, and its tree as umoci unpacks it."""

    layout: Path
    layers: int
    tree: Tree

    @property
    def reference(self) -> str:
        return f"oci:{self.layout}:image"


@pytest.fixture(scope="session")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Buildah:
    return Buildah(tmp_path_factory.mktemp("buildah"), "overlay")


@pytest.fixture(scope="session")
def foreign(
    tmp_path_factory: pytest.TempPathFactory, umoci: Umoci, skopeo: Skopeo, request: pytest.FixtureRequest
) -> Callable[[str], Foreign]:
    """An image by the name of its maker; not to be changed."""
    made: dict[str, Foreign] = {}

    def get(maker: str) -> Foreign:
        if maker not in made:
            layout = tmp_path_factory.mktemp("foreign") / "layout"
            if maker == "buildah":
                by_buildah(request.getfixturevalue("overlay"), layout)
            else:
                {"umoci": by_umoci, "umoci insert": by_umoci_insert}[maker](umoci, layout)
            tree = snapshot(umoci.unpack(layout, "image") / "rootfs", owners=True)
            made[maker] = Foreign(layout, len(skopeo.inspect(f"oci:{layout}:image")["Layers"]), tree)
        return made[maker]

    return get


def copied(foreign: Foreign, place: Path) -> Workspaces:
    """Return workspaces whose target is a copy of the image."""
    shutil.copytree(foreign.layout, place / "layout")
    return Workspaces(place, f"oci:{place}/layout:image")


@pytest.mark.parametrize("maker", MAKERS)
def test_an_image_is_pulled_as_umoci_unpacks_it(foreign: Callable[[str], Foreign], tmp_path: Path, maker: str) -> None:
    image = foreign(maker)
    there = copied(image, tmp_path)
    report = there.pull("a")
    assert unlike(image.tree, snapshot(there.at("a"))) == {}
    assert report.layers_fetched + report.layers_skipped == image.layers
    assert there.changed("a") == []
    assert there.push("a").id is None


@pytest.mark.parametrize("maker", MAKERS)
def test_a_workspace_goes_on_where_an_image_ends(
    foreign: Callable[[str], Foreign], umoci: Umoci, tmp_path: Path, maker: str
) -> None:
    there = copied(foreign(maker), tmp_path)
    there.pull("a")
    change(there.at("a"))
    report = there.push("a", compression="gzip")
    assert report.layer_size < 3000
    now = snapshot(there.at("a"))
    there.pull("b")
    assert unlike(now, snapshot(there.at("b"))) == {}
    assert unlike(now, snapshot(umoci.unpack(tmp_path / "layout", "image") / "rootfs")) == {}
    change_more(there.at("b"))
    there.push("b", compression="gzip")
    there.pull("a")
    assert unlike(snapshot(there.at("b")), snapshot(there.at("a"))) == {}


def change(top: bytes) -> None:
    """Change something of every layer below."""
    shutil.rmtree(top + b"/names")
    os.unlink(top + b"/f")
    os.mkdir(top + b"/f")
    write(top, b"opaque/beside the new", b"x")
    os.chmod(top + b"/d", 0o711)
    write(top, b"d/new", b"new")


def change_more(top: bytes) -> None:
    shutil.rmtree(top + b"/d")
    write(top, b"d", b"a file now")


@pytest.mark.parametrize("maker", MAKERS)
def test_a_workspace_starts_from_a_base_elsewhere(
    foreign: Callable[[str], Foreign], skopeo: Skopeo, umoci: Umoci, registry: str, tmp_path: Path, maker: str
) -> None:
    base = foreign(maker)
    there = Workspaces(tmp_path, f"{registry}/based/{uuid.uuid4().hex}:ws")
    there.pull("a", base=parse_reference(base.reference))
    assert unlike(base.tree, snapshot(there.at("a"))) == {}
    change(there.at("a"))
    there.push("a", compression="gzip")
    there.pull("b")
    assert unlike(snapshot(there.at("a")), snapshot(there.at("b"))) == {}
    skopeo.copy(f"docker://{there.target}", f"oci:{tmp_path}/copy:ws")
    assert unlike(snapshot(there.at("a")), snapshot(umoci.unpack(tmp_path / "copy", "ws") / "rootfs")) == {}
    there.close()


def test_a_base_in_the_same_registry_is_mounted_and_not_sent(
    foreign: Callable[[str], Foreign], skopeo: Skopeo, registry: str, tmp_path: Path
) -> None:
    base = f"{registry}/bases/{uuid.uuid4().hex}:v1"
    skopeo.copy(foreign("umoci").reference, f"docker://{base}")
    there = Workspaces(tmp_path, f"{registry}/mounted/{uuid.uuid4().hex}:ws")
    there.pull("a", base=parse_reference(base))
    write(there.at("a"), b"new", b"new")
    report = there.push("a")
    assert report.traffic.sent < 20_000
    skopeo.copy(f"docker://{there.target}", f"dir:{tmp_path}/copy")
    there.pull("b")
    assert unlike(snapshot(there.at("a")), snapshot(there.at("b"))) == {}
    there.close()


@pytest.mark.parametrize("maker", MAKERS)
def test_an_image_in_dockers_format_is_pulled_from_a_registry(
    foreign: Callable[[str], Foreign], skopeo: Skopeo, registry: str, tmp_path: Path, maker: str
) -> None:
    image = foreign(maker)
    there = Workspaces(tmp_path, f"{registry}/docker/{uuid.uuid4().hex}:v1")
    skopeo.copy(image.reference, f"docker://{there.target}", "--format", "v2s2")
    there.pull("a")
    assert unlike(image.tree, snapshot(there.at("a"))) == {}
    write(there.at("a"), b"new", b"new")
    there.push("a")
    there.pull("b")
    assert unlike(snapshot(there.at("a")), snapshot(there.at("b"))) == {}
    skopeo.copy(f"docker://{there.target}", f"oci:{tmp_path}/copy:ws")
    there.close()


def test_an_index_gives_the_image_of_the_platform(
    foreign: Callable[[str], Foreign], umoci: Umoci, tmp_path: Path
) -> None:
    there = copied(foreign("umoci"), tmp_path)
    umoci.new(tmp_path / "layout", "other")
    bundle = umoci.unpack(tmp_path / "layout", "other")
    write(os.fsencode(bundle / "rootfs"), b"other", b"other")
    umoci.repack(tmp_path / "layout", "other", bundle)
    index_of(tmp_path / "layout", "both", {"amd64": "image", "s390x": "other"})
    both = f"oci:{tmp_path}/layout:both"
    there.pull("a", target=both, platform="linux/amd64")
    assert unlike(foreign("umoci").tree, snapshot(there.at("a"))) == {}
    there.pull("b", target=both, platform="linux/s390x")
    assert os.listdir(there.at("b")) == [b"other"]
    with pytest.raises(UnsupportedError, match=r"linux/arm64.*linux/amd64, linux/s390x"):
        there.pull("c", target=both, platform="linux/arm64")
    there.pull("d", base=parse_reference(both), target=f"oci:{tmp_path}/new:ws", platform="linux/s390x")
    write(there.at("d"), b"more", b"more")
    there.push("d", to=f"oci:{tmp_path}/new:ws")
    there.pull("e", target=f"oci:{tmp_path}/new:ws")
    assert sorted(os.listdir(there.at("e"))) == [b"more", b"other"]


def test_a_manifest_list_by_buildah_gives_the_image_of_the_platform(
    foreign: Callable[[str], Foreign], overlay: Buildah, registry: str, tmp_path: Path
) -> None:
    there = Workspaces(tmp_path, f"{registry}/lists/{uuid.uuid4().hex}:v1")
    name = f"list-{uuid.uuid4().hex}"
    overlay.do("manifest", "create", name)
    for maker, *words in (("umoci", "--arch", "amd64"), ("buildah", "--arch", "arm64", "--variant", "v8")):
        overlay.do("manifest", "add", "--tls-verify=false", "--os", "linux", *words, name, foreign(maker).reference)
    overlay.do(
        *("manifest", "push", "--quiet", "--all", "--tls-verify=false", "--signature-policy", overlay.policy),
        *(name, f"docker://{there.target}"),
    )
    for directory, platform, maker in (
        ("a", "linux/amd64", "umoci"),
        ("b", "linux/arm64", "buildah"),
        ("c", "linux/arm64/v8", "buildah"),
    ):
        there.pull(directory, platform=platform)
        assert unlike(foreign(maker).tree, snapshot(there.at(directory))) == {}
    with pytest.raises(UnsupportedError, match="linux/arm64"):
        there.pull("d", platform="linux/riscv64")
    there.close()


@pytest.mark.parametrize("maker", MAKERS)
def test_an_image_can_be_looked_into_without_pulling_it(
    foreign: Callable[[str], Foreign], tmp_path: Path, maker: str
) -> None:
    image = foreign(maker)
    there = copied(image, tmp_path)
    reference = parse_reference(there.target)
    store = there.open_store(reference)
    listed = {row.path: row for row in ls(store, reference, ())}
    assert listed.keys() == image.tree.keys()
    for path, (mode, (uid, gid), mtime, content, _, linked) in image.tree.items():
        row = listed[path]
        assert (row.uid, row.gid, row.mtime) == (uid, gid, mtime), path
        assert (row.kind == "file") == mode.startswith("-"), path
        assert mode[0] != "l" or row.target == content
        assert mode[0] != "-" or row.size == content[0]
        assert (row.group is not None) == bool(linked), path
    assert [row.path for row in ls(store, reference, (b"opaque",))] == [
        path for path in sorted(image.tree) if path == b"opaque" or path.startswith(b"opaque/")
    ]
    assert b"".join(cat(store, reference, b"opaque/new")) == b"new"
    (entry,) = log(store, reference).changes
    assert (entry.lane, entry.stamp, entry.parents) == ("base", 0, [])
    there.pull("a")
    write(there.at("a"), b"opaque/new", b"newer")
    there.push("a")
    reference = parse_reference(there.target)
    store = there.open_store(reference)
    assert b"".join(cat(store, reference, b"opaque/new")) == b"newer"
    assert [(row.mark, row.path) for row in diff(store, reference, None, None)] == [("changed", b"opaque/new")]
    assert [entry.lane for entry in log(store, reference).changes] == ["a", "base"]


def test_the_images_hold_what_they_are_here_for(foreign: Callable[[str], Foreign]) -> None:
    names: dict[str, set[str]] = {}
    for maker in MAKERS:
        names[maker] = set()
        for blob in (foreign(maker).layout / "blobs" / "sha256").iterdir():
            data = blob.read_bytes()
            if data.startswith(b"\x1f\x8b"):
                data = gzip.decompress(data) + bytes(1 << 12)  # umoci ends an inserted layer with its last byte
            if data[257:262] == b"ustar":
                with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
                    names[maker].update(tar.getnames())
    assert {"d/.wh.one", "d/.wh.sub"} <= names["umoci"]
    assert {"d/.wh..wh..opq", ".wh.group"} <= names["umoci insert"]
    assert {"d/.wh.one", "opaque/.wh..wh..opq"} <= names["buildah"]
