"""Conflicts that a push step reports, read from a TaskRun's status, and the event about them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from agent.tekton.controlplane.conflict_event import PAGE, PushConflicts, conflict_event, push_conflicts
from agent.tekton.controlplane.event_route import task_run_to_reconcile
from agent.tekton.controlplane.failed_step import failed_step
from agent.tekton.model.push_result import PushResult, format_result, parse_result
from tests.tekton.schema import check
from tests.tekton.test_failed_step import ENDED, NOW, PULLED, PUSHED, RUN, WORKED, task_run

TEXT = (Path(__file__).parents[2] / PAGE).read_text()
CHANGE, PATHS = "3f2a1b2c3d4e", "9ab3c1d2"
FOUND = PushConflicts(2, PATHS, CHANGE, "ws", "reg.io/ws-ws:run-1")


def in_conflict(*ends: tuple[str, int, str], status: str = "True", **result: Any) -> dict[str, Any]:
    """Return a TaskRun whose push step, the last one, wrote a result."""
    value = task_run(*(ends or (PULLED, WORKED, PUSHED)))
    value["status"]["conditions"][0]["status"] = status
    written = PushResult(**{"conflicts": 2, "change": CHANGE, "workspace": 0, "paths": PATHS, **result})
    value["status"]["steps"][-1]["results"] = [{"name": "published", "type": "string", "value": format_result(written)}]
    check(value)
    return value


def test_conflicts_are_found_with_workspace_and_target() -> None:
    assert push_conflicts(in_conflict()) == FOUND


def test_conflicts_are_found_though_the_task_run_failed_by_something_else() -> None:
    """A sidecar, or Tekton itself, can end a TaskRun whose push was done."""
    value = in_conflict(status="False")
    assert failed_step(value) is None
    assert push_conflicts(value) == FOUND


def test_a_push_without_conflicts_reports_none() -> None:
    assert push_conflicts(in_conflict(conflicts=0, paths=None)) is None
    assert push_conflicts(in_conflict(conflicts=0, paths=None, change=None, workspace=None)) is None
    assert push_conflicts(task_run(PULLED, WORKED, PUSHED)) is None


def test_a_result_of_the_users_step_is_not_taken_for_ours() -> None:
    value = in_conflict(PULLED, PUSHED, ("work", 0, "Completed"))
    assert push_conflicts(value) is None
    value = in_conflict()
    value["status"]["taskSpec"]["steps"][-1]["command"] = ["theirs"]
    assert push_conflicts(value) is None


@pytest.mark.parametrize("value", ["", "{", "x" * 4000, ["a"], {"a": "b"}, None, 3])
def test_an_odd_result_is_left_alone(value: Any) -> None:
    found = in_conflict()
    found["status"]["steps"][-1]["results"][0]["value"] = value
    assert push_conflicts(found) is None


@pytest.mark.parametrize(
    "argument",
    ["", "{", "[]", "{}", '{"workspaces": 1}', '{"workspaces": [1]}', '{"workspaces": [{"name": 1}]}'],
)
def test_an_odd_argument_costs_no_more_than_the_target(argument: str) -> None:
    value = in_conflict()
    value["status"]["taskSpec"]["steps"][-1]["args"][2] = argument
    assert push_conflicts(value) == PushConflicts(2, PATHS, CHANGE)
    assert "agent log TARGET" in conflict_event(value, PushConflicts(2, PATHS, CHANGE), RUN, NOW)["message"]


def test_a_task_that_somebody_wrote_by_hand_is_understood() -> None:
    value = in_conflict(workspace=1)
    argument = '{"workspaces": [{"name": "a"}, {"name": "b", "target": "reg.io/{{workspace}}/x:y"}]}'
    value["status"]["taskSpec"]["steps"][-1] = {
        "name": "instep-push",
        "command": ["/usr/local/bin/agent", "step", "push"],
        "args": [argument],
    }
    assert push_conflicts(value) == PushConflicts(2, PATHS, CHANGE, "b", "reg.io/b/x:y")


def test_the_event_says_all_that_is_needed_to_read_on() -> None:
    found = conflict_event(in_conflict(), FOUND, RUN, NOW)
    assert (found["type"], found["reason"]) == ("Warning", "WorkspaceConflict")
    assert found["involvedObject"] == {**RUN, "namespace": "ci"}
    assert found["message"] == (
        "task build: 2 conflicts with tasks that do not run after each other: they changed the same paths, and the "
        "workspace has one version of each. The task published change 3f2a1b2c3d4e of workspace ws. "
        f"This command shows the paths: agent log reg.io/ws-ws:run-1. What to do: {PAGE}"
    )
    single = conflict_event(in_conflict(), PushConflicts(1, PATHS, CHANGE), RUN, NOW)["message"]
    assert single.startswith("task build: 1 conflict with tasks")


def test_the_page_shows_the_event_as_it_is() -> None:
    shown = re.findall(r"```text\n *Warning  WorkspaceConflict  8s  instep-controller  (.*?)```", TEXT, re.DOTALL)
    found = PushConflicts(2, PATHS, CHANGE, "source", "registry.example.com/team/source:simple-x7k2p")
    value = in_conflict()
    value["metadata"]["labels"]["tekton.dev/pipelineTask"] = "lint"
    assert [" ".join(text.split()) for text in shown] == [conflict_event(value, found, RUN, NOW)["message"]]
    results = [parse_result(line.strip()) for line in TEXT.splitlines() if line.strip().startswith('{"change"')]
    assert results == [PushResult(2, CHANGE, 0, PATHS)]


def test_a_run_has_one_event_for_each_set_of_paths() -> None:
    def name(paths: str = PATHS, task: str = "build", uid: str = "u-1", count: int = 2) -> str:
        value = in_conflict()
        value["metadata"]["labels"]["tekton.dev/pipelineTask"] = task
        found = PushConflicts(count, paths, CHANGE)
        return str(conflict_event(value, found, {**RUN, "uid": uid}, NOW)["metadata"]["name"])

    assert name() == name(task="other") == name(count=3)
    assert len({name(), name(paths="00000000"), name(uid="u-9")}) == 3


def test_a_task_run_with_conflicts_is_looked_at_when_it_has_ended() -> None:
    assert task_run_to_reconcile(in_conflict(), NOW) == "run-build"
    assert task_run_to_reconcile(in_conflict(), "2026-11-30T10:31:00Z") is None
    assert task_run_to_reconcile(task_run(PULLED, WORKED, PUSHED), NOW) is None
    running = in_conflict(status="Unknown")
    del running["status"]["completionTime"]
    assert task_run_to_reconcile(running, ENDED) is None
