"""A step of ours that fails: an event on its run and on each run above it, once, whatever happens to the controller."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import kmock
import pytest

from agent.core.spelling.rfc3339 import format_time
from agent.tekton.model.push_result import PushResult, format_result
from tests.controller.conftest import Start
from tests.controller.test_command import get
from tests.fakes.cluster import Cluster, eventually, never
from tests.tekton.made import pipeline_run
from tests.tekton.test_failed_step import PULLED, PUSHED, SKIPPED, WORKED, task_run
from tests.tekton.test_launch import custom_run

FAILED = (PULLED, WORKED, ("instep-push", 10, "Error"))


async def create_run(cluster: Cluster, name: str = "run", owner: dict[str, Any] | None = None) -> dict[str, Any]:
    """Create a PipelineRun."""
    value = pipeline_run(pipelineRef={"name": "p"})
    value["metadata"] = {"name": name, "namespace": "ci"} | ({"ownerReferences": [owner]} if owner else {})
    return await cluster.create(value)


def owner_of(value: dict[str, Any]) -> dict[str, Any]:
    meta = value["metadata"]
    found = {"apiVersion": value["apiVersion"], "kind": value["kind"], "name": meta["name"], "uid": meta["uid"]}
    return {**found, "controller": True}


async def fail(
    cluster: Cluster,
    run: dict[str, Any] | None,
    name: str = "run-build",
    *ends: tuple[str, int, str],
    ago: float = 0,
    reason: str = "Failed",
) -> None:
    """Have a TaskRun that runs, and then ends as Tekton says it."""
    value = task_run(*(ends or FAILED), reason=reason)
    value["metadata"]["name"] = name
    value["metadata"]["ownerReferences"] = [owner_of(run)] if run else []
    status = value.pop("status")
    await cluster.create({**value, "spec": {"taskRef": {"name": "t"}}})
    running = [{"type": "Succeeded", "status": "Unknown", "reason": "Running"}]
    await cluster.report("TaskRun", name, podName="", conditions=running)
    await cluster.report("TaskRun", name, **status | {"completionTime": format_time(time.time_ns() - int(ago * 1e9))})


def events(cluster: Cluster) -> list[dict[str, Any]]:
    return [cluster.event(name) for name in cluster.names("Event")]


def told(cluster: Cluster) -> set[tuple[str, str]]:
    """Return kind and name of the runs that were told something."""
    found = [event["involvedObject"] for event in events(cluster)]
    assert all(cluster.get(run["kind"], run["name"])["metadata"]["uid"] == run["uid"] for run in found)
    return {(run["kind"], run["name"]) for run in found}


async def test_the_pipeline_run_is_told(cluster: Cluster, controller: Start) -> None:
    async with cluster, controller(cluster) as port:
        await fail(cluster, await create_run(cluster))
        [event] = await eventually(lambda: events(cluster))
        assert told(cluster) == {("PipelineRun", "run")}
        assert "step instep-push ended with exit code 10: tasks that do not run after each other" in event["message"]
        numbers = await get(port, "/metrics")
        assert 'instep_step_failures_total{code="10"} 1.0' in numbers[1]
        # What happens to the TaskRun afterwards is told of no more.
        await cluster.report("TaskRun", "run-build", provenance={})
        await never(lambda: len(events(cluster)) != 1)


async def test_a_task_run_of_its_own_is_told_itself(cluster: Cluster, controller: Start) -> None:
    async with cluster, controller(cluster):
        await fail(cluster, None, "alone", ("instep-pull", 20, "Error"), *SKIPPED)
        [event] = await eventually(lambda: events(cluster))
        assert told(cluster) == {("TaskRun", "alone")}
        assert "step instep-pull ended with exit code 20" in event["message"]


async def test_what_launched_the_run_is_told_too_and_the_run_above_that(cluster: Cluster, controller: Start) -> None:
    async with cluster, controller(cluster):
        outer = await create_run(cluster, "outer")
        above = custom_run()
        above["metadata"] |= {"name": "custom", "ownerReferences": [owner_of(outer)]}
        custom = await cluster.create(above)
        launched = await eventually(lambda: cluster.get("PipelineRun", "custom"))
        assert launched["metadata"]["ownerReferences"][0]["uid"] == custom["metadata"]["uid"]
        await fail(cluster, launched, "custom-build")
        await eventually(lambda: len(events(cluster)) == 3)
        assert told(cluster) == {("PipelineRun", "custom"), ("CustomRun", "custom"), ("PipelineRun", "outer")}
        assert len({event["message"] for event in events(cluster)}) == 1


async def test_an_owner_that_is_gone_is_told_for_those_below_it(cluster: Cluster, controller: Start) -> None:
    async with cluster, controller(cluster):
        gone = {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": "gone", "uid": "u-0"}}
        await fail(cluster, gone)
        [event] = await eventually(lambda: events(cluster))
        assert event["involvedObject"]["name"] == "gone"


@pytest.mark.parametrize(
    "ends",
    [
        (PULLED, WORKED, ("instep-push", 0, "Completed")),
        (PULLED, ("work", 2, "Error"), ("instep-push", 1, "Skipped")),
        (PULLED, WORKED, ("instep-push", 1, "TaskRunCancelled")),
    ],
)
async def test_what_is_no_fault_of_ours_is_not_told(
    cluster: Cluster, controller: Start, ends: tuple[tuple[str, int, str], ...]
) -> None:
    async with cluster, controller(cluster):
        await fail(cluster, await create_run(cluster), "run-build", *ends)
        await never(lambda: events(cluster))
        assert not any(right[0] == "get" and right[2] == "taskruns" for right in cluster.api.used)


async def test_a_matrix_of_which_all_members_fail_is_one_event(cluster: Cluster, controller: Start) -> None:
    async with cluster, controller(cluster) as port:
        run = await create_run(cluster)
        for member in range(12):
            await fail(cluster, run, f"run-build-{member}")
        await eventually(lambda: events(cluster))
        await never(lambda: len(events(cluster)) != 1, within=1)
        assert 'instep_step_failures_total{code="10"} 1.0' in (await get(port, "/metrics"))[1]


async def test_a_restart_tells_nothing_twice_and_what_was_missed(cluster: Cluster, controller: Start) -> None:
    async with cluster:
        run = await create_run(cluster)
        async with controller(cluster):
            await fail(cluster, run)
            await eventually(lambda: events(cluster))
        before = events(cluster)
        await fail(cluster, run, "run-missed", ("instep-pull", 21, "Error"), *SKIPPED)
        async with controller(cluster), controller(cluster):
            await eventually(lambda: len(events(cluster)) == 2)
            await never(lambda: len(events(cluster)) != 2)
        assert before[0] in events(cluster)


async def test_failures_of_long_ago_are_not_told_at_a_start(cluster: Cluster, controller: Start) -> None:
    """Their events may have been there and gone: Kubernetes keeps them for an hour."""
    async with cluster:
        run = await create_run(cluster)
        for number in range(5):
            await fail(cluster, run, f"old-{number}", ago=3600 * 24)
        await fail(cluster, run, "run-new", ("instep-pull", 30, "Error"), *SKIPPED)
        async with controller(cluster):
            [event] = await eventually(lambda: events(cluster))
            assert "exit code 30" in event["message"]
            await never(lambda: len(events(cluster)) != 1)


async def conflict(cluster: Cluster, run: dict[str, Any], task: str, paths: str = "9ab3c1d2", count: int = 2) -> None:
    """Have a TaskRun that succeeds, and whose push met conflicts."""
    value = task_run(PULLED, WORKED, PUSHED, reason="Succeeded")
    value["metadata"] |= {"name": f"run-{task}", "ownerReferences": [owner_of(run)]}
    value["metadata"]["labels"]["tekton.dev/pipelineTask"] = task
    status = value.pop("status")
    status["conditions"][0]["status"] = "True"
    result = format_result(PushResult(count, "3f2a1b2c3d4e", 0, paths))
    status["steps"][-1]["results"] = [{"name": "published", "type": "string", "value": result}]
    await cluster.create({**value, "spec": {"taskRef": {"name": "t"}}})
    await cluster.report("TaskRun", f"run-{task}", **status | {"completionTime": format_time(time.time_ns())})


async def test_conflicts_of_a_task_that_succeeded_are_an_event_on_every_run_above_it(
    cluster: Cluster, controller: Start
) -> None:
    async with cluster, controller(cluster) as port:
        outer = await create_run(cluster, "outer")
        await conflict(cluster, await create_run(cluster, "run", owner_of(outer)), "build")
        await eventually(lambda: len(events(cluster)) == 2)
        assert told(cluster) == {("PipelineRun", "run"), ("PipelineRun", "outer")}
        for event in events(cluster):
            assert (event["type"], event["reason"]) == ("Warning", "WorkspaceConflict")
            assert event["message"].startswith("task build: 2 conflicts with tasks that do not run after each other")
        numbers = (await get(port, "/metrics"))[1]
        assert "instep_workspace_conflicts_total 2.0" in numbers
        assert "instep_step_failures_total{" not in numbers


async def test_one_set_of_paths_is_one_event_however_many_tasks_report_it(cluster: Cluster, controller: Start) -> None:
    async with cluster:
        run = await create_run(cluster)
        async with controller(cluster) as port:
            for task in ("left", "right", "third"):
                await conflict(cluster, run, task)
            await eventually(lambda: events(cluster))
            await never(lambda: len(events(cluster)) != 1, within=1)
            await conflict(cluster, run, "fourth", paths="00000000", count=5)
            await eventually(lambda: len(events(cluster)) == 2)
            assert "instep_workspace_conflicts_total 7.0" in (await get(port, "/metrics"))[1]
        async with controller(cluster) as port:
            await never(lambda: len(events(cluster)) != 2, within=1)
            assert "instep_workspace_conflicts_total 0.0" in (await get(port, "/metrics"))[1]


async def test_an_event_that_cannot_be_created_yet_is_created_later(
    cluster: Cluster, controller: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "agent.controller")
    cluster.api.forbidden.add(("create", "events"))
    async with cluster, controller(cluster) as port:
        await fail(cluster, await create_run(cluster))
        for _ in range(100):
            status, body = await get(port, "/readyz")
            if "create events in namespace ci" in body:
                break
            await asyncio.sleep(0.05)
        assert status == 503
        cluster.api.forbidden.clear()
        await eventually(lambda: events(cluster))
        assert len([record for record in caplog.records if "create events" in record.getMessage()]) <= 1


async def test_in_a_namespace_that_ends_it_is_left(
    cluster: Cluster, controller: Start, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(request: kmock.Request) -> None:
        if request.resource.plural == "events":
            words = "unable to create new content in namespace ci because it is being terminated"
            raise kmock.KubernetesError(status=403, reason="Forbidden", message=words)

    caplog.set_level(logging.INFO, "agent.controller")
    async with cluster, controller(cluster) as port:
        cluster.api.refuse = refuse
        await fail(cluster, await create_run(cluster))
        await eventually(lambda: [record for record in caplog.records if "is being terminated" in record.getMessage()])
        await never(lambda: [record for record in caplog.records if record.levelno > logging.INFO], within=1)
        assert (await get(port, "/readyz"))[0] == 200
