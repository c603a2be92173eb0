"""The PipelineRun that a CustomRun or a Run stands for."""

from __future__ import annotations

from typing import Any

import pytest

from agent.errors import UnwrappableError
from agent.tekton.controlplane.launch_run import is_oci_pipeline, launch
from agent.tekton.requests.request import request_of
from tests.tekton.made import SETTINGS, pipeline_run
from tests.tekton.schema import check

REF = {"apiVersion": "tekton.dev/v1alpha1", "kind": "OCIPipeline", "name": "p"}
TARGET = {"name": "ocipipeline.target", "value": "reg.io/$(context.run.name)-{{workspace}}:$(params.tag)"}
TAG = {"name": "tag", "value": "v1"}
WORKSPACES = [
    {"name": "ws", "emptyDir": {"sizeLimit": "1Gi"}},
    {"name": "cache", "persistentVolumeClaim": {"claimName": "c"}},
    {"name": "more", "emptyDir": {}},
]


def custom_run(meta: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    spec = {"customRef": REF, "params": [TARGET, TAG], "workspaces": WORKSPACES, **fields}
    return {
        "apiVersion": "tekton.dev/v1beta1",
        "kind": "CustomRun",
        "metadata": {"name": "run", "namespace": "ci", "uid": "u-1", **(meta or {})},
        "spec": {key: value for key, value in spec.items() if value is not None},
    }


def old_run(**fields: Any) -> dict[str, Any]:
    return {**custom_run(customRef=None, ref=REF, **fields), "apiVersion": "tekton.dev/v1alpha1", "kind": "Run"}


def resolver_params(found: dict[str, Any]) -> dict[str, Any]:
    return {param["name"]: param["value"] for param in found["spec"]["pipelineRef"]["params"]}


@pytest.mark.parametrize("run", [custom_run(), old_run()])
def test_it_is_asked_of_the_resolver_with_everything_else_passed_on(run: dict[str, Any]) -> None:
    found = launch(run)
    check(found)
    assert found["metadata"]["name"] == "run"
    assert found["metadata"]["namespace"] == "ci"
    assert found["spec"]["params"] == [TAG]
    assert found["spec"]["workspaces"] == WORKSPACES
    assert found["spec"]["pipelineRef"]["resolver"] == "wrap"
    assert resolver_params(found) == {
        "pipelineref": "p",
        "workspaces": "ws,more",
        "target": "reg.io/$(context.pipelineRun.name)-{{workspace}}:v1",
        "wrapper": "oci",
    }
    request = request_of(found, SETTINGS)
    assert request is not None
    assert request.wrapping.workspaces == ("ws", "more")


def test_only_objects_of_ours_are_picked_up() -> None:
    assert is_oci_pipeline(custom_run())
    assert is_oci_pipeline(old_run())
    for other in (
        custom_run(customRef={**REF, "kind": "Wait"}),
        custom_run(customRef={**REF, "apiVersion": "tekton.dev/v1"}),
        custom_run(customRef=None),
        {**custom_run(), "kind": "PipelineRun"},
        {"kind": "Run", "spec": "x"},
    ):
        assert not is_oci_pipeline(other)


def test_timeout_account_and_pod_template_are_passed_on() -> None:
    found = launch(custom_run(timeout="5m0s", serviceAccountName="builder"))["spec"]
    assert found["timeouts"] == {"pipeline": "5m0s"}
    assert found["taskRunTemplate"] == {"serviceAccountName": "builder"}
    assert launch(custom_run())["spec"]["timeouts"] == {"pipeline": "1h0m0s"}
    assert launch(custom_run(timeout="0s"))["spec"]["timeouts"] == {"pipeline": "0s"}
    assert launch(old_run(podTemplate={"hostNetwork": True}))["spec"]["taskRunTemplate"] == {
        "podTemplate": {"hostNetwork": True}
    }


def test_the_pod_template_is_that_of_the_owners_task() -> None:
    owner = pipeline_run(
        taskRunTemplate={"podTemplate": {"nodeSelector": {"a": "b"}, "hostNetwork": True}},
        taskRunSpecs=[{"pipelineTaskName": "mine", "podTemplate": {"hostNetwork": False}}],
    )
    run = custom_run({"labels": {"tekton.dev/pipelineTask": "mine", "tekton.dev/pipelineRun": "above"}})
    found = launch(run, owner=owner)
    assert found["spec"]["taskRunTemplate"] == {"podTemplate": {"nodeSelector": {"a": "b"}, "hostNetwork": False}}
    assert found["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "instep",
        "tekton.dev/customRun": "run",
        "instep.dev/pipelineRun": "above",
        "instep.dev/pipelineTask": "mine",
    }


def test_the_users_labels_and_annotations_are_passed_on_and_no_others() -> None:
    reserved = {
        "tekton.dev/memberOf": "tasks",
        "chains.tekton.dev/signed": "true",
        "pipeline.tekton.dev/affinity-assistant": "a",
        "kopf.zalando.org/last": "{}",
        "instep.dev/progress": "{}",
    }
    mine = {"team": "a", "triggers.tekton.dev/trigger": "t"}
    annotations = reserved | mine | {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    meta = launch(custom_run({"labels": reserved | mine, "annotations": annotations}))["metadata"]
    assert meta["annotations"] == mine
    assert {key for key in meta["labels"] if key in reserved} == set()
    assert mine.items() <= meta["labels"].items()


def test_the_run_is_the_first_owner_and_the_controller() -> None:
    [owner] = launch(custom_run())["metadata"]["ownerReferences"]
    assert owner == {
        "apiVersion": "tekton.dev/v1beta1",
        "kind": "CustomRun",
        "name": "run",
        "uid": "u-1",
        "controller": True,
    }


def test_a_retry_has_a_name_of_its_own_that_is_never_too_long() -> None:
    assert launch(custom_run(), 2)["metadata"]["name"] == "run-retry2"
    names = {launch(custom_run({"name": "x" * 63}), attempt)["metadata"]["name"] for attempt in range(3)}
    assert len(names) == 3
    assert all(len(name) <= 63 for name in names)


def test_a_pipeline_of_another_resolver_is_passed_on() -> None:
    remote = {key: REF[key] for key in ("apiVersion", "kind")} | {
        "resolver": "git",
        "params": [{"name": "url", "value": "https://example.com"}],
    }
    found = launch(custom_run(customRef=remote))
    request = request_of(found, SETTINGS)
    assert request is not None
    assert request.source.to_object() == {"resolver": "git", "params": remote["params"]}


@pytest.mark.parametrize("run", [custom_run, old_run])
def test_a_pipeline_that_is_written_into_it_goes_to_the_resolver(run: Any) -> None:
    spec = {"tasks": [{"name": "a", "taskRef": {"name": "$(params.task)"}}]}
    holder = {"apiVersion": REF["apiVersion"], "kind": REF["kind"], "spec": spec}
    value = run()
    value["spec"] = {key: item for key, item in value["spec"].items() if key not in ("customRef", "ref")}
    value["spec"]["customSpec" if value["kind"] == "CustomRun" else "spec"] = holder
    assert is_oci_pipeline(value)
    found = launch(value)
    check(found)
    assert "$(params.task)" not in str(found["spec"]["pipelineRef"])
    request = request_of(found, SETTINGS)
    assert request is not None
    assert request.source == {"apiVersion": "tekton.dev/v1", "kind": "Pipeline", "spec": spec}
    assert request.wrapping.workspaces == ("ws", "more")


def test_a_run_without_an_empty_dir_needs_no_target() -> None:
    found = launch(custom_run(params=[], workspaces=WORKSPACES[1:2]))
    request = request_of(found, SETTINGS)
    assert request is not None
    assert request.wrapping.workspaces == ()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"params": [TAG]},
            "CustomRun run: it does not say where its workspaces are to be kept; give ocipipeline.target",
        ),
        (
            {"params": [{"name": "ocipipeline.targets", "value": "x"}]},
            "parameter ocipipeline.targets: there is no such",
        ),
        ({"params": [TARGET]}, r"parameter ocipipeline.target: \$\(params.tag\) is not known"),
        ({"params": [{"name": "ocipipeline.target", "value": ["x"]}]}, "value is not a string"),
        ({"customRef": {**REF, "name": ""}}, "the parameter name is missing"),
        ({"customRef": None, "customSpec": {**REF, "spec": {}}}, "customSpec: it holds no Pipeline"),
        ({"customRef": None, "customSpec": {**REF, "spec": [1]}}, "spec is not a mapping"),
    ],
)
def test_what_cannot_be_launched_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UnwrappableError, match=words):
        launch(custom_run(**fields))
