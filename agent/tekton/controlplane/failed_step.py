"""The step of ours that failed in a TaskRun, from its status alone, and the event about it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from agent.exit_codes import KILLED, meaning_of
from agent.tekton.controlplane.launch_run import condition_of, controller_of
from agent.tekton.model.events import STEP_FAILED, event
from agent.tekton.model.fields import Object, mapping, named, objects, text
from agent.tekton.model.names import PULL, PUSH
from agent.tekton.wrap.steps import COMMAND

PAGE = "docs/how-to/when-a-step-fails.md"

RECENT = timedelta(minutes=30)
"""Older failures get no event. Kubernetes stores events for an hour. So a controller that restarts finds the events of
recent failures, and creates none twice."""

_IGNORED = ("Skipped", "Continued")
"""Tekton's reasons of a step that did not fail by itself, or whose failure the task ignores."""

_ENDED_BY_TEKTON = ("TaskRun", "Cancelled")
"""Prefixes of the reasons of a step that Tekton ended together with the TaskRun."""


@dataclass(frozen=True, slots=True)
class FailedStep:
    """A step of ours that failed, and ended its TaskRun by that.

    Attributes:
        name, container: the step's, and the container's in the pod.
        exit_code: the container's.
        reason: Tekton's or Kubernetes' reason of its end, such as `Error`, `OOMKilled`, `TimeoutExceeded`.
    """

    name: str
    container: str
    exit_code: int
    reason: str


def failed_step(task_run: Object) -> FailedStep | None:
    """Return the step of ours that failed first, None if none did, or if a step of the task failed before.

    The steps behind a failed one end with code 1, too, although they did not run.
    """
    if condition_of(task_run).get("status") != "False":
        return None
    status = mapping(task_run, "status", "TaskRun")
    states = objects(status, "steps", "TaskRun")
    specs = objects(mapping(status, "taskSpec", "TaskRun"), "steps", "TaskRun")
    # Pods list their containers in any order. The Task lists its steps in the order of execution.
    ordered = [state for spec in specs for state in [named(states, str(spec.get("name")))] if state] or states
    for state in ordered:
        spec = named(specs, str(state.get("name"))) or {}
        failed = _failed(state)
        if failed is not None and failed.reason not in _IGNORED and spec.get("onError") != "continue":
            is_reported = is_ours(failed.name, spec) and not failed.reason.startswith(_ENDED_BY_TEKTON)
            return failed if is_reported else None
    return None


def is_recent(task_run: Object, now: str) -> bool:
    """Return whether a TaskRun ended so recently that its failure gets an event."""
    ended = text(mapping(task_run, "status", "TaskRun"), "completionTime", "TaskRun")
    return bool(ended) and datetime.fromisoformat(now) - datetime.fromisoformat(ended) < RECENT


def step_failed(task_run: Object, failed: FailedStep, run: Object, now: str) -> dict[str, Any]:
    """Return the event about a failed step.

    All members of a matrix and all attempts that fail in the same way have the same event name. So a run gets one event
    for each task and exit code.

    Args:
        run: a reference to the object that gets the event: the TaskRun's owner, an owner of that, or itself.
        now: the time, RFC 3339.
    """
    meta = mapping(task_run, "metadata", "TaskRun")
    namespace = text(meta, "namespace", "TaskRun")
    task = task_of(task_run)
    pod = text(mapping(task_run, "status", "TaskRun"), "podName", "TaskRun")
    owner = controller_of(task_run).get("name")
    identity = json.dumps([run.get("uid"), owner, task, failed.name, failed.exit_code, failed.reason])
    how = "" if failed.reason in ("", "Error") else f" ({failed.reason})"
    message = (
        f"task {task}: step {failed.name} ended with exit code {failed.exit_code}{how}: "
        f"{meaning_of(failed.exit_code, failed.reason).text}. "
        f"The last line of its log says what and why: kubectl -n {namespace} logs {pod} -c {failed.container}. "
        f"Causes and cures: {PAGE}"
    )
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return event(f"{str(run.get('name'))[:200]}.{digest}", namespace, run, STEP_FAILED, message, now)


def task_of(task_run: Object) -> str:
    """Return the name of the pipeline's task that a TaskRun runs, the TaskRun's own name without a pipeline."""
    meta = mapping(task_run, "metadata", "TaskRun")
    label = text(mapping(meta, "labels", "TaskRun"), "tekton.dev/pipelineTask", "TaskRun")
    return label or text(meta, "name", "TaskRun")


def _failed(state: Object) -> FailedStep | None:
    name = text(state, "name", "step")
    terminated = mapping(state, "terminated", "step")
    reason = text(state, "terminationReason", "step") or text(terminated, "reason", "step")
    code = terminated.get("exitCode") or (KILLED if reason == "OOMKilled" else 0)
    container = text(state, "container", "step") or f"step-{name}"
    return FailedStep(name, container, code, reason) if code else None


def is_ours(name: str, spec: Object) -> bool:
    """Return whether a step is the agent's, added by wrapping or by the Task's author (docs/reference/steps.md)."""
    command = [*spec.get("command", ()), *spec.get("args", ())]
    return command[:2] == [*COMMAND, "step"] if command else name.startswith((PULL, PUSH))
