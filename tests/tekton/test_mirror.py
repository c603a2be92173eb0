"""The course of a CustomRun, played through with the objects that a cluster would have."""

from __future__ import annotations

from typing import Any

import pytest

from agent.tekton.controlplane.customrun_reconcile import Decision, decide
from agent.tekton.controlplane.launch_run import launch
from agent.tekton.model.wrapping import Defaults
from tests.tekton.schema import check
from tests.tekton.test_launch import custom_run, old_run

T0, T1, T2 = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"


class Cluster:
    """A CustomRun and its PipelineRuns; `step` does what is decided, as an API server would."""

    def __init__(self, run: dict[str, Any]) -> None:
        self.run = run
        self.children: dict[str, Any] = {}
        self.created: list[str] = []

    def step(self, now: str = T0) -> Decision:
        decision = decide(self.run, self.children, now)
        if decision.create:
            name = decision.create["metadata"]["name"]
            assert name not in self.children
            self.children[name] = decision.create
            self.created.append(name)
        if decision.cancel:
            self.children[decision.cancel]["spec"]["status"] = "Cancelled"
        status = {**self.run.get("status", {}), **(decision.status or {})}
        self.run["status"] = {key: value for key, value in status.items() if value is not None}
        check(self.run)
        return decision

    def settle(self, now: str = T0) -> None:
        for _ in range(5):
            if self.step(now) == Decision():
                return
        raise AssertionError("it does not come to rest")

    def report(self, name: str, status: str, reason: str, **fields: Any) -> None:
        condition = {"type": "Succeeded", "status": status, "reason": reason, "message": "so it is"}
        self.children[name]["status"] = {"conditions": [condition], **fields}

    @property
    def condition(self) -> dict[str, Any]:
        return dict(self.run["status"]["conditions"][0])


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(custom_run({"generation": 3, "creationTimestamp": T0}, retries=1))


def test_it_starts_one_child_and_follows_it_to_the_end(cluster: Cluster) -> None:
    cluster.settle()
    assert cluster.created == ["run"]
    assert cluster.run["status"]["startTime"] == T0
    assert cluster.run["status"]["observedGeneration"] == 3
    assert cluster.run["status"]["extraFields"] == {"pipelineRun": "run"}
    cluster.report("run", "Unknown", "ResolvingPipelineRef")
    cluster.settle(T1)
    assert (cluster.condition["status"], cluster.condition["reason"]) == ("Unknown", "ResolvingPipelineRef")
    assert cluster.condition["lastTransitionTime"] == T0
    results = [{"name": "a", "value": "x"}, {"name": "b", "value": ["y"]}, {"name": "c", "value": {"k": "z"}}]
    cluster.report("run", "True", "Completed", results=results)
    cluster.settle(T2)
    assert cluster.condition == {
        "type": "Succeeded",
        "status": "True",
        "reason": "Completed",
        "message": "PipelineRun run: so it is",
        "lastTransitionTime": T2,
    }
    assert cluster.run["status"]["completionTime"] == T2
    assert cluster.run["status"]["results"] == [
        {"name": "a", "value": "x"},
        {"name": "b", "value": '["y"]'},
        {"name": "c", "value": '{"k": "z"}'},
    ]


def test_a_failed_attempt_is_remembered_and_tried_again(cluster: Cluster) -> None:
    cluster.settle()
    cluster.report("run", "False", "Failed", results=[{"name": "a", "value": "x"}])
    decision = cluster.step(T1)
    assert decision.create is None
    assert cluster.condition["status"] == "Unknown"
    assert not {"startTime", "completionTime", "results"} & set(cluster.run["status"])
    [remembered] = cluster.run["status"]["retriesStatus"]
    assert remembered["conditions"][0]["reason"] == "Failed"
    assert remembered["completionTime"] == T1
    assert remembered["results"] == [{"name": "a", "value": "x"}]
    assert "retriesStatus" not in remembered
    cluster.settle(T1)
    assert cluster.created == ["run", "run-retry1"]
    assert cluster.run["status"]["startTime"] == T1
    cluster.report("run-retry1", "False", "Failed")
    cluster.settle(T2)
    assert (cluster.condition["status"], cluster.condition["reason"]) == ("False", "Failed")
    assert len(cluster.run["status"]["retriesStatus"]) == 1
    assert cluster.created == ["run", "run-retry1"]


@pytest.mark.parametrize(
    ("run", "reason", "expected"),
    [
        (custom_run(), "PipelineRunTimeout", "CustomRunTimedOut"),
        (custom_run(), "Cancelled", "CustomRunCancelled"),
        (custom_run(), "CouldntGetPipeline", "CouldntGetPipeline"),
        (old_run(), "PipelineRunTimeout", "RunTimedOut"),
        (old_run(), "Cancelled", "RunCancelled"),
    ],
)
def test_the_childs_reason_is_translated_where_tekton_has_words_of_its_own(
    run: dict[str, Any], reason: str, expected: str
) -> None:
    cluster = Cluster(run)
    cluster.settle()
    cluster.report("run", "False", reason)
    cluster.settle(T1)
    assert (cluster.condition["status"], cluster.condition["reason"]) == ("False", expected)


def test_a_timed_out_attempt_is_tried_again_and_a_cancelled_one_is_not(cluster: Cluster) -> None:
    cluster.settle()
    cluster.report("run", "False", "PipelineRunTimeout")
    cluster.settle(T1)
    cluster.report("run-retry1", "Unknown", "Running")
    cluster.settle(T1)
    cluster.report("run-retry1", "False", "Cancelled")
    cluster.settle(T2)
    assert cluster.condition["reason"] == "CustomRunCancelled"
    again = Cluster(custom_run(retries=5))
    again.settle()
    again.report("run", "False", "Cancelled")
    again.settle(T1)
    assert again.created == ["run"]
    assert again.condition["reason"] == "CustomRunCancelled"


def test_cancelling_stops_the_child_and_ends_at_once(cluster: Cluster) -> None:
    cluster.settle()
    cluster.report("run", "Unknown", "Running")
    cluster.run["spec"] |= {"status": "RunCancelled", "statusMessage": "its parent has timed out"}
    decision = cluster.step(T1)
    assert decision.cancel == "run"
    assert (cluster.condition["status"], cluster.condition["reason"]) == ("False", "CustomRunCancelled")
    assert cluster.condition["message"] == "its parent has timed out"
    assert cluster.step(T1) == Decision()
    cluster.report("run", "False", "Cancelled")
    assert cluster.step(T2) == Decision()


def test_a_run_that_is_cancelled_before_its_child_exists_gets_none(cluster: Cluster) -> None:
    cluster.run["spec"]["status"] = "RunCancelled"
    cluster.settle()
    assert cluster.created == []
    assert cluster.condition["reason"] == "CustomRunCancelled"


def test_a_child_that_still_runs_after_the_run_ended_as_cancelled_is_stopped(cluster: Cluster) -> None:
    """The controller died between the two writes, or saw the child too late."""
    child = launch(cluster.run)
    cluster.run["spec"]["status"] = "RunCancelled"
    cluster.settle()
    cluster.children["run"] = child
    assert cluster.step(T1) == Decision(cancel="run")
    assert cluster.step(T1) == Decision()


def test_a_child_of_the_name_that_belongs_to_another_is_left_alone(cluster: Cluster) -> None:
    cluster.children["run"] = {**launch(cluster.run), "metadata": {"name": "run"}}
    cluster.settle()
    assert cluster.condition["reason"] == "OCIPipelineInvalid"
    assert "belongs to another" in cluster.condition["message"]


def test_a_child_of_an_earlier_run_of_the_name_is_waited_for(cluster: Cluster) -> None:
    """Deleted and created again at once: the old child is deleted a little later than its owner."""
    cluster.children["run"] = launch(custom_run({"uid": "another"}))
    cluster.settle()
    assert cluster.created == []
    assert (cluster.condition["status"], cluster.condition["reason"]) == ("Unknown", "Waiting")
    del cluster.children["run"]
    cluster.settle()
    assert cluster.created == ["run"]


def test_a_run_that_waits_for_an_old_child_can_be_cancelled(cluster: Cluster) -> None:
    cluster.children["run"] = launch(custom_run({"uid": "another"}))
    cluster.settle()
    cluster.run["spec"]["status"] = "RunCancelled"
    assert cluster.step().cancel is None
    assert cluster.condition["reason"] == "CustomRunCancelled"


def test_the_installations_target_is_enough() -> None:
    run = custom_run(params=[])
    created = decide(run, {}, T0, defaults=Defaults(target="reg.io/ws-{{workspace}}:x")).create
    assert created is not None
    assert [param["name"] for param in created["spec"]["pipelineRef"]["params"]] == [
        "pipelineref",
        "workspaces",
        "wrapper",
    ]


def test_what_cannot_be_launched_ends_with_the_reason() -> None:
    cluster = Cluster(custom_run(params=[], retries=3))
    cluster.settle()
    assert (cluster.condition["status"], cluster.condition["reason"]) == ("False", "OCIPipelineInvalid")
    assert "give ocipipeline.target" in cluster.condition["message"]
    assert cluster.created == []


def test_a_status_that_was_lost_is_made_again_from_the_objects(cluster: Cluster) -> None:
    """A patch that did not arrive, or an event that came twice: the same is decided."""
    first = decide(cluster.run, {}, T0)
    assert decide(cluster.run, {}, T0) == first
    cluster.settle()
    del cluster.run["status"]
    cluster.report("run", "True", "Succeeded")
    cluster.settle(T1)
    assert cluster.created == ["run"]
    assert cluster.condition["status"] == "True"
