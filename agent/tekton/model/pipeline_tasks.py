"""The tasks of a pipeline, in its two lists `tasks` and `finally`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.tekton.model.fields import Object, objects

GROUPS = ("tasks", "finally")


def tasks_of(spec: Object, where: str) -> list[Object]:
    """Return all tasks of a pipeline's spec, those of `finally` last.

    Raises:
        UnwrappableError: a list has another type than Tekton's.
    """
    return [task for group in GROUPS for task in objects(spec, group, where)]


def change_tasks(spec: Object, change: Callable[[Object], Object], where: str) -> dict[str, Any]:
    """Return a pipeline's spec with `change` applied to every task.

    Raises:
        UnwrappableError: a list has another type than Tekton's.
    """
    groups = {group: [change(task) for task in objects(spec, group, where)] for group in GROUPS if group in spec}
    return {**spec, **groups}


def is_custom(part: Object) -> bool:
    """Return whether a `taskRef` or `taskSpec` is that of a custom task: it has apiVersion and kind."""
    return bool(part.get("apiVersion") and part.get("kind"))
