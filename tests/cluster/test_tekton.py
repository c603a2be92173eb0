"""On a real Kubernetes with Tekton and the controller: whatever KUBECONFIG names, with INSTEP_CLUSTER_TESTS=1.

Needs `kubectl`; INSTEP_CLUSTER_TARGET, a target for workspaces with `{{workspace}}` and `$(context.pipelineRun.name)`
that the cluster can push to; and, if it is not `default`, INSTEP_CLUSTER_NAMESPACE. See
docs/how-to/install-the-controller.md, "Run the cluster tests".
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any

import pytest

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.environ.get("INSTEP_CLUSTER_TESTS") != "1", reason="INSTEP_CLUSTER_TESTS is not 1"),
]
NAMESPACE = os.environ.get("INSTEP_CLUSTER_NAMESPACE", "default")
TARGET = os.environ.get("INSTEP_CLUSTER_TARGET", "")
IMAGE = "docker.io/library/alpine:3.22"
EMPTY = [{"name": "ws", "emptyDir": {}}]


def kubectl(*words: str, stdin: Any = None) -> Any:
    given = None if stdin is None else json.dumps(stdin)
    command = ["kubectl", "--namespace", NAMESPACE, *words, "--output", "json"]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def create(kind: str, api_version: str, spec: dict[str, Any]) -> str:
    meta = {"generateName": "instep-test-"}
    made = kubectl("create", "-f", "-", stdin={"apiVersion": api_version, "kind": kind, "metadata": meta, "spec": spec})
    return str(made["metadata"]["name"])


def ended(kind: str, name: str) -> dict[str, Any]:
    """Wait for a run's end, and return it."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        run = kubectl("get", kind, name)
        if condition(run).get("status") in ("True", "False"):
            return dict(run)
        time.sleep(1)
    raise AssertionError(f"{name} did not end: {condition(run)}")


def condition(run: dict[str, Any]) -> dict[str, Any]:
    return next(iter(run.get("status", {}).get("conditions", [])), {})


def task(name: str, script: str, *after: str, **spec: Any) -> dict[str, Any]:
    steps = [
        {"name": "work", "image": IMAGE, "workingDir": "$(workspaces.ws.path)", "script": f"#!/bin/sh -eu\n{script}"}
    ]
    found = {"name": name, "workspaces": [{"name": "ws"}]}
    found["taskSpec"] = {"workspaces": [{"name": "ws"}], "steps": steps, **spec}
    return found | ({"runAfter": list(after)} if after else {})


@pytest.fixture(scope="module")
def pipeline() -> str:
    """Two tasks side by side after a first, and a last that sees all and says so in a result."""
    says = "cat one two three > all; tr -d '\\n' < all > $(results.all.path)"
    tasks = [
        task("first", "echo 1 > one; echo x > gone"),
        task("left", "rm gone; echo 2 > two", "first"),
        task("right", "cat one; echo 3 > three", "first"),
        task("last", f"test ! -e gone; {says}", "left", "right", results=[{"name": "all"}]),
    ]
    results = [{"name": "all", "value": "$(tasks.last.results.all)"}]
    return create("Pipeline", "tekton.dev/v1", {"workspaces": [{"name": "ws"}], "tasks": tasks, "results": results})


def asked(pipeline: str, **params: str) -> dict[str, Any]:
    given = {"pipelineref": pipeline, "target": TARGET, **params}
    listed = [{"name": name, "value": value} for name, value in given.items()]
    return {"pipelineRef": {"resolver": "wrap", "params": listed}, "workspaces": EMPTY}


def custom(pipeline: str, **spec: Any) -> dict[str, Any]:
    reference = {"apiVersion": "tekton.dev/v1alpha1", "kind": "OCIPipeline", "name": pipeline}
    target = TARGET.replace("context.pipelineRun.name", "context.run.name")
    params = [{"name": "ocipipeline.target", "value": target}]
    return {"customRef": reference, "params": params, "workspaces": EMPTY, **spec}


def test_tasks_share_a_workspace_through_the_resolver(pipeline: str) -> None:
    run = ended("pipelinerun", create("PipelineRun", "tekton.dev/v1", asked(pipeline)))
    assert condition(run)["status"] == "True", condition(run)
    assert run["status"]["results"] == [{"name": "all", "value": "123"}]


def test_a_custom_run_is_mirrored(pipeline: str) -> None:
    run = ended("customrun", create("CustomRun", "tekton.dev/v1beta1", custom(pipeline)))
    assert condition(run)["status"] == "True", condition(run)
    assert run["status"]["results"] == [{"name": "all", "value": "123"}]
    assert run["status"]["extraFields"]["pipelineRun"] == run["metadata"]["name"]


def test_a_cancelled_custom_run_stops_its_pipeline_run(pipeline: str) -> None:
    name = create("CustomRun", "tekton.dev/v1beta1", custom(pipeline))
    kubectl("patch", "customrun", name, "--type=merge", "--patch", '{"spec": {"status": "RunCancelled"}}')
    assert condition(ended("customrun", name))["reason"] == "CustomRunCancelled"
    children = kubectl("get", "pipelinerun", "--selector", f"tekton.dev/customRun={name}")["items"]
    for child in children:
        assert condition(ended("pipelinerun", child["metadata"]["name"]))["reason"] == "Cancelled"


def test_what_cannot_be_wrapped_fails_with_the_reason() -> None:
    run = ended("pipelinerun", create("PipelineRun", "tekton.dev/v1", asked("absent")))
    assert condition(run)["status"] == "False"
    assert "Pipeline absent: there is none in the namespace" in condition(run)["message"]
