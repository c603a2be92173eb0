"""The controller on a real Kubernetes: ready only with its rights, without DNS, and its events about failed steps.

See test_tekton.py. The controller is copied from where `config/cluster` puts it, namespace `instep`.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from agent.exit_codes import MEANINGS
from agent.tekton.controlplane.conflict_event import PAGE as CONFLICTS
from agent.tekton.controlplane.failed_step import PAGE
from agent.tekton.model.push_result import parse_result
from tests.cluster.test_tekton import asked, condition, create, custom, ended, kubectl, task

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.environ.get("INSTEP_CLUSTER_TESTS") != "1", reason="INSTEP_CLUSTER_TESTS is not 1"),
]
PLACE = "instep"
CONTROLLER = "instep-controller"
RBAC = "rbac.authorization.k8s.io"


class Copy:
    """A second controller, with an account of its own that has no rights, and without DNS."""

    def __init__(self) -> None:
        self.name = f"instep-test-{uuid.uuid4().hex[:8]}"
        deployment = self.get("deployment", CONTROLLER)
        labels = {"app.kubernetes.io/name": self.name}
        template = copy.deepcopy(deployment["spec"]["template"])
        template["metadata"] = {"labels": labels}
        pod = template["spec"]
        pod.pop("serviceAccount", None)
        pod |= {"serviceAccountName": self.name, "dnsPolicy": "None", "dnsConfig": {"nameservers": ["127.0.0.1"]}}
        self.make("v1", "ServiceAccount")
        self.make("apps/v1", "Deployment", spec={"selector": {"matchLabels": labels}, "template": template})

    def make(self, api_version: str, kind: str, **fields: Any) -> None:
        meta = {"name": self.name, "namespace": PLACE}
        value = {"apiVersion": api_version, "kind": kind, "metadata": meta, **fields}
        self.run("create", "--filename", "-", stdin=json.dumps(value))

    def allow(self) -> None:
        """Give it the controller's rights."""
        role = {"apiGroup": RBAC, "kind": "ClusterRole", "name": CONTROLLER}
        account = {"kind": "ServiceAccount", "name": self.name, "namespace": PLACE}
        self.make(f"{RBAC}/v1", "ClusterRoleBinding", roleRef=role, subjects=[account])

    def forbid(self) -> None:
        self.run("delete", "clusterrolebinding", self.name, "--ignore-not-found")

    def delete(self) -> None:
        self.forbid()
        self.run("delete", "deployment,serviceaccount", self.name, "--ignore-not-found")

    def is_ready(self) -> bool:
        """Say what Kubernetes thinks of it."""
        return self.get("deployment", self.name).get("status", {}).get("readyReplicas") == 1

    def metrics(self) -> list[str]:
        """Return the lines of its metrics."""
        [pod] = self.get("pods", f"--selector=app.kubernetes.io/name={self.name}")["items"]
        place = f"/api/v1/namespaces/{PLACE}/pods/{pod['metadata']['name']}:8080/proxy/metrics"
        return self.run("get", "--raw", place).splitlines()

    def errors(self) -> list[str]:
        """Return how the errors in its log begin."""
        lines = [json.loads(line) for line in self.run("logs", f"deployment/{self.name}").splitlines()]
        return [line["message"].partition(":")[0] for line in lines if line["level"] == "error"]

    @staticmethod
    def get(*words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(Copy.run("get", *words, "--output", "json"))
        return found

    @staticmethod
    def run(*words: str, stdin: str | None = None) -> str:
        command = ["kubectl", "--namespace", PLACE, *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def second() -> Iterator[Copy]:
    found = Copy()
    try:
        yield found
    finally:
        found.delete()


def within(seconds: float, check: Callable[[], Any]) -> Any:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(AssertionError, ValueError):
            found = check()
            if found:
                return found
        time.sleep(1)
    raise AssertionError("it did not become true in time")


def test_a_controller_is_ready_while_it_has_its_rights_and_needs_no_dns(second: Copy) -> None:
    refused = 'instep_failing_requests{resource="taskruns",status="403",verb="list"} 1.0'
    within(120, lambda: refused in second.metrics())
    time.sleep(20)
    assert not second.is_ready()
    assert second.errors() == ["not ready"]
    second.allow()
    within(90, second.is_ready)
    assert "instep_ready 1.0" in second.metrics()
    second.forbid()
    within(150, lambda: not second.is_ready())
    assert "instep_ready 0.0" in second.metrics()
    time.sleep(20)
    assert second.errors() == ["not ready"] * 2
    second.allow()
    within(90, second.is_ready)


@pytest.fixture(scope="module")
def disagreeing() -> str:
    """Two tasks side by side that write different things into one file."""
    tasks = [task("first", "echo 0 > f"), *(task(name, f"echo {name} > f", "first") for name in ("left", "right"))]
    # Each waits until both have what the first wrote, so that neither has seen the other's.
    for found in tasks[1:]:
        found["taskSpec"]["steps"][0]["script"] += "; sleep 10"
    return create("Pipeline", "tekton.dev/v1", {"workspaces": [{"name": "ws"}], "tasks": tasks})


def events(name: str, reason: str = "StepFailed") -> list[dict[str, Any]]:
    found = kubectl("get", "events", f"--field-selector=involvedObject.name={name},reason={reason}")["items"]
    return [dict(event) for event in found]


def test_a_conflict_is_an_event_on_the_run_with_all_that_is_needed_to_read_on(disagreeing: str) -> None:
    spec = asked(disagreeing, **{"on-conflict": "fail"})
    run = ended("pipelinerun", create("PipelineRun", "tekton.dev/v1", spec))
    assert condition(run)["status"] == "False"
    [event] = within(30, lambda: events(run["metadata"]["name"]))
    assert event["type"] == "Warning"
    message = event["message"]
    assert f"step instep-push ended with exit code 10: {MEANINGS[10].text}" in message
    assert message.endswith(PAGE)
    # The command that it names shows a line that stands alone.
    command = message.partition("what and why: ")[2].partition(". Causes")[0].split()
    done = subprocess.run([*command, "--tail", "1"], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("agent: error: workspace ws at "), done.stderr
    assert "disagree about f" in done.stdout


def test_a_conflict_that_fails_nothing_is_one_event_on_the_run(disagreeing: str) -> None:
    run = ended("pipelinerun", create("PipelineRun", "tekton.dev/v1", asked(disagreeing)))
    assert condition(run)["status"] == "True", condition(run)
    name = run["metadata"]["name"]
    [event] = within(30, lambda: events(name, "WorkspaceConflict"))
    assert event["type"] == "Warning"
    assert re.match("task (left|right): 1 conflict with tasks that do not run after each other", event["message"])
    assert event["message"].endswith(CONFLICTS)
    results = [
        result["value"]
        for item in kubectl("get", "taskrun", f"--selector=tekton.dev/pipelineRun={name}")["items"]
        for step in item["status"]["steps"]
        for result in step.get("results", [])
    ]
    assert len(results) == 3
    found = [parse_result(text) for text in results]
    assert None not in found
    assert any(result and result.conflicts == 1 and result.change in event["message"] for result in found)
    time.sleep(10)
    assert len(events(name, "WorkspaceConflict")) == 1


def test_without_step_results_nothing_is_declared(disagreeing: str) -> None:
    run = ended("pipelinerun", create("PipelineRun", "tekton.dev/v1", asked(disagreeing, **{"step-result": "false"})))
    assert condition(run)["status"] == "True", condition(run)
    tasks = run["status"]["pipelineSpec"]["tasks"]
    assert not any(step.get("results") for found in tasks for step in found["taskSpec"]["steps"])


def test_a_failed_step_is_an_event_on_the_custom_run_too(disagreeing: str) -> None:
    spec = custom(disagreeing)
    spec["params"].append({"name": "ocipipeline.on-conflict", "value": "fail"})
    run = ended("customrun", create("CustomRun", "tekton.dev/v1beta1", spec))
    assert condition(run)["status"] == "False"
    found = within(30, lambda: (told := events(run["metadata"]["name"])) and len(told) == 2 and told)
    assert {event["involvedObject"]["kind"] for event in found} == {"CustomRun", "PipelineRun"}
