"""How long one of the agent's steps may take: an hour, or what is asked for, and always less than its task."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from agent.errors import UsageError

_UNITS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1, "us": 0.001, "µs": 0.001, "ns": 0.000_001}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|m|us|µs|ns|s)")

DEFAULT = "1h"
"""As long as Tekton gives a whole task unless it is told otherwise (`default-timeout-minutes`)."""

_TASK = 3_600_000
_SHARE = 0.9
"""Of the task's time. Tekton then names the step that hangs, and not the task."""


def parse_duration(text: str) -> float | None:
    """Return the milliseconds of a duration as Go and Tekton write it, such as `1h30m`; None if it is none."""
    if text == "0":
        return 0
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def check_timeout(text: str, subject: str) -> str:
    """Return the timeout that somebody asks for.

    Raises:
        UsageError: it is no duration.
    """
    if parse_duration(text) is None:
        raise UsageError(
            f"it is {text}", subject=subject, remedy="write a duration such as 30m or 1h30m, or 0 for none"
        )
    return text


def format_duration(milliseconds: float) -> str:
    """Return a duration as Go writes it, in the largest unit that needs no fraction."""
    whole = int(milliseconds)
    unit = next(unit for unit in ("h", "m", "s", "ms") if whole % _UNITS[unit] == 0)
    return f"{whole // int(_UNITS[unit])}{unit}"


def step_timeout(wanted: str, own: str, around: Sequence[str]) -> str:
    """Return the timeout of a step, empty for none.

    Args:
        wanted: what is asked for; `0` for none.
        own: what the task was given for itself, empty for nothing: then it is Tekton's default.
        around: the timeouts of what the task is a part of, empty where there is none.
    """
    asked = parse_duration(wanted)
    if not asked:
        return ""
    limits = [parse_duration(text) for text in (own or DEFAULT, *around)]
    return format_duration(min([asked, *(limit * _SHARE for limit in limits if limit)]))


def group_timeout(timeouts: Mapping[str, str], group: str) -> str:
    """Return how long the tasks of a group may take in all, empty if nothing says so (tekton: TasksTimeout).

    Args:
        timeouts: a PipelineRun's, by `pipeline`, `tasks` and `finally`.
        group: `tasks` or `finally`.
    """
    if timeouts.get(group):
        return timeouts[group]
    other = "finally" if group == "tasks" else "tasks"
    whole, rest = (parse_duration(timeouts.get(name, "")) for name in ("pipeline", other))
    return format_duration(whole - rest) if whole and rest and whole > rest else ""


def task_timeout(given: str, group: str) -> str:
    """Return what a TaskRun is given for itself, empty for Tekton's default (tekton: pipelineRunTimeout).

    Args:
        given: by the pipeline or the run, for this task.
        group: of its group.
    """
    whole = parse_duration(group)
    return given or (group if whole == 0 or (whole or 0) > _TASK else "")
