"""The custom task on an API server: the controller runs for real, Tekton and users are played."""

from __future__ import annotations

import asyncio
from typing import Any

import kmock

from tests.controller.conftest import Start
from tests.fakes.cluster import Cluster, condition, eventually, never
from tests.tekton.made import the_task
from tests.tekton.test_launch import custom_run, old_run


async def settled(cluster: Cluster, status: str, reason: str, kind: str = "CustomRun") -> dict[str, Any]:
    """Wait until the run says so, and return its status."""
    await eventually(lambda: condition(cluster.get(kind, "run")) == (status, reason))
    return dict(cluster.get(kind, "run")["status"])


async def child(cluster: Cluster, name: str = "run") -> dict[str, Any]:
    found = await eventually(lambda: cluster.get("PipelineRun", name))
    return dict(found)


async def test_a_run_is_launched_and_mirrored_to_its_end(cluster: Cluster, controller: Start) -> None:
    async with cluster, controller(cluster):
        run = await cluster.create(custom_run())
        [owner] = (await child(cluster))["metadata"]["ownerReferences"]
        assert owner["uid"] == run["metadata"]["uid"]
        await settled(cluster, "Unknown", "Started")
        await cluster.end("run", "Unknown", "Running")
        await settled(cluster, "Unknown", "Running")
        await cluster.end("run", "True", "Completed", results=[{"name": "sha", "value": "abc"}])
        status = await settled(cluster, "True", "Completed")
        assert status["results"] == [{"name": "sha", "value": "abc"}]
        assert status["extraFields"] == {"pipelineRun": "run"}
        assert status["completionTime"]


async def test_nothing_of_the_framework_stands_on_anybodys_objects(cluster: Cluster, controller: Start) -> None:
    async with cluster, controller(cluster):
        await cluster.create(custom_run({"annotations": {"mine": "x"}}))
        await child(cluster)
        await cluster.end("run", "True", "Succeeded")
        status = await settled(cluster, "True", "Succeeded")
        assert "kopf" not in status
        for found in (cluster.get("CustomRun", "run"), cluster.get("PipelineRun", "run")):
            assert found["metadata"]["annotations"] == {"mine": "x"}
            assert "finalizers" not in found["metadata"]


async def test_runs_of_other_custom_tasks_are_left_alone(cluster: Cluster, controller: Start) -> None:
    other = {"apiVersion": "tekton.dev/v1alpha1", "kind": "PipelineLoop", "name": "p"}
    async with cluster, controller(cluster):
        await cluster.create(custom_run(customRef=other))
        await never(lambda: cluster.names("PipelineRun") or "status" in cluster.get("CustomRun", "run"))


async def test_it_goes_on_where_another_controller_stopped(cluster: Cluster, controller: Start) -> None:
    async with cluster:
        async with controller(cluster):
            await cluster.create(custom_run())
            await settled(cluster, "Unknown", "Started")
        await cluster.end("run", "True", "Succeeded")
        assert condition(cluster.get("CustomRun", "run")) == ("Unknown", "Started")
        async with controller(cluster):
            await settled(cluster, "True", "Succeeded")
        assert cluster.names("PipelineRun") == ["run"]


async def test_a_stop_between_the_childs_creation_and_the_status_loses_nothing(
    cluster: Cluster, controller: Start
) -> None:
    def no_status(request: kmock.Request) -> None:
        if request.subresource == "status":
            raise kmock.KubernetesError(status=500)

    async with cluster:
        cluster.api.refuse = no_status
        async with controller(cluster):
            await cluster.create(custom_run())
            await child(cluster)
        assert "status" not in cluster.get("CustomRun", "run")
        cluster.api.refuse = None
        async with controller(cluster):
            await settled(cluster, "Unknown", "Started")
        assert cluster.written("PipelineRun", "run") == 1


async def test_a_cancelled_run_stops_its_child_and_ends(cluster: Cluster, controller: Start) -> None:
    async with cluster, controller(cluster):
        await cluster.create(custom_run(retries=2))
        await settled(cluster, "Unknown", "Started")
        await cluster.change("CustomRun", "run", status="RunCancelled", statusMessage="by the pipeline")
        status = await settled(cluster, "False", "CustomRunCancelled")
        assert status["conditions"][0]["message"] == "by the pipeline"
        assert cluster.get("PipelineRun", "run")["spec"]["status"] == "Cancelled"
        await cluster.end("run", "False", "Cancelled")
        await never(lambda: condition(cluster.get("CustomRun", "run")) != ("False", "CustomRunCancelled"))
        assert cluster.names("PipelineRun") == ["run"]


async def test_a_cancellation_while_the_controller_was_down_is_carried_out(cluster: Cluster, controller: Start) -> None:
    async with cluster:
        async with controller(cluster):
            await cluster.create(custom_run())
            await settled(cluster, "Unknown", "Started")
        await cluster.change("CustomRun", "run", status="RunCancelled")
        async with controller(cluster):
            await settled(cluster, "False", "CustomRunCancelled")
        assert cluster.get("PipelineRun", "run")["spec"]["status"] == "Cancelled"


async def test_a_child_that_appears_after_the_cancellation_is_stopped(cluster: Cluster, controller: Start) -> None:
    """Another controller saw the run before it was cancelled, and was slow."""
    async with cluster:
        async with controller(cluster):
            await cluster.create(custom_run())
            late = await child(cluster)
            await settled(cluster, "Unknown", "Started")
        await cluster.delete("PipelineRun", "run")
        await cluster.change("CustomRun", "run", status="RunCancelled")
        async with controller(cluster):
            await settled(cluster, "False", "CustomRunCancelled")
            await cluster.create(late)
            await eventually(lambda: cluster.get("PipelineRun", "run")["spec"].get("status") == "Cancelled")


async def test_a_failed_attempt_is_remembered_and_tried_again(cluster: Cluster, controller: Start) -> None:
    async with cluster, controller(cluster):
        await cluster.create(custom_run(retries=1))
        await child(cluster)
        await cluster.end("run", "False", "Failed")
        await child(cluster, "run-retry1")
        status = await settled(cluster, "Unknown", "Started")
        [first] = status["retriesStatus"]
        assert condition({"status": first}) == ("False", "Failed")
        await cluster.end("run-retry1", "True", "Succeeded")
        status = await settled(cluster, "True", "Succeeded")
        assert len(status["retriesStatus"]) == 1
        assert status["extraFields"] == {"pipelineRun": "run-retry1"}


async def test_a_child_that_takes_too_long_ends_the_run_as_timed_out_when_no_retry_is_left(
    cluster: Cluster, controller: Start
) -> None:
    async with cluster, controller(cluster):
        await cluster.create(custom_run(retries=1, timeout="90s"))
        assert (await child(cluster))["spec"]["timeouts"] == {"pipeline": "90s"}
        await cluster.end("run", "False", "PipelineRunTimeout")
        await child(cluster, "run-retry1")
        await cluster.end("run-retry1", "False", "PipelineRunTimeout")
        await settled(cluster, "False", "CustomRunTimedOut")
        assert cluster.names("PipelineRun") == ["run", "run-retry1"]


async def test_what_changed_between_look_and_write_is_looked_at_again(cluster: Cluster, controller: Start) -> None:
    """The run is cancelled while its start is being written down: the old decision must not stand."""
    cancelled = asyncio.Event()

    async def cancel_first(request: kmock.Request) -> None:
        is_start = request.subresource == "status" and request.resource.plural == "customruns"
        if is_start and not cancelled.is_set():
            cancelled.set()
            await cluster.change("CustomRun", "run", status="RunCancelled")

    async with cluster, controller(cluster):
        cluster.api.before_write = cancel_first
        await cluster.create(custom_run())
        await settled(cluster, "False", "CustomRunCancelled")
        assert cluster.get("PipelineRun", "run")["spec"]["status"] == "Cancelled"
        # created, cancelled, ended: what was decided first was not written
        assert cluster.written("CustomRun", "run") == 3


async def test_events_that_change_nothing_write_nothing(cluster: Cluster, controller: Start) -> None:
    async with cluster, controller(cluster):
        await cluster.create(custom_run())
        await cluster.end_when_there("run", "Unknown", "Running")
        await settled(cluster, "Unknown", "Running")
        before = cluster.written("CustomRun", "run")
        for _ in range(5):
            await cluster.end("run", "Unknown", "Running")
        await never(lambda: cluster.written("CustomRun", "run") != before)
        assert cluster.names("PipelineRun") == ["run"]


async def test_an_api_server_that_was_away_is_caught_up_with(cluster: Cluster, controller: Start) -> None:
    async with cluster, controller(cluster):
        await cluster.create(custom_run())
        await settled(cluster, "Unknown", "Started")
        await cluster.go()
        await asyncio.sleep(0.3)
        cluster.api.objects[kmock.resource("tekton.dev/v1/pipelineruns"), "ci", "run"].patch(
            {"status": {"conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded"}]}}
        )
        await cluster.come()
        await settled(cluster, "True", "Succeeded")


async def test_an_api_server_that_answers_with_errors_is_asked_again(cluster: Cluster, controller: Start) -> None:
    failures = []

    def three_times(request: kmock.Request) -> None:
        if request.resource.plural == "pipelineruns" and len(failures) < 3:
            failures.append(request)
            raise kmock.KubernetesError(status=503)

    async with cluster, controller(cluster):
        cluster.api.refuse = three_times
        await cluster.create(custom_run())
        await child(cluster)
        await settled(cluster, "Unknown", "Started")
        assert len(failures) == 3


async def test_two_controllers_do_the_same_as_one(cluster: Cluster, controller: Start) -> None:
    async with cluster, controller(cluster), controller(cluster):
        await cluster.create(custom_run(retries=1))
        await child(cluster)
        await cluster.end("run", "False", "Failed")
        await child(cluster, "run-retry1")
        await cluster.end("run-retry1", "True", "Succeeded")
        status = await settled(cluster, "True", "Succeeded")
        await never(lambda: condition(cluster.get("CustomRun", "run")) != ("True", "Succeeded"))
        assert len(status["retriesStatus"]) == 1
        assert cluster.names("PipelineRun") == ["run", "run-retry1"]
        assert [name for verb, _, name in cluster.api.log if verb == "post"] == ["run", "run", "run-retry1"]


async def test_a_child_that_the_api_server_does_not_take_ends_the_run_with_its_words(
    cluster: Cluster, controller: Start
) -> None:
    def webhook(request: kmock.Request) -> None:
        if request.resource.plural == "pipelineruns":
            raise kmock.KubernetesError(status=400, message='admission webhook "policy" denied the request: no quota')

    async with cluster, controller(cluster):
        cluster.api.refuse = webhook
        await cluster.create(custom_run(retries=3))
        status = await settled(cluster, "False", "OCIPipelineInvalid")
        assert status["conditions"][0]["message"].endswith("denied the request: no quota")


async def test_the_pod_template_of_the_pipeline_above_is_passed_on(cluster: Cluster, controller: Start) -> None:
    above = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "above"},
        "spec": {"pipelineRef": {"name": "p"}, "taskRunTemplate": {"podTemplate": {"hostNetwork": True}}},
    }
    async with cluster, controller(cluster):
        uid = (await cluster.create(above))["metadata"]["uid"]
        owner = {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": "above", "uid": uid, "controller": True}
        await cluster.create(custom_run({"ownerReferences": [owner]}))
        assert (await child(cluster))["spec"]["taskRunTemplate"]["podTemplate"] == {"hostNetwork": True}


async def test_runs_of_old_are_served_where_the_api_server_has_them(cluster: Cluster, controller: Start) -> None:
    cluster.have_runs()
    async with cluster, controller(cluster):
        await cluster.create(old_run())
        await child(cluster)
        await cluster.change("Run", "run", status="RunCancelled")
        await settled(cluster, "False", "RunCancelled", kind="Run")


async def test_an_object_of_another_kind_disturbs_nobody(cluster: Cluster, controller: Start) -> None:
    async with cluster, controller(cluster):
        await cluster.create({**custom_run(), "spec": {"customRef": {"apiVersion": "x/v1", "kind": "Y"}}})
        await cluster.create(the_task())
        second = custom_run()
        second["metadata"]["name"] = "second"
        await cluster.create(second)
        await child(cluster, "second")
