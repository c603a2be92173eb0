"""What one task of a pipeline is to get: all that wrapping its Task needs, fit to travel in a resolver's params."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from agent.errors import UnwrappableError
from agent.tekton.model.pod_template import ANY_POD, Pod
from agent.tekton.model.variables import dump
from agent.tekton.model.wrapping import OnConflict, Settings


@dataclass(frozen=True, slots=True)
class Mount:
    """A wrapped workspace of a task.

    Attributes:
        name: the task's name for it.
        target: the image that it is kept at.
        lane: the task's, without the TaskRun.
        after: the lanes that the pull must have seen.
        sub_path: the part that the task mounts, empty for all.
        is_read_only: whether others count on it that nothing is pushed.
        is_written: whether others count on it that something is pushed, if the task runs.
        is_fresh: whether nothing can be there to pull.
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
class Plan:
    """The steps of a task.

    Attributes:
        task: its name in the pipeline.
        base: the image that workspaces start from.
        patience: the steps', None for what they have anyway.
        is_matrix: whether it has several TaskRuns, each with a lane of its own.
        timeout: of each step, empty for none.
        pod: what the run's pod template decides.
        step_result: whether the push step has a step result.
    """

    task: str
    settings: Settings
    mounts: tuple[Mount, ...]
    base: str | None = None
    on_conflict: OnConflict = "last"
    patience: str | None = None
    is_matrix: bool = False
    timeout: str = ""
    pod: Pod = ANY_POD
    step_result: bool = True


def format_plan(plan: Plan) -> str:
    """Return a plan as JSON."""
    return dump(asdict(plan))


def parse_plan(text: str) -> Plan:
    """Return the plan that `format_plan` wrote.

    Raises:
        UnwrappableError: it is none.
    """
    try:
        value = json.loads(text)
        mounts = tuple(_made(Mount, {**mount, "after": tuple(mount["after"])}) for mount in value["mounts"])
        lists = {key: tuple(value["pod"][key]) for key in ("volumes", "variables")}
        parts = {"settings": _made(Settings, value["settings"]), "pod": _made(Pod, {**value["pod"], **lists})}
        plan: Plan = _made(Plan, {**value, **parts, "mounts": mounts})
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
