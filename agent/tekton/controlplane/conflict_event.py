"""Conflicts that a push step reports by its step result, read from a TaskRun's status, and the event about them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agent.tekton.controlplane.failed_step import is_ours, task_of
from agent.tekton.model.events import WORKSPACE_CONFLICT, event
from agent.tekton.model.fields import Object, mapping, named, objects, text
from agent.tekton.model.push_result import NAME, parse_result

PAGE = "docs/explanation/parallel-tasks.md"


@dataclass(frozen=True, slots=True)
class PushConflicts:
    """The conflicts of what a task published.

    Attributes:
        count: the number of conflicts in all workspaces of the task.
        paths: a digest of the paths in conflict, with their targets.
        change: the first digits of the id of a change that takes part.
        workspace, target: the workspace of that change and its image; empty if the step's argument does not say it.
    """

    count: int
    paths: str
    change: str
    workspace: str = ""
    target: str = ""


def push_conflicts(task_run: Object) -> PushConflicts | None:
    """Return the conflicts that the push step of a TaskRun reports, None if it reports none.

    Tekton writes the results of steps into the status when the TaskRun has ended.
    """
    status = mapping(task_run, "status", "TaskRun")
    specs = objects(mapping(status, "taskSpec", "TaskRun"), "steps", "TaskRun")
    for state in objects(status, "steps", "TaskRun"):
        name = text(state, "name", "step")
        spec = named(specs, name) or {}
        value = (named(objects(state, "results", "step"), NAME) or {}).get("value")
        result = parse_result(value) if isinstance(value, str) and is_ours(name, spec) else None
        if result is not None and result.paths is not None and result.change is not None:
            workspace, target = _workspace(spec, result.workspace)
            return PushConflicts(result.conflicts, result.paths, result.change, workspace, target)
    return None


def conflict_event(task_run: Object, found: PushConflicts, run: Object, now: str) -> dict[str, Any]:
    """Return the event about conflicts.

    All tasks that report the same paths have the same event name. So a run gets one event for each set of paths.

    Args:
        run: the TaskRun's owner, an owner of that, or itself, as a reference.
        now: the time, RFC 3339.
    """
    namespace = text(mapping(task_run, "metadata", "TaskRun"), "namespace", "TaskRun")
    noun = "1 conflict" if found.count == 1 else f"{found.count} conflicts"
    place = f" of workspace {found.workspace}" if found.workspace else ""
    command = f"agent log {found.target or 'TARGET'}"
    message = (
        f"task {task_of(task_run)}: {noun} with tasks that do not run after each other: they changed the same paths, "
        f"and the workspace has one version of each. The task published change {found.change}{place}. "
        f"This command shows the paths: {command}. What to do: {PAGE}"
    )
    digest = hashlib.sha256(json.dumps([run.get("uid"), WORKSPACE_CONFLICT, found.paths]).encode()).hexdigest()[:16]
    return event(f"{str(run.get('name'))[:200]}.{digest}", namespace, run, WORKSPACE_CONFLICT, message, now)


def _workspace(spec: Object, index: int | None) -> tuple[str, str]:
    """Return name and target of a workspace in a step's argument, empty if they are not there."""
    for word in spec.get("args") or ():
        for number, workspace in enumerate(_workspaces(word)):
            name, target = workspace.get("name"), workspace.get("target")
            if number == index and isinstance(name, str) and isinstance(target, str):
                return name, target.replace("{{workspace}}", name)
    return "", ""


def _workspaces(word: object) -> Iterator[Object]:
    try:
        argument = json.loads(word) if isinstance(word, str) else None
    except (ValueError, RecursionError):
        return
    found = argument.get("workspaces") if isinstance(argument, dict) else None
    if isinstance(found, list):
        yield from (workspace if isinstance(workspace, dict) else {} for workspace in found)
