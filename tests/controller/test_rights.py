"""The rights in config/: all that the controller asks for, and nothing that it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent.tekton.lookup.lookup import parse_lookup
from agent.tekton.lookup.lookup_request import LookupRequest
from agent.tekton.model import documents
from tests.controller.conftest import Start
from tests.controller.test_reporter import fail
from tests.controller.test_resolver import TARGET, a_run, answer, answer_nested, ask, nested, the_pipeline
from tests.fakes.cluster import Cluster, condition, eventually
from tests.tekton.made import the_task
from tests.tekton.test_launch import custom_run, old_run

RBAC = Path(__file__).parents[2] / "config" / "cluster" / "rbac.yaml"


def granted() -> set[tuple[str, str, str]]:
    [role] = [found for found in documents.read(RBAC.read_text(), "rbac") if found["kind"] == "ClusterRole"]
    return {
        (verb, group, resource)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


async def test_what_is_granted_is_what_is_used(cluster: Cluster, controller: Start) -> None:
    """All that it does once: another resolver is asked, a run looks up, is launched, is cancelled, fails."""
    cluster.have_runs()
    async with cluster, controller(cluster):
        await cluster.create(the_pipeline())
        await cluster.create(the_task())
        run = await a_run(cluster, target=TARGET)
        target = {"name": "target", "value": "reg.io/x:y"}
        local = [{"name": "pipelineref", "value": "p"}, target]
        remote = [{"name": "pipelineref", "value": "resolver: git\nparams: []"}, target]
        await ask(cluster, run, remote)
        await answer_nested(cluster, (await nested(cluster))["metadata"]["name"], documents.write([the_pipeline()]))
        await answer(cluster)
        await ask(cluster, run, local, name="wrap-2")
        last = (await answer(cluster, "wrap-2"))["spec"]["tasks"][1]
        await ask(cluster, run, last["taskRef"]["params"], name="wrap-3")
        await answer(cluster, "wrap-3")
        await look_up_a_step_action(cluster, run)
        first = custom_run()
        first["metadata"]["name"] = "first"
        await cluster.create(first)
        await eventually(lambda: condition(cluster.get("CustomRun", "first")) == ("Unknown", "Started"))
        second = old_run()
        second["metadata"]["name"] = "second"
        await cluster.create(second)
        await eventually(lambda: cluster.get("PipelineRun", "second"))
        await cluster.change("Run", "second", status="RunCancelled")
        await eventually(lambda: condition(cluster.get("Run", "second")) == ("False", "RunCancelled"))
        await fail(cluster, cluster.get("PipelineRun", "second"))
        await eventually(lambda: ("get", "tekton.dev", "taskruns") in cluster.api.used)
    assert cluster.api.used - {("discover", "", "")} == granted()


async def look_up_a_step_action(cluster: Cluster, run: dict[str, Any]) -> None:
    """It is not in the bundle, and then in the namespace."""
    step_action = {"apiVersion": "tekton.dev/v1beta1", "kind": "StepAction", "metadata": {"name": "a"}, "spec": {}}
    await cluster.create({**step_action, "spec": {"image": "alpine"}})
    before = set(cluster.names("ResolutionRequest"))
    asked = LookupRequest(parse_lookup("reg.io/b:1,cluster", "x"), "stepaction", "a").to_object()
    await ask(cluster, run, asked["params"], name="lookup-1", label="lookup")
    [inner] = await eventually(lambda: set(cluster.names("ResolutionRequest")) - before - {"lookup-1"})
    message = "could not find object in image with kind: stepaction and name: a"
    said = {"type": "Succeeded", "status": "False", "reason": "ResolutionFailed", "message": message}
    empty: dict[str, Any] = {}
    time = "2026-01-01T00:00:00Z"
    conditions = [{**said, "lastTransitionTime": time}]
    await cluster.report("ResolutionRequest", inner, data="", refSource=empty, source=empty, conditions=conditions)
    await answer(cluster, "lookup-1")
    await eventually(lambda: cluster.names("Event"))
