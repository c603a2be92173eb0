"""Shapes of runs and tasks on a real Kubernetes with Tekton, the controller and the webhook; see test_tekton.py."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from agent.tekton.model.names import LOOKUP_BUNDLE, WRAP
from tests.cluster.test_lookup import BUNDLE, OBJECTS, digest, named, value
from tests.cluster.test_tekton import (
    EMPTY,
    IMAGE,
    NAMESPACE,
    TARGET,
    asked,
    condition,
    create,
    custom,
    ended,
    kubectl,
    task,
)

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.environ.get("INSTEP_CLUSTER_TESTS") != "1", reason="INSTEP_CLUSTER_TESTS is not 1"),
]
__all__ = ["digest"]  # a fixture

SPEC = {
    "tasks": [
        {
            "name": "write",
            "taskSpec": {
                "steps": [{"name": "w", "image": IMAGE, "script": "printf $(params.word) > $(workspaces.ws.path)/it"}]
            },
        },
        {
            "name": "read",
            "runAfter": ["write"],
            "taskSpec": {
                "results": [{"name": "it"}],
                "steps": [{"name": "r", "image": IMAGE, "script": "cat $(workspaces.ws.path)/it > $(results.it.path)"}],
            },
        },
    ],
    "results": [{"name": "it", "value": "$(tasks.read.results.it)"}],
}
"""A Pipeline that declares neither the parameter nor the workspace of its run."""
WORD = {"name": "word", "value": "hello"}


def embedded(name: str, version: str = "v1") -> dict[str, Any]:
    return {
        "apiVersion": f"tekton.dev/{version}",
        "kind": "PipelineRun",
        "metadata": {"name": name, "annotations": {f"{WRAP}.target": TARGET}},
        "spec": {"pipelineSpec": SPEC, "params": [WORD], "workspaces": EMPTY},
    }


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_run_with_its_own_pipeline_is_wrapped_and_may_be_applied_again(version: str) -> None:
    name = named("instep-embedded")
    first = kubectl("apply", "-f", "-", stdin=embedded(name, version))
    assert "pipelineSpec" not in first["spec"]
    again = kubectl("apply", "-f", "-", stdin=embedded(name, version))
    assert again["spec"] == first["spec"]
    run = ended("pipelinerun", name)
    assert condition(run)["status"] == "True", condition(run)
    assert run["status"]["results"] == [{"name": "it", "value": "hello"}]
    assert run["metadata"]["labels"]["tekton.dev/pipeline"] == name


def test_a_custom_task_holds_its_pipeline() -> None:
    spec = custom("none")
    spec.pop("customRef")
    spec |= {"customSpec": {"apiVersion": "tekton.dev/v1alpha1", "kind": "OCIPipeline", "spec": SPEC}}
    spec["params"] = [*spec["params"], WORD]
    run = ended("customrun", create("CustomRun", "tekton.dev/v1beta1", spec))
    assert condition(run)["status"] == "True", condition(run)
    assert run["status"]["results"] == [{"name": "it", "value": "hello"}]


def test_annotations_of_ours_that_are_not_known_are_refused() -> None:
    manifest = embedded(named("instep-typo"))
    manifest["metadata"]["annotations"] = {f"{WRAP}.traget": TARGET}
    words = ["kubectl", "--namespace", NAMESPACE, "create", "-f", "-"]
    done = subprocess.run(words, input=json.dumps(manifest), capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "there is no such annotation" in done.stderr


def run_of(*tasks: dict[str, Any], **spec: Any) -> dict[str, Any]:
    pipeline = create("Pipeline", "tekton.dev/v1", {"workspaces": [{"name": "ws"}], "tasks": list(tasks)})
    return ended("pipelinerun", create("PipelineRun", "tekton.dev/v1", {**asked(pipeline), **spec}))


def of_users(*users: int | None, template: int | None = None) -> dict[str, Any]:
    """Specs of a task whose last step writes a file for itself alone."""
    found = task("first", "umask 077; echo s > secret")
    [work] = found["taskSpec"]["steps"]
    found["taskSpec"]["steps"] = [
        {**work, "name": f"work{index}", **({"securityContext": {"runAsUser": user}} if user is not None else {})}
        | ({} if index == len(users) - 1 else {"script": "true"})
        for index, user in enumerate(users)
    ]
    if template is not None:
        found["taskSpec"]["stepTemplate"] = {"securityContext": {"runAsUser": template}}
    return found


@pytest.mark.parametrize(
    ("users", "template", "pod"),
    [((None, 0), 12345, None), ((12345, 0), None, None), ((None, 0), None, 12345), ((12345, 12346), None, None)],
)
def test_what_steps_of_several_users_write_is_pushed(
    users: tuple[int | None, ...], template: int | None, pod: int | None
) -> None:
    spec = {} if pod is None else {"taskRunTemplate": {"podTemplate": {"securityContext": {"runAsUser": pod}}}}
    reads = task("last", "cat secret", "first")
    reads["taskSpec"]["stepTemplate"] = {"securityContext": {"runAsUser": 0}}
    run = run_of(of_users(*users, template=template), reads, **spec)
    assert condition(run)["status"] == "True", condition(run)


def test_steps_whose_files_cannot_be_read_are_told_before_they_run() -> None:
    run = run_of(of_users(None, 12346, template=12345))
    events = kubectl("get", "events", "--field-selector", f"involvedObject.name={run['metadata']['name']}")["items"]
    [event] = [event for event in events if event["reason"] == "UsersDiffer"]
    assert event["type"] == "Warning"
    assert "run as different users (12345, 12346)" in event["message"]


@pytest.mark.parametrize(
    ("fields", "pod"),
    [
        ({}, {"volumes": [{"name": "instep", "emptyDir": {}}], "env": [{"name": "INSTEP_POD", "value": "x"}]}),
        ({"volumes": [{"name": "instep", "emptyDir": {}}]}, {}),
        (
            {
                "volumes": [{"name": "v", "emptyDir": {}}],
                "stepTemplate": {
                    "volumeMounts": [
                        {"name": "v", "mountPath": "/instep", "readOnly": True},
                        {"name": "v", "mountPath": "/instep-workspaces"},
                    ]
                },
                "sidecars": [{"name": "instep-pull", "image": IMAGE, "script": "#!/bin/sh\nsleep 60"}],
            },
            {},
        ),
        ({"workspaces": [{"name": "ws", "mountPath": "/instep/ws"}]}, {}),
    ],
    ids=["pod-template", "volume", "mounts", "workspace"],
)
def test_names_and_places_that_are_taken_are_stepped_around(fields: dict[str, Any], pod: dict[str, Any]) -> None:
    tasks = [task("first", "echo 1 > one", **fields), task("last", "cat one", "first", **fields)]
    run = run_of(*tasks, **({"taskRunTemplate": {"podTemplate": pod}} if pod else {}))
    assert condition(run)["status"] == "True", condition(run)


@pytest.mark.parametrize("form", ["references", "inline"])
def test_a_missing_task_names_the_pipelines_task(form: str) -> None:
    refers = {"name": "build-it", "taskRef": {"name": "absent"}, "workspaces": [{"name": "ws"}], "runAfter": ["first"]}
    tasks = [task("first", "echo 1 > one"), refers]
    pipeline = create("Pipeline", "tekton.dev/v1", {"workspaces": [{"name": "ws"}], "tasks": tasks})
    run = ended("pipelinerun", create("PipelineRun", "tekton.dev/v1", asked(pipeline, form=form)))
    assert "task build-it, Task absent: there is none in the namespace" in condition(run)["message"]


@pytest.mark.skipif("INSTEP_CLUSTER_BUNDLE" not in os.environ, reason="INSTEP_CLUSTER_BUNDLE is not set")
@pytest.mark.parametrize("kind", ["TaskRun", "PipelineRun"])
def test_a_task_of_another_source_has_its_step_actions_from_the_bundle(kind: str, digest: str) -> None:
    """The namespace has a StepAction of that name, which fails."""
    action = value("StepAction", OBJECTS[0]["metadata"]["name"], image=IMAGE, command=["false"])
    kubectl("apply", "-f", "-", stdin=action)
    try:
        params = {"bundle": BUNDLE, "kind": "task", "name": "instep-only-in-the-bundle"}
        own = {"resolver": "bundles", "params": [{"name": key, "value": item} for key, item in params.items()]}
        spec = {"taskRef": own} if kind == "TaskRun" else {"pipelineSpec": {"tasks": [{"name": "a", "taskRef": own}]}}
        meta = {"name": named("instep-source"), "annotations": {LOOKUP_BUNDLE: BUNDLE}}
        kubectl(
            "create", "-f", "-", stdin={"apiVersion": "tekton.dev/v1", "kind": kind, "metadata": meta, "spec": spec}
        )
        run = ended(kind.lower(), meta["name"])
        assert condition(run)["status"] == "True", condition(run)
    finally:
        subprocess.run(
            ["kubectl", "--namespace", NAMESPACE, "delete", "stepaction", action["metadata"]["name"]], check=True
        )
