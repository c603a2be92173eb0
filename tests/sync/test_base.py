"""Images of others as the beginning of a workspace (design, "Base" and "Foreign heads")."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.image.manifest import DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST
from agent.core.spelling.reference import parse_reference
from agent.errors import UnsupportedError, UsageError
from agent.sync.commands.read_target import log, ls
from tests.fakes.contents import noise, write
from tests.fakes.memory_store import MemoryStore
from tests.fakes.memory_workspaces import MemoryWorkspaces, entries_of
from tests.fakes.plain import applied, on_disk, put_image
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces

BASE = parse_reference("memory.test/base/image:3")
LAYERS = [
    {
        "etc/": None,
        "etc/config": b"one",
        "etc/old": b"old",
        "bin/": None,
        "bin/tool": noise(3000),
        "d/": None,
        "d/x": b"",
    },
    {"etc/config": b"two", "etc/.wh.old": b"", "d/": None, "d/.wh..wh..opq": b"", "d/y": b"y"},
]
TREE = ["bin", "bin/tool", "d", "d/y", "etc", "etc/config"]


@pytest.fixture
def base(memory: MemoryWorkspaces) -> MemoryStore:
    store = memory.open_store(BASE)
    assert isinstance(store, MemoryStore)
    put_image(store, "3", LAYERS)
    return store


def test_a_workspace_starts_as_its_base(memory: MemoryWorkspaces, base: MemoryStore) -> None:
    report = memory.pull("a", base=BASE)
    assert sorted(on_disk(memory.at("a"))) == TREE
    assert report.frontier == [base.pointers["3"]]
    assert report.digest is None
    assert memory.store.pointers == {}
    assert memory.push("a").id is None


def test_the_first_push_brings_the_bases_layers_and_no_later_one_does(
    memory: MemoryWorkspaces, base: MemoryStore
) -> None:
    memory.pull("a", base=BASE)
    top = memory.at("a")
    write(top, b"etc/config", b"three")
    os.unlink(top + b"/bin/tool")
    first = memory.push("a")
    copies = [call for call in memory.store.log if call[0] == "copy_blob"]
    assert len(copies) == 2
    assert (first.written, first.deleted) == (1, 1)
    assert applied(memory.store, "main") == applied(memory.store, str(first.digest)) == on_disk(top)
    memory.store.log.clear()
    base.log.clear()
    write(top, b"new", b"n")
    memory.push("a")
    assert "copy_blob" not in dict(memory.store.log)
    assert base.log == []
    base.blobs.clear()
    base.pointers.clear()
    memory.pull("b")
    memory.pull("c", base=BASE)  # the target is there: its base counts
    for name in "bc":
        assert unlike(snapshot(top), snapshot(memory.at(name))) == {}
    said = memory.log()
    assert [(entry.lane, entry.id) for entry in said][-1] == ("base", said[-2].base)
    assert said[-2].parents == [said[-1].id]


def test_an_empty_change_on_a_base_keeps_it(memory: MemoryWorkspaces, base: MemoryStore) -> None:
    memory.pull("a", base=BASE)
    memory.push("a", lane="x", attempt=0)
    assert sorted(applied(memory.store, "main")) == TREE


def test_a_base_that_moved_meanwhile_is_the_one_that_was_pulled(memory: MemoryWorkspaces, base: MemoryStore) -> None:
    memory.pull("a", base=BASE)
    put_image(base, "3", [{"other": b"x"}])
    write(memory.at("a"), b"new", b"n")
    memory.push("a")
    assert sorted(applied(memory.store, "main")) == sorted([*TREE, "new"])


def test_a_base_that_is_not_there(memory: MemoryWorkspaces, base: MemoryStore) -> None:
    with pytest.raises(UsageError, match="no such image to start from"):
        memory.pull("a", base=parse_reference("memory.test/base/image:4"))
    assert memory.state_of("a") == {}


def test_an_image_of_others_at_the_target_is_its_base_and_gives_way_to_ours(memory: MemoryWorkspaces) -> None:
    digest = put_image(memory.store, "main", LAYERS)
    report = memory.pull("a")
    assert (report.digest, report.frontier) == (digest, [digest])
    before, _ = memory.frozen()
    assert memory.push("a").id is None
    assert memory.frozen()[0] == before
    write(memory.at("a"), b"new", b"n")
    report2 = memory.push("a")
    assert report2.head_moved
    assert len(entries_of(memory.store)) == 1
    assert applied(memory.store, "main") == on_disk(memory.at("a"))
    memory.pull("b")
    assert unlike(snapshot(memory.at("a")), snapshot(memory.at("b"))) == {}


def test_two_that_start_from_one_image_at_the_target_are_merged(memory: MemoryWorkspaces) -> None:
    put_image(memory.store, "main", LAYERS)
    for name in "ab":
        memory.pull(name)
        write(memory.at(name), name.encode(), b"n")
    for name in "ab":
        assert memory.push(name).conflicts == []
    assert sorted(applied(memory.store, "main")) == sorted([*TREE, "a", "b"])


def test_a_workspace_kept_elsewhere_than_its_image_takes_it_along(memory: MemoryWorkspaces, base: MemoryStore) -> None:
    memory.pull("a", target=str(BASE))
    write(memory.at("a"), b"new", b"n")
    before = dict(base.pointers)
    memory.push("a")
    assert base.pointers == before
    assert applied(memory.store, "main") == on_disk(memory.at("a"))


def as_docker(store: MemoryStore, tag: str) -> None:
    data, _ = store.manifests[store.pointers[tag]]
    manifest = json.loads(data)
    manifest["mediaType"] = DOCKER_MANIFEST
    manifest["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    for layer in manifest["layers"]:
        layer["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    store.put_manifest(tag, json.dumps(manifest).encode(), DOCKER_MANIFEST)


def test_a_docker_image_is_a_base_too(memory: MemoryWorkspaces, base: MemoryStore) -> None:
    as_docker(base, "3")
    memory.pull("a", base=BASE)
    assert sorted(on_disk(memory.at("a"))) == TREE
    write(memory.at("a"), b"new", b"n")
    memory.push("a")
    kinds = {layer["mediaType"].partition("+")[0] for layer in memory.manifest("main")["layers"]}
    assert kinds == {"application/vnd.oci.image.layer.v1.tar"}


def put_index(store: MemoryStore, media_type: str) -> None:
    manifests = []
    for platform in ("linux/amd64", "linux/arm64", "linux/arm/v7", "windows/amd64"):
        system, architecture, *variant = platform.split("/")
        digest = put_image(store, "part", [{"platform": platform.encode()}], os=system, architecture=architecture)
        said = {"os": system, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
        data, kind = store.manifests[digest]
        manifests.append({"mediaType": kind, "digest": digest, "size": len(data), "platform": said})
    value = {"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}
    store.put_manifest("3", json.dumps(value).encode(), media_type)


@pytest.mark.parametrize("media_type", [INDEX, DOCKER_LIST])
@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64", "linux/arm/v7"])
def test_of_an_index_the_platforms_image_is_taken_and_what_grows_from_it_keeps_the_platform(
    memory: MemoryWorkspaces, base: MemoryStore, media_type: str, platform: str
) -> None:
    put_index(base, media_type)
    memory.pull("a", base=BASE, platform=platform)
    assert on_disk(memory.at("a"))["platform"][2] == platform.encode()
    write(memory.at("a"), b"new", b"n")
    memory.push("a")
    config = memory.config(memory.manifest("main"))
    assert [config["os"], config["architecture"]] == platform.split("/")[:2]


def test_an_index_without_the_platform_names_what_it_has(memory: MemoryWorkspaces, base: MemoryStore) -> None:
    put_index(base, INDEX)
    with pytest.raises(
        UnsupportedError, match=r"without an image for linux/s390x \(it has linux/amd64, linux/arm"
    ) as e:
        memory.pull("a", base=BASE, platform="linux/s390x")
    assert e.value.exit_code == 2
    assert memory.state_of("a") == {}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "encrypted"),
        ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", "helm"),
    ],
)
def test_a_base_of_layers_that_nobody_can_read_is_refused_before_anything_is_written(
    memory: MemoryWorkspaces, base: MemoryStore, kind: str, said: str
) -> None:
    put_image(base, "odd", [{"f": b"f"}], kind=kind)
    with pytest.raises(UnsupportedError, match=said) as caught:
        memory.pull("a", base=parse_reference("memory.test/base/image:odd"))
    assert caught.value.exit_code == 2
    assert memory.state_of("a") == {} and not os.listdir(memory.at("a"))


def test_a_chart_is_no_base_and_no_workspace(memory: MemoryWorkspaces, base: MemoryStore) -> None:
    kind = "application/vnd.cncf.helm.config.v1+json"
    config = {"mediaType": kind, "digest": base.put_blob(b'{"name":"chart"}'), "size": 16}
    chart = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []}).encode()
    for store, tag in ((base, "chart"), (memory.store, "main")):
        store.put_blob(b'{"name":"chart"}')
        store.put_manifest(tag, chart, MANIFEST)
    with pytest.raises(UnsupportedError, match="helm"):
        memory.pull("a", base=parse_reference("memory.test/base/image:chart"), target="memory.test/new:x")
    for act in (memory.pull, memory.push):
        with pytest.raises(UnsupportedError, match="helm") as caught:
            act("a")
        assert caught.value.exit_code == 2


@pytest.fixture(params=["layout to registry", "registry to layout", "one registry"])
def pair(request: pytest.FixtureRequest, tmp_path: Path, registry: str) -> Iterator[tuple[Workspaces, str]]:
    """Workspaces, and where their base is."""
    name = tmp_path.name.replace("_", "-").lower()
    there, here = f"{registry}/base/{name}:one", f"oci:{tmp_path}/layout:one"
    base, target = {
        "layout to registry": (here, f"{registry}/ws/{name}:ws"),
        "registry to layout": (there, f"oci:{tmp_path}/other:ws"),
        "one registry": (there, f"{registry}/ws/{name}:ws"),
    }[request.param]
    made = Workspaces(tmp_path, target)
    yield made, base
    made.close()


def test_layers_cross_from_one_kind_of_store_to_another(pair: tuple[Workspaces, str]) -> None:
    workspaces, name = pair
    reference = parse_reference(name)
    put_image(workspaces.open_store(reference), "one", [*LAYERS, {"big": noise(300_000)}])
    workspaces.pull("a", base=reference)
    write(workspaces.at("a"), b"new", b"n")
    report = workspaces.push("a")
    copied = 0 if "/ws/" in workspaces.target and name.startswith("127.") else 300_000
    assert copied <= report.traffic.sent < copied + 30_000
    workspaces.pull("b")
    assert unlike(snapshot(workspaces.at("a")), snapshot(workspaces.at("b"))) == {}
    target = parse_reference(workspaces.target)
    assert applied(workspaces.open_store(target), "ws") == on_disk(workspaces.at("a"))


def test_an_image_of_others_can_be_looked_into(memory: MemoryWorkspaces, base: MemoryStore) -> None:
    assert [path.path.decode() for path in ls(base, BASE, ())] == TREE
    (entry,) = log(base, BASE).changes
    assert (entry.lane, entry.id) == ("base", base.pointers["3"])
