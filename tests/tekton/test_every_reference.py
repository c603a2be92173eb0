"""Each place of the CRDs where an object is named, at each depth: looked up in the bundle, or listed with a reason.

The places are read from the schemas. A field that a later Tekton adds is in no list, and fails the first test.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from agent.core.spelling.digest import Digest
from agent.tekton.controlplane.launch_run import launch
from agent.tekton.frontends.admission import admit
from agent.tekton.frontends.render_objects import render
from agent.tekton.frontends.render_request import RenderOptions
from agent.tekton.lookup.lookup import Lookup
from agent.tekton.lookup.lookup_answer import answer
from agent.tekton.lookup.lookup_request import LookupRequest, rewrite_run
from agent.tekton.model.names import LOOKUP_BUNDLE, WRAP
from agent.tekton.requests.bundle_image import Member
from agent.tekton.requests.reference_change import (
    change_pipeline_references,
    change_run_references,
    change_task_references,
)
from agent.tekton.requests.request import parse_request
from tests.tekton.made import SETTINGS
from tests.tekton.schema import CRDS
from tests.tekton.test_lookup import BUNDLE
from tests.tekton.test_lookup_junk import Memory
from tests.tekton.test_resolution import request, walk

NAMED = {
    ("PipelineRun", "pipelineRef"): "pipeline",
    ("TaskRun", "taskRef"): "task",
    ("CustomRun", "customRef"): "pipeline",
    ("Pipeline", "tasks.*.taskRef"): "task",
    ("Pipeline", "tasks.*.pipelineRef"): "pipeline",
    ("Pipeline", "finally.*.taskRef"): "task",
    ("Pipeline", "finally.*.pipelineRef"): "pipeline",
    ("Task", "steps.*.ref"): "stepaction",
}
"""Where what is named decides what runs, and the kind of that."""

HELD = {
    ("PipelineRun", "pipelineSpec"): "Pipeline",
    ("TaskRun", "taskSpec"): "Task",
    ("CustomRun", "customSpec.spec"): "Pipeline",
    ("Pipeline", "tasks.*.taskSpec"): "Task",
    ("Pipeline", "tasks.*.pipelineSpec"): "Pipeline",
    ("Pipeline", "finally.*.taskSpec"): "Task",
    ("Pipeline", "finally.*.pipelineSpec"): "Pipeline",
}
"""Where the schema is open, and a spec of another kind stands."""

OTHER_NAMES = {
    "configMapRef": "a ConfigMap's values are for the program that runs, and it is the namespace's on purpose",
    "secretRef": "as a ConfigMap",
    "configMapKeyRef": "as a ConfigMap",
    "secretKeyRef": "as a ConfigMap",
    "nodePublishSecretRef": "a login for a volume",
    "fileKeyRef": "a file of the pod",
    "fieldRef": "a field of the pod",
    "resourceFieldRef": "a field of the container",
    "resourceRef": "PipelineResources: Tekton 0.46 and later refuse them, and have none",
}
OTHER_OPEN = {
    "value": "a parameter's or a result's value",
    "default": "a parameter's value",
    "affinity": "for Kubernetes' scheduler",
    "securityContext": "for the kubelet",
    "volumes": "volumes of a pod",
    "volumeClaimTemplate": "a volume",
}
KINDS = ("PipelineRun", "TaskRun", "CustomRun", "Pipeline", "Task", "StepAction")
GIT = {"resolver": "git", "params": [{"name": "url", "value": "u"}]}
WRAPPED = {f"{WRAP}.target": "reg.io/ws:$(context.pipelineRun.uid)"}
DEPTH = 3
"""Specs within each other: a Pipeline in a Pipeline in a run, with Tasks in it."""


@cache
def schemas() -> list[tuple[str, str, dict[str, Any]]]:
    """Kind, version and schema of `spec`."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    crds = [yaml.load(path.read_bytes(), Loader=loader) for path in sorted(CRDS.glob("*.yaml"))]
    return [
        (crd["spec"]["names"]["kind"], version["name"], version["schema"]["openAPIV3Schema"]["properties"]["spec"])
        for crd in crds
        for version in crd["spec"]["versions"]
    ]


def fields(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield every field of a schema with its path; `*` stands for the members of a list or a mapping."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from fields(inner, (*path, name))
    for inner in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, dict):
            yield from fields(inner, (*path, "*"))


def names_something(path: tuple[str, ...], schema: dict[str, Any]) -> bool:
    """Say whether a field looks like a reference: by its name, or since a resolver can be named in it."""
    word = path[-1].lower() if path else ""
    return word.endswith(("ref", "refs", "reference", "references")) or "resolver" in schema.get("properties", {})


def is_open(schema: dict[str, Any]) -> bool:
    """Say whether a field may hold whatever it likes."""
    return bool(schema.get("x-kubernetes-preserve-unknown-fields")) and not schema.get("properties")


@pytest.mark.parametrize("kind", KINDS)
def test_every_place_of_the_schemas_is_in_a_list(kind: str) -> None:
    found = [(path, schema) for name, _, spec in schemas() if name == kind for path, schema in fields(spec)]
    names = {".".join(path) for path, schema in found if names_something(path, schema) and path[-1] not in OTHER_NAMES}
    opens = {".".join(path) for path, schema in found if is_open(schema) and path[-1] not in OTHER_OPEN}
    assert names == {path for name, path in NAMED if name == kind}
    assert opens == {path for name, path in HELD if name == kind}


@pytest.mark.parametrize(
    "field",
    [
        {"stageRef": {"type": "object", "properties": {"name": {}}}},
        {"stages": {"type": "array", "items": {"type": "object", "properties": {"resolver": {}, "name": {}}}}},
        {"actionRefs": {"type": "array", "items": {"type": "string"}}},
    ],
)
def test_a_field_that_a_later_tekton_adds_would_be_noticed(field: dict[str, Any]) -> None:
    schema = {"properties": {"steps": {"type": "array", "items": {"properties": field}}}}
    assert any(names_something(path, inner) for path, inner in fields(schema))


def test_the_lists_have_nothing_that_is_not_there() -> None:
    words = {path[-1] for name, _, spec in schemas() if name in KINDS for path, _ in fields(spec) if path}
    assert OTHER_NAMES.keys() | OTHER_OPEN.keys() <= words
    assert {name for name, _, _ in schemas()} == {*KINDS, "ResolutionRequest"}


def places(kind: str, depth: int = DEPTH) -> list[tuple[tuple[str, ...], str]]:
    """Return the paths in a spec of a kind at which an object is named, through the specs that it holds."""
    found = [(tuple(path.split(".")), named) for (name, path), named in NAMED.items() if name == kind]
    for (name, path), held in HELD.items():
        if name == kind and depth:
            found += [((*path.split("."), *inner), named) for inner, named in places(held, depth - 1)]
    return found


def put(path: tuple[str, ...], value: Any) -> Any:
    """Return the smallest spec that has a value at a path."""
    if not path:
        return value
    head, *rest = path
    inner = put(tuple(rest), value)
    if head == "*":
        return [{"name": "x", **inner}]
    beside = {"tasks": [], "workspaces": []} if head == "finally" else {}
    if head == "customSpec":
        return {head: {"apiVersion": "tekton.dev/v1alpha1", "kind": "OCIPipeline", **inner}}
    return {**beside, head: inner}


def references(value: Any) -> Iterator[dict[str, Any]]:
    """Yield what names something, also where a Pipeline travels as text in a parameter of ours."""
    if isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in ("taskRef", "pipelineRef", "ref", "customRef"):
                yield from inner_references(item)
            else:
                yield from references(item)


def inner_references(reference: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a reference; of one to the resolver `wrap`, what it wraps."""
    if reference.get("resolver") != "wrap":
        yield reference
        return
    asked = parse_request(reference["params"], SETTINGS)
    source = getattr(asked, "source", None) or getattr(asked, "reference", None)
    if isinstance(source, dict):
        yield from references(source)
    else:
        yield source.to_object()


def lookup_change(reference: dict[str, Any], kind: str, name: str) -> None:
    """Fail unless a reference asks for what was named, and for it in the bundle."""
    params = {param["name"]: param["value"] for param in reference.get("params", [])}
    assert reference["resolver"] == "lookup", reference
    assert "name" not in reference
    assert params["bundle"].startswith(BUNDLE)
    assert (params["kind"], params.get("name", params.get("source.resolver"))) == (kind, name)


CASES = [(kind, path, named) for kind in ("PipelineRun", "TaskRun", "CustomRun") for path, named in places(kind)]
SOURCES = [pytest.param({"name": "bare"}, "bare", id="name"), pytest.param(GIT, "git", id="resolver")]


def run_of(kind: str, spec: dict[str, Any], version: str, **annotations: str) -> dict[str, Any]:
    meta = {"name": "r", "annotations": {LOOKUP_BUNDLE: BUNDLE, **annotations}}
    if kind == "CustomRun":
        version = "v1beta1"
        if "customRef" in spec:
            spec["customRef"] |= {"apiVersion": "tekton.dev/v1alpha1", "kind": "OCIPipeline"}
    return {"apiVersion": f"tekton.dev/{version}", "kind": kind, "metadata": meta, "spec": spec}


@pytest.mark.parametrize(("reference", "name"), SOURCES)
@pytest.mark.parametrize(("kind", "path", "named"), CASES, ids=lambda value: ".".join(value) if value else "")
def test_the_webhook_leaves_nothing_to_the_namespace(
    kind: str, path: tuple[str, ...], named: str, reference: dict[str, Any], name: str
) -> None:
    for version in ("v1", "v1beta1"):
        value = run_of(kind, put(path, dict(reference)), version)
        found = launch(value) if kind == "CustomRun" else admit(value, None)
        [now] = references(found["spec"])
        if named == "stepaction" and name == "git":
            assert now == reference
        else:
            lookup_change(now, named, name)
        assert rewrite_run(found) == found


@pytest.mark.parametrize(("path", "named"), places("PipelineRun"), ids=lambda value: ".".join(value))
def test_what_is_wrapped_is_looked_up_by_the_webhook_and_without_it(path: tuple[str, ...], named: str) -> None:
    value = run_of("PipelineRun", put(path, {"name": "bare"}), "v1", **WRAPPED)
    [now] = references(admit(value, None)["spec"])
    lookup_change(now, named, "bare")
    # The webhook was away when the run was created: the resolver sees the annotation.
    bare = admit(run_of("PipelineRun", put(path, {"name": "bare"}), "v1", **WRAPPED) | {"metadata": annotated()}, None)
    live = {**bare, "metadata": {"name": "run-1", "uid": "0b3f", "annotations": {LOOKUP_BUNDLE: BUNDLE}}}
    asked = request(*[param for param in bare["spec"]["pipelineRef"]["params"] if param["name"] != "target"])
    steps, outcome = walk(asked, live, *([{}] if path == ("pipelineRef",) else []))
    if path == ("pipelineRef",):
        assert {param["name"]: param["value"] for param in steps[-1].request["spec"]["params"]}["bundle"] == BUNDLE
    else:
        assert outcome.refusal is None
        [now] = references(json.loads(base64.b64decode(outcome.status["data"])))
        lookup_change(now, named, "bare")


def annotated() -> dict[str, Any]:
    return {"name": "run-1", "annotations": dict(WRAPPED)}


@pytest.mark.parametrize(("reference", "name"), SOURCES)
@pytest.mark.parametrize("kind", ["Pipeline", "Task"])
def test_what_comes_out_of_a_bundle_leaves_nothing_to_the_namespace(
    kind: str, reference: dict[str, Any], name: str
) -> None:
    asked = LookupRequest(Lookup((BUNDLE,), BUNDLE), kind.lower(), "p")
    origin = {"uri": "reg.io/team/ci", "digest": {"sha256": "a" * 64}}
    for path, named in places(kind):
        spec = put(path, dict(reference))
        value = {"apiVersion": "tekton.dev/v1", "kind": kind, "metadata": {"name": "p"}, "spec": spec}
        for place in (BUNDLE, ""):
            [now] = references(answer(value, asked, place, origin)["spec"])
            if named == "stepaction" and name == "git":
                assert now == reference
            else:
                lookup_change(now, named, name)


def bundle() -> Memory:
    steps = [{"name": "s", "ref": {"name": "bare"}}]
    task = {"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "bare"}, "spec": {"steps": steps}}
    tasks = [{"name": "t", "taskRef": {"name": "bare"}}]
    pipeline = {**task, "kind": "Pipeline", "spec": {"tasks": tasks}}
    action = {**task, "kind": "StepAction", "apiVersion": "tekton.dev/v1beta1", "spec": {"image": "a"}}
    return OneStepAction(pipeline, task, action)


class OneStepAction(Memory):
    def members(self, place: str) -> list[Any]:
        return [Member("stepaction", "bare", "tekton.dev/v1beta1", Digest("sha256:" + "a" * 64), 1)]


@pytest.mark.parametrize(("kind", "path", "named"), CASES, ids=lambda value: ".".join(value) if value else "")
def test_render_leaves_nothing_to_the_namespace(kind: str, path: tuple[str, ...], named: str) -> None:
    """What stays is a StepAction, which ends all chains of names, and it names the bundle by its digest."""
    [found] = render([run_of(kind, put(path, {"name": "bare"}), "v1")], RenderOptions(SETTINGS), bundle())
    left = list(references(found["spec"]))
    assert left
    for reference in left:
        params = {param["name"]: param["value"] for param in reference["params"]}
        assert reference["resolver"] == "bundles", reference
        assert params["kind"] == "stepaction"
        assert "@sha256:" in params["bundle"]


@pytest.mark.parametrize(("kind", "path", "named"), CASES, ids=lambda value: ".".join(value) if value else "")
def test_one_walk_sees_them_all_once(kind: str, path: tuple[str, ...], named: str) -> None:
    """So whoever re-points references for another reason (`--rewrite-bundle`) forgets none either."""
    seen: list[tuple[str, Any]] = []

    def change(found: str, reference: Any, where: str) -> Any:
        seen.append((found, dict(reference)))
        return reference

    spec = put(path, {"name": "bare"})
    if kind == "CustomRun":
        spec = launch({**run_of(kind, spec, "v1"), "metadata": {"name": "r"}})["spec"]
    change_run_references({"spec": spec}, change, "r")
    assert seen == [(named, {"name": "bare"})]


def test_the_walks_of_pipelines_and_tasks_see_what_stands_in_them() -> None:
    for kind, walked in (("Pipeline", change_pipeline_references), ("Task", change_task_references)):
        for path, named in places(kind):
            assert kinds_seen(walked, put(path, {"name": "bare"})) == [named]


def kinds_seen(walked: Any, spec: dict[str, Any]) -> list[str]:
    kinds: list[str] = []

    def change(kind: str, reference: Any, where: str) -> Any:
        kinds.append(kind)
        return reference

    walked(spec, change, "x")
    return kinds


def test_wrap_of_a_wrapped_task_is_looked_up() -> None:
    """Only we write such a reference; one that says it came from the namespace is not believed either."""
    params = [{"name": "kind", "value": "task"}, {"name": "taskref", "value": "bare"}]
    value = run_of("TaskRun", {"taskRef": {"resolver": "wrap", "params": params}}, "v1")
    inner = [param for param in admit(value, None)["spec"]["taskRef"]["params"] if param["name"] == "taskref.resolver"]
    assert inner == [{"name": "taskref.resolver", "value": "lookup"}]
