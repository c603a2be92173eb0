"""The format of bundles: objects to bytes and back."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from agent.core.spelling.digest import Digest, digest_of
from agent.errors import IntegrityError, NotInBundleError, UnsafeArchiveError, UsageError
from agent.tekton.requests.bundle_image import (
    API_VERSION,
    KIND,
    MAX_OBJECTS,
    NAME,
    Member,
    belongs_in_bundle,
    find,
    pack,
    parse_members,
    unpack,
)
from tests.property.edits import laws
from tests.tekton import tkn
from tests.tekton.made import pipeline, the_task

TASK = the_task("build")
PIPELINE = {
    "apiVersion": "tekton.dev/v1",
    "kind": "Pipeline",
    "metadata": {"name": "build"},
    "spec": pipeline({"name": "b", "taskRef": {"name": "build"}}),
}
STEP_ACTION = {
    "apiVersion": "tekton.dev/v1beta1",
    "kind": "StepAction",
    "metadata": {"name": "greet"},
    "spec": {"image": "alpine", "script": "echo größe"},
}
ALL = [TASK, PIPELINE, STEP_ACTION]


def members(*objects: dict[str, Any]) -> tuple[Member, ...]:
    return parse_members(json.loads(pack(objects).manifest), "b")


def member(kind: str = "task", name: str = "build") -> Member:
    return Member(kind, name, "tekton.dev/v1", Digest("sha256:" + "0" * 64), 0)


def test_each_layer_is_a_tar_of_one_file_that_is_the_object() -> None:
    packed = pack(ALL)
    found = {}
    for layer in packed.layers:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer))) as archive:
            [entry] = archive.getmembers()
            content = archive.extractfile(entry)
            assert content is not None
            value = json.loads(content.read())
            assert entry.name == value["metadata"]["name"]
            assert (entry.mode, entry.mtime, entry.uid, entry.uname) == (0o644, 0, 0, "")
        found[value["kind"]] = value
    assert found == {value["kind"]: value for value in ALL}


def test_manifest_and_configuration_name_the_layers_as_the_contract_has_it() -> None:
    packed = pack(ALL)
    manifest = json.loads(packed.manifest)
    assert [layer["annotations"] for layer in manifest["layers"]] == [
        {NAME: "build", KIND: "pipeline", API_VERSION: "tekton.dev/v1"},
        {NAME: "greet", KIND: "stepaction", API_VERSION: "tekton.dev/v1beta1"},
        {NAME: "build", KIND: "task", API_VERSION: "tekton.dev/v1"},
    ]
    assert [layer["digest"] for layer in manifest["layers"]] == [digest_of(layer) for layer in packed.layers]
    assert [layer["size"] for layer in manifest["layers"]] == [len(layer) for layer in packed.layers]
    assert manifest["config"]["digest"] == digest_of(packed.config)
    diff_ids = json.loads(packed.config)["rootfs"]["diff_ids"]
    assert diff_ids == [digest_of(gzip.decompress(layer)) for layer in packed.layers]


@laws
@given(st.permutations(ALL))
def test_the_order_of_objects_and_of_their_keys_does_not_matter(objects: list[dict[str, Any]]) -> None:
    turned = [dict(reversed(value.items())) for value in objects]
    assert pack(turned) == pack(ALL)


def test_bytes_of_a_bundle_never_change() -> None:
    # Whoever must change this changes the digest of every bundle.
    assert digest_of(pack([TASK]).manifest) == "sha256:393836d6fd1585414f2ecda8ab4816429d3350975b9d2729f278d59bd3f42afb"


def test_large_objects_take_several_blocks() -> None:
    for size in (0xFFFF - 1536, 0xFFFF - 1024, 200_000):
        value = {**TASK, "spec": {"steps": [{"name": "a", "image": "x" * size}]}}
        packed = pack([value])
        assert unpack(packed.layers[0], member(), "b") == value
        assert len(gzip.decompress(packed.layers[0])) % 512 == 0


def test_runs_and_objects_of_others_do_not_belong() -> None:
    for kind in ("PipelineRun", "TaskRun", "CustomRun", "Run"):
        assert not belongs_in_bundle({"apiVersion": "tekton.dev/v1", "kind": kind})
    assert not belongs_in_bundle({"apiVersion": "v1", "kind": "Secret"})
    assert not belongs_in_bundle({"apiVersion": "triggers.tekton.dev/v1beta1", "kind": "EventListener"})
    assert not belongs_in_bundle({"kind": "Task"})
    assert all(map(belongs_in_bundle, ALL))


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ([], "nothing to put in"),
        ([the_task(f"t{index}") for index in range(MAX_OBJECTS + 1)], "21 objects, and Tekton reads no more than 20"),
        ([TASK, {**TASK, "apiVersion": "tekton.dev/v1beta1"}], "task/build: two of the objects"),
        ([the_task("")], "task: it has no name"),
        ([the_task("../up")], "../up is no name of Kubernetes"),
        ([{**TASK, "metadata": []}], "metadata is not a mapping"),
        ([{**TASK, "kind": "Pods"}], "Tekton takes no such kind"),
        ([{**TASK, "spec": {"x": float("nan")}}], "cannot be written as JSON"),
    ],
)
def test_what_no_bundle_can_hold_is_refused(objects: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        pack(objects)
    assert len(members(*[the_task(f"t{index}") for index in range(MAX_OBJECTS)])) == MAX_OBJECTS


@pytest.mark.parametrize("full", [True, False])
def test_both_spellings_of_the_version_are_read(full: bool) -> None:
    image = tkn.bundle(*ALL, full=full)
    found = parse_members(json.loads(image.manifest), "b")
    assert [(one.kind, one.name, one.api_version) for one in found] == [
        ("task", "build", "tekton.dev/v1"),
        ("pipeline", "build", "tekton.dev/v1"),
        ("stepaction", "greet", "tekton.dev/v1beta1"),
    ]
    assert [unpack(blob, one, "b") for blob, one in zip(image.blobs, found, strict=False)] == ALL


@pytest.mark.parametrize("raw", [json.dumps(TASK).encode(), b"# YAML\napiVersion: tekton.dev/v1\nkind: Task\n"])
@pytest.mark.parametrize("packed", [lambda data: data, gzip.compress, zstandard.compress])
@pytest.mark.parametrize("tarred", [True, False])
def test_a_layer_is_read_however_it_is_packed(raw: bytes, packed: Any, tarred: bool) -> None:
    layer = packed(tkn.tar("build", raw) if tarred else raw)
    assert unpack(layer, member(), "b")["kind"] == "Task"


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (b"", "something else than a task"),
        (b"\xff" * 600, "not UTF-8"),
        (b"a: [", "no YAML"),
        (json.dumps(PIPELINE).encode(), "something else than a task"),
        (tkn.gzip(tkn.tar("build", b"x"))[:-4], "truncated"),
        (tkn.tar("build", b"{}")[:600], "something else|truncated"),
        (tkn.gzip(bytes(5 << 20)), "expands to more"),
        (tkn.tar("../../etc/passwd", b"{}"), "root"),
    ],
)
def test_a_damaged_layer_is_refused(layer: bytes, words: str) -> None:
    with pytest.raises((IntegrityError, UnsafeArchiveError), match=words):
        unpack(layer, member(), "b")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda manifest: manifest.pop("layers"), "it has no layers"),
        (lambda manifest: manifest["layers"].append(3), "it has no layers"),
        (lambda manifest: manifest["layers"][0].pop("annotations"), "layer 0 has no annotation dev.tekton.image.api"),
        (lambda manifest: manifest["layers"][1]["annotations"].pop(NAME), "layer 1 has no annotation dev.tekton.ima"),
        (lambda manifest: manifest["layers"][0]["annotations"].update({KIND: "Task"}), "not lower case and singular"),
        (lambda manifest: manifest["layers"][0]["annotations"].update({KIND: "tasks"}), "not lower case and singular"),
        (lambda manifest: manifest["layers"][0].update(size=5 << 20), "more than 4 MiB"),
        (lambda manifest: manifest["layers"][0].update(digest="md5:0"), "not a digest"),
        (lambda manifest: manifest["layers"].extend(manifest["layers"] * 7), "24 layers, and Tekton reads no more"),
    ],
)
def test_what_tekton_takes_for_no_bundle_is_none(change: Any, words: str) -> None:
    manifest = json.loads(pack(ALL).manifest)
    change(manifest)
    with pytest.raises(IntegrityError, match=words):
        parse_members(manifest, "reg.io/b:1")


def test_an_object_is_found_by_kind_in_any_case_and_name() -> None:
    held = members(*ALL)
    assert find(held, "Task", "build", "b").kind == "task"
    assert find(held, "", "greet", "b").kind == "stepaction"
    with pytest.raises(UsageError, match=r"it is pipeline and task; say which kind"):
        find(held, "", "build", "b")


def test_of_two_the_first_is_found_as_tekton_has_it() -> None:
    older = {**TASK, "apiVersion": "tekton.dev/v1beta1"}
    found = parse_members(json.loads(tkn.bundle(older, TASK).manifest), "b")
    assert find(found, "task", "build", "b").api_version == "tekton.dev/v1beta1"


def test_what_is_missing_is_named_with_what_there_is() -> None:
    with pytest.raises(NotInBundleError) as caught:
        find(members(*ALL), "Task", "deploy", "reg.io/ci:1")
    assert str(caught.value) == (
        "bundle reg.io/ci:1: it has no task deploy; name what it has (pipeline/build, stepaction/greet, task/build), "
        "or push it again with the object in it"
    )
