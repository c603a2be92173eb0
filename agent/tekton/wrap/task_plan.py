"""The plan for one task of a pipeline: all input that wrapping its Task needs, encoded in a resolver's params."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from agent.errors import UnwrappableError
from agent.tekton.model.pod_template import NO_POD_TEMPLATE, PodTemplate
from agent.tekton.model.variables import dump
from agent.tekton.model.wrapping import OnConflict, Settings


@dataclass(frozen=True, slots=True)
class WorkspaceMount:
    """A wrapped workspace of a task.

    Attributes:
        name: its name in the task.
        target: the image that holds it.
        lane: the task's lane, without the name of the TaskRun.
        after: the lanes that the pull must have seen.
        sub_path: the directory that the task mounts, empty for all.
        is_read_only: whether the lineage of other tasks assumes that the task does not push.
        is_written: whether the lineage of other tasks assumes that the task pushes if it runs.
        is_fresh: whether the target is certainly empty before the task.
    """

    name: str
    target: str
    lane: str
    after: tuple[str, ...] = ()
    sub_path: str = ""
    is_read_only: bool = False
    is_written: bool = False
    is_fresh: bool = False


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """The plan for the steps of a task.

    Attributes:
        task: its name in the pipeline.
        base: the image that workspaces start from.
        patience: how long the steps retry, None for their default.
        is_matrix: whether it has several TaskRuns, each with a lane of its own.
        timeout: of each step, empty for none.
        pod: the pod template of the run.
        step_result: whether the push step has a step result.
    """

    task: str
    settings: Settings
    mounts: tuple[WorkspaceMount, ...]
    base: str | None = None
    on_conflict: OnConflict = "last"
    patience: str | None = None
    is_matrix: bool = False
    timeout: str = ""
    pod: PodTemplate = NO_POD_TEMPLATE
    step_result: bool = True


def format_plan(plan: TaskPlan) -> str:
    """Return a plan as JSON."""
    return dump(asdict(plan))


def parse_plan(text: str) -> TaskPlan:
    """Return the plan that `format_plan` wrote.

    Raises:
        UnwrappableError: the text is not a plan.
    """
    try:
        value = json.loads(text)
        mounts = tuple(_made(WorkspaceMount, {**mount, "after": tuple(mount["after"])}) for mount in value["mounts"])
        lists = {key: tuple(value["pod"][key]) for key in ("volumes", "variables")}
        parts = {"settings": _made(Settings, value["settings"]), "pod": _made(PodTemplate, {**value["pod"], **lists})}
        plan: TaskPlan = _made(TaskPlan, {**value, **parts, "mounts": mounts})
        return plan
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnwrappableError(
            "it is not what wrapping a Pipeline puts there",
            subject="the resolver's parameter plan",
            remedy="leave the parameters of kind task to the resolver, and ask for the Pipeline",
        ) from error


def _made(kind: Any, value: Mapping[str, Any]) -> Any:
    if set(value) != {field.name for field in fields(kind)}:
        raise ValueError
    return kind(**value)
