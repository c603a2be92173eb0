"""Which step of ours ended a TaskRun, and the event that says so."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.exit_codes import KILLED, MEANINGS, OUT_OF_TIME, UNKNOWN, meaning_of
from agent.tekton.controlplane.event_route import task_run_to_reconcile
from agent.tekton.controlplane.failed_step import PAGE, RECENT, FailedStep, failed_step, is_recent, step_failed
from agent.tekton.wrap.steps import COMMAND
from tests.tekton.made import pipeline, steps_of, task, wrap
from tests.tekton.schema import check

ENDED = "2026-11-30T10:00:00Z"
NOW = "2026-11-30T10:00:05Z"
RUN = {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": "run", "uid": "u-1"}


def task_run(*ends: tuple[str, int, str], reason: str = "Failed", **fields: Any) -> dict[str, Any]:
    """Return a TaskRun of a wrapped task, with what came of each step: code, and why."""
    wrapped = wrap(pipeline(task("first"), task("build", "first")))
    steps = copy.deepcopy(steps_of(wrapped, "build"))
    status: dict[str, Any] = {
        "podName": "run-build-pod",
        "completionTime": ENDED,
        "conditions": [{"type": "Succeeded", "status": "False", "reason": reason, "message": "it failed"}],
        "taskSpec": {"steps": steps},
        "steps": [state(*end) for end in ends],
        **fields,
    }
    meta = {
        "name": "run-build",
        "namespace": "ci",
        "uid": "u-2",
        "labels": {"tekton.dev/pipelineTask": "build"},
        "ownerReferences": [{**RUN, "controller": True}],
    }
    found = {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": meta, "spec": {}, "status": status}
    check(found)
    return found


def state(name: str, code: int, why: str = "Error") -> dict[str, Any]:
    ended = {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}
    if why in ("OOMKilled", "TaskRunCancelled", "TaskRunTimeout"):
        ended["reason"] = why
    times = {"startedAt": ENDED, "finishedAt": ENDED}
    return {"name": name, "container": f"step-{name}", "terminated": {**ended, **times}, "terminationReason": why}


PULLED, WORKED, PUSHED = (("instep-pull", 0, "Completed"), ("work", 0, "Completed"), ("instep-push", 0, "Completed"))
SKIPPED = [("work", 1, "Skipped"), ("instep-push", 1, "Skipped")]


def test_a_failed_push_is_found() -> None:
    found = failed_step(task_run(PULLED, WORKED, ("instep-push", 10, "Error")))
    assert found == FailedStep("instep-push", "step-instep-push", 10, "Error")


def test_a_failed_pull_is_found_and_not_the_steps_that_tekton_skipped_behind_it() -> None:
    found = failed_step(task_run(("instep-pull", 21, "Error"), *SKIPPED))
    assert found == FailedStep("instep-pull", "step-instep-pull", 21, "Error")


def test_the_order_is_the_tasks_and_not_that_of_the_status() -> None:
    """Without Tekton's reasons, as before 0.52, the order alone tells which step failed and which were skipped."""
    value = task_run(("instep-push", 1, "Error"), ("work", 1, "Error"), ("instep-pull", 21, "Error"))
    for found in value["status"]["steps"]:
        del found["terminationReason"]
    assert failed_step(value) == FailedStep("instep-pull", "step-instep-pull", 21, "Error")


@pytest.mark.parametrize(
    ("ends", "reason"),
    [
        ([PULLED, WORKED, PUSHED], "Succeeded"),
        # A step of the task failed, and ours behind it was skipped.
        ([PULLED, ("work", 2, "Error"), ("instep-push", 1, "Skipped")], "Failed"),
        ([PULLED, ("work", 2, "Error"), ("instep-push", 1, "Error")], "Failed"),
        # Tekton ended all of them.
        ([PULLED, ("work", 1, "TaskRunCancelled"), ("instep-push", 1, "TaskRunCancelled")], "TaskRunCancelled"),
        ([PULLED, WORKED, ("instep-push", 1, "TaskRunTimeout")], "TaskRunTimeout"),
        ([PULLED, WORKED, ("instep-push", 9, "Cancelled")], "Cancelled"),
        # The pod never began.
        ([], "TaskRunImagePullFailed"),
    ],
)
def test_what_is_no_failure_of_ours_is_none(ends: list[tuple[str, int, str]], reason: str) -> None:
    assert failed_step(task_run(*ends, reason=reason)) is None


@pytest.mark.parametrize("why", ["Continued", "Error"])
def test_a_step_that_the_task_ignores_does_not_hide_ours(why: str) -> None:
    value = task_run(PULLED, ("work", 2, why), ("instep-push", 40, "Error"))
    value["status"]["taskSpec"]["steps"][1]["onError"] = "continue"
    found = failed_step(value)
    assert found is not None
    assert (found.name, found.exit_code) == ("instep-push", 40)


@pytest.mark.parametrize("status", ["True", "Unknown", None])
def test_a_task_run_that_has_not_failed_has_no_failed_step(status: str | None) -> None:
    """Among them is one that will be retried: its condition is unknown."""
    value = task_run(PULLED, WORKED, ("instep-push", 10, "Error"))
    if status is None:
        del value["status"]["conditions"]
    else:
        value["status"]["conditions"][0]["status"] = status
    assert failed_step(value) is None


def test_a_step_of_the_task_with_our_name_is_not_ours_and_ours_has_another() -> None:
    value = task_run(PULLED, ("instep-push", 3, "Error"), ("instep-push-2", 1, "Skipped"))
    value["status"]["taskSpec"]["steps"][1]["name"] = "instep-push"
    value["status"]["taskSpec"]["steps"][2]["name"] = "instep-push-2"
    assert failed_step(value) is None
    value = task_run(PULLED, ("instep-push", 0, "Completed"), ("instep-push-2", 20, "Error"))
    value["status"]["taskSpec"]["steps"][1]["name"] = "instep-push"
    value["status"]["taskSpec"]["steps"][2]["name"] = "instep-push-2"
    assert failed_step(value) == FailedStep("instep-push-2", "step-instep-push-2", 20, "Error")


def test_a_step_that_somebody_wrote_into_a_task_is_ours_too() -> None:
    value = task_run(("pull", 20, "Error"), ("work", 1, "Skipped"))
    by_hand = {"name": "pull", "image": "a", "command": [*COMMAND, "step", "pull"], "args": ["{}"]}
    value["status"]["taskSpec"]["steps"] = [by_hand, {"name": "work", "image": "a"}]
    assert failed_step(value) == FailedStep("pull", "step-pull", 20, "Error")


def test_without_the_task_the_names_decide() -> None:
    value = task_run(PULLED, WORKED, ("instep-push", 30, "Error"))
    del value["status"]["taskSpec"]
    assert failed_step(value) == FailedStep("instep-push", "step-instep-push", 30, "Error")


def test_a_step_that_was_killed_for_memory_failed_whatever_its_code() -> None:
    for code in (0, 137):
        found = failed_step(task_run(PULLED, WORKED, ("instep-push", code, "OOMKilled")))
        assert found == FailedStep("instep-push", "step-instep-push", KILLED, "OOMKilled")


@given(st.permutations([0, 1, 2]), st.lists(st.sampled_from([0, 1, 10, 21]), min_size=3, max_size=3))
def test_ours_is_told_if_and_only_if_it_is_the_first_that_failed(order: list[int], codes: list[int]) -> None:
    """The law: whatever order the status has."""
    names = ["instep-pull", "work", "instep-push"]
    ends = [(names[index], codes[index], "Error" if codes[index] else "Completed") for index in order]
    first = next((index for index in range(3) if codes[index]), None)
    found = failed_step(task_run(*ends))
    assert (found.name if found else None) == (names[first] if first in (0, 2) else None)


def told(value: dict[str, Any], run: dict[str, Any] | None = None) -> dict[str, Any]:
    failed = failed_step(value)
    assert failed is not None
    return step_failed(value, failed, run or RUN, NOW)


def test_the_event_names_step_code_meaning_and_where_to_read_on() -> None:
    found = told(task_run(PULLED, WORKED, ("instep-push", 10, "Error")))
    assert found["message"] == (
        f"task build: step instep-push ended with exit code 10: {MEANINGS[10].text}. "
        "The last line of its log says what and why: kubectl -n ci logs run-build-pod -c step-instep-push. "
        f"Causes and cures: {PAGE}"
    )
    assert (found["type"], found["reason"]) == ("Warning", "StepFailed")
    assert found["involvedObject"] == {**RUN, "namespace": "ci"}
    assert found["metadata"]["namespace"] == "ci"


def test_what_kubernetes_and_tekton_know_better_than_the_code_is_said() -> None:
    killed = told(task_run(PULLED, WORKED, ("instep-push", 137, "OOMKilled")))["message"]
    assert f"exit code 137 (OOMKilled): {MEANINGS[KILLED].text}." in killed
    late = told(task_run(PULLED, WORKED, ("instep-push", 1, "TimeoutExceeded")))["message"]
    assert f"exit code 1 (TimeoutExceeded): {OUT_OF_TIME.text}." in late
    strange = told(task_run(PULLED, WORKED, ("instep-push", 77, "Error")))["message"]
    assert f"exit code 77: {UNKNOWN.text}." in strange


def test_one_failure_has_one_name_and_another_has_another() -> None:
    base = task_run(PULLED, WORKED, ("instep-push", 10, "Error"))
    again = copy.deepcopy(base)
    # Another member of a matrix, and another attempt.
    again["metadata"] |= {"name": "run-build-1", "uid": "u-3"}
    again["status"]["podName"] = "run-build-1-pod-retry1"
    assert told(base)["metadata"] == told(again)["metadata"]
    changes = (("instep-push", 21, "Error"), ("instep-push", 10, "OOMKilled"))
    others = [told(base, {**RUN, "uid": "u-9"}), *(told(task_run(PULLED, WORKED, change)) for change in changes)]
    others.append(told(task_run(("instep-pull", 10, "Error"), *SKIPPED)))
    elsewhere = copy.deepcopy(base)
    elsewhere["metadata"]["labels"]["tekton.dev/pipelineTask"] = "test"
    others.append(told(elsewhere))
    names = {found["metadata"]["name"] for found in [told(base), *others]}
    assert len(names) == 1 + len(others)


def test_the_longest_names_are_a_valid_event() -> None:
    value = task_run(PULLED, WORKED, ("instep-push", 10, "Error"))
    value["metadata"]["name"] = value["status"]["podName"] = "a" * 253
    found = told(value, {**RUN, "name": "a" * 253})
    assert len(found["metadata"]["name"]) <= 253
    assert len(found["message"]) < 1024


@pytest.mark.parametrize(
    ("now", "told_now"),
    [
        ("2026-11-30T10:00:00Z", True),
        ("2026-11-30T09:59:00Z", True),  # clocks differ
        ("2026-11-30T10:29:59Z", True),
        ("2026-11-30T10:30:00Z", False),
    ],
)
def test_a_failure_of_long_ago_is_not_told(now: str, told_now: bool) -> None:
    """The event of a failure is there for an hour: a controller that starts after that would tell it again."""
    value = task_run(PULLED, WORKED, ("instep-push", 10, "Error"))
    assert RECENT.total_seconds() == 1800
    assert is_recent(value, now) is told_now
    assert (task_run_to_reconcile(value, now) == "run-build") is told_now


def test_a_task_run_without_an_end_is_not_recent() -> None:
    value = task_run(PULLED, WORKED, ("instep-push", 10, "Error"))
    del value["status"]["completionTime"]
    assert task_run_to_reconcile(value, NOW) is None
    assert task_run_to_reconcile({"metadata": {"name": "x"}, "spec": {}}, NOW) is None


def test_every_code_has_a_meaning() -> None:
    assert meaning_of(10) is MEANINGS[10]
    assert meaning_of(-1) is UNKNOWN
    assert len({meaning.title for meaning in [*MEANINGS.values(), UNKNOWN, OUT_OF_TIME]}) == len(MEANINGS) + 2
    for meaning in [*MEANINGS.values(), UNKNOWN, OUT_OF_TIME]:
        assert not meaning.text.endswith(".")
        assert len(meaning.text) < 200
