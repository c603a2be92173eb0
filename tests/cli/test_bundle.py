"""`agent bundle`, as users run it, with what `tkn` and Tekton expect of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.core.spelling.reference import parse_reference
from agent.store import StoreOptions, open_store
from agent.store.port import Store
from agent.tekton.model import documents
from tests.cli.conftest import Agent
from tests.interop.tools import Skopeo
from tests.tekton import tkn
from tests.tekton.test_bundle import ALL, PIPELINE, TASK

RUN = {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"generateName": "r-"}, "spec": {}}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": "hunter2"}}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """One directory with everything, in two files."""
    directory = tmp_path / "tekton"
    directory.mkdir()
    (directory / "a.yaml").write_text(documents.write([TASK, RUN, SECRET]))
    (directory / "b.json").write_text(json.dumps(PIPELINE))
    (directory / "c.yml").write_text(documents.write(ALL[2:]))
    return directory


def store_of(reference: str) -> Store:
    return open_store(parse_reference(reference), StoreOptions())


def test_a_directory_becomes_a_bundle_that_is_listed_and_read(agent: Agent, target: str, files: Path) -> None:
    pushed = agent("bundle", "push", target, "-f", files)
    assert pushed.stdout.startswith(f"{target}@sha256:")
    assert "left out of the bundle: 1 PipelineRun, 1 Secret" in pushed.stderr
    assert agent("bundle", "list", target).stdout.splitlines() == [
        "pipeline  build  tekton.dev/v1",
        "stepaction  greet  tekton.dev/v1beta1",
        "task  build  tekton.dev/v1",
    ]
    for value in ALL:
        shown = agent("bundle", "get", target, value["metadata"]["name"], "--kind", value["kind"]).stdout
        assert documents.read(shown, "x") == [value]
    pinned = pushed.stdout.strip()
    assert agent.json("bundle", "list", pinned)["digest"] == pinned.rpartition("@")[2]
    assert "hunter2" not in agent("bundle", "list", target, "--json").stdout


def test_the_same_objects_have_the_same_digest_in_whatever_files(agent: Agent, target: str, files: Path) -> None:
    first = agent.json("bundle", "push", target, "-f", files)
    (files / "all.yaml").write_text(documents.write([dict(reversed(value.items())) for value in reversed(ALL)]))
    second = agent.json("bundle", "push", target.replace(":ws", ":again"), "-f", files / "all.yaml")
    assert first["digest"] == second["digest"]
    listed = {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": [SECRET, *ALL[:2]]}
    nested = {"apiVersion": "v1", "kind": "List", "items": [listed, {"kind": "List", "items": []}]}
    (files / "all.yaml").write_text(documents.write([nested, *ALL[2:]]))
    (files / "all.json").write_text("\n".join(map(json.dumps, [nested, *ALL[2:]])))
    for name in ("all.yaml", "all.json"):
        third = agent.json("bundle", "push", target.replace(":ws", ":list"), "-f", files / name)
        assert first["digest"] == third["digest"]
        assert third["notices"] == ["left out of the bundle: 1 Secret"]
    assert first["notices"]
    assert not second["notices"]


@pytest.mark.parametrize("full", [True, False])
def test_what_tkn_pushes_is_listed_and_read(agent: Agent, target: str, full: bool) -> None:
    digest = tkn.bundle(*ALL, full=full).push(store_of(target), "ws")
    listed = agent.json("bundle", "list", target)
    assert listed["digest"] == digest
    assert [found["api_version"] for found in listed["objects"]] == [value["apiVersion"] for value in ALL]
    for value in ALL:
        name, kind = value["metadata"]["name"], value["kind"].lower()
        assert agent.json("bundle", "get", target, name, "--kind", kind)["object"] == value


def test_of_an_index_the_image_is_read_that_tekton_reads(agent: Agent, target: str) -> None:
    store = store_of(target)
    digest = tkn.bundle(TASK).push(store, "amd64")
    size = len(tkn.bundle(TASK).manifest)
    here = {"architecture": "amd64", "os": "linux"}
    index: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"mediaType": tkn.DOCKER, "digest": digest, "size": size, "platform": here}],
    }
    store.put_manifest("ws", json.dumps(index).encode(), index["mediaType"])
    assert agent.json("bundle", "list", target)["digest"] == digest


def test_skopeo_inspects_and_copies_a_bundle(agent: Agent, registry: str, files: Path, tmp_path: Path) -> None:
    (tmp_path / "skopeo").mkdir()
    skopeo = Skopeo(tmp_path / "skopeo")
    bundle = f"{registry}/bundle/skopeo:1"
    pushed = agent.json("bundle", "push", bundle, "-f", files)
    said = skopeo.inspect(f"docker://{bundle}")
    assert said["Digest"] == pushed["digest"]
    assert said["Layers"] == [found["digest"] for found in pushed["objects"]]
    skopeo.copy(f"docker://{bundle}", f"oci:{tmp_path}/copy:1")
    assert agent.json("bundle", "list", f"oci:{tmp_path}/copy:1")["objects"] == pushed["objects"]


@pytest.mark.parametrize(
    ("words", "exits", "said"),
    [
        (["bundle", "push", "TARGET", "-f", "many"], 2, "21 objects, and Tekton reads no more than 20"),
        (["bundle", "push", "TARGET", "-f", "run.yaml"], 2, "nothing to put in"),
        (["bundle", "push", "TARGET@sha256:" + "0" * 64, "-f", "many"], 2, "a target is a tag"),
        (["bundle", "list", "TARGET"], 2, "there is no such bundle"),
        (["bundle", "get", "oci:held:b", "nothing"], 2, "it has no object nothing; name what it has (task/build)"),
        (["bundle", "get", "oci:held:b", "build", "--kind", "Pipeline"], 2, "it has no pipeline build"),
        (["bundle", "list", "oci:spaces:ws"], 30, "name an image that agent or tkn bundle push made"),
        (["bundle", "list", "--patience", "1s", "127.0.0.1:1/x:1"], 21, "127.0.0.1:1"),
    ],
)
def test_what_does_not_work_is_one_line_and_an_exit_code(
    agent: Agent, layout: str, work: Path, words: list[str], exits: int, said: str
) -> None:
    (agent.place / "many").mkdir()
    for index in range(21):
        value = {**TASK, "metadata": {"name": f"t{index}"}}
        (agent.place / "many" / f"{index}.yaml").write_text(documents.write([value]))
    (agent.place / "run.yaml").write_text(documents.write([RUN]))
    (agent.place / "one.yaml").write_text(documents.write([TASK]))
    agent("bundle", "push", "oci:held:b", "-f", "one.yaml")
    agent("push", "oci:spaces:ws", work)
    done = agent(*[word.replace("TARGET", layout) for word in words], exits=exits)
    assert said in done.stderr
    assert done.stdout == ""
