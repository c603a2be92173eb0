"""The timeouts of the agent's steps: an hour or the option `step-timeout`, and always less than the task's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from agent.errors import UsageError

_UNITS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1, "us": 0.001, "µs": 0.001, "ns": 0.000_001}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|m|us|µs|ns|s)")

DEFAULT = "1h"
"""The same as Tekton's default timeout of a task (`default-timeout-minutes`)."""

_TASK = 3_600_000
_SHARE = 0.9
"""The share of the task's timeout. It is less than 1, so that Tekton reports the step that hangs, not the task."""


def parse_duration(text: str) -> float | None:
    """Return the milliseconds of a duration of Go, such as `1h30m`; None if the text is not a duration."""
    if text == "0":
        return 0
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def check_timeout(text: str, subject: str) -> str:
    """Return a timeout of the user, checked.

    Raises:
        UsageError: the text is not a duration.
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
        wanted: the option; `0` for none.
        own: the task's own timeout, empty for Tekton's default.
        around: the timeouts of the group and the run that the task belongs to; empty for none.
    """
    asked = parse_duration(wanted)
    if not asked:
        return ""
    limits = [parse_duration(text) for text in (own or DEFAULT, *around)]
    return format_duration(min([asked, *(limit * _SHARE for limit in limits if limit)]))


def group_timeout(timeouts: Mapping[str, str], group: str) -> str:
    """Return the timeout of all tasks of a group together, empty for none (tekton: TasksTimeout).

    Args:
        timeouts: those of a PipelineRun, by `pipeline`, `tasks` and `finally`.
        group: `tasks` or `finally`.
    """
    if timeouts.get(group):
        return timeouts[group]
    other = "finally" if group == "tasks" else "tasks"
    whole, rest = (parse_duration(timeouts.get(name, "")) for name in ("pipeline", other))
    return format_duration(whole - rest) if whole and rest and whole > rest else ""


def task_timeout(given: str, group: str) -> str:
    """Return the timeout that Tekton sets on a TaskRun, empty for Tekton's default (tekton: pipelineRunTimeout).

    Args:
        given: the timeout of this task in the pipeline or the run.
        group: the timeout of its group.
    """
    whole = parse_duration(group)
    return given or (group if whole == 0 or (whole or 0) > _TASK else "")
