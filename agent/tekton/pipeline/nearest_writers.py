"""The lanes that a task's pull must contain, for one workspace.

A task names the nearest writers before it, because an entry includes its past (design, "Guarantees"). A writer may not
have run (`when`, `onError: continue`), or may not push (an unknown Task may be read-only). Then the task also names the
writers before that one. Tasks of `finally` name all writers, because any of them may have run or failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WriterTask:
    """A task that writes the workspace.

    Attributes:
        lanes: its lanes; None if they are unknown before it runs (a matrix over results).
        is_sure: whether it has certainly pushed when a task after it runs.
    """

    lanes: tuple[str, ...] | None
    is_sure: bool = True


def nearest_lanes(
    waits: Mapping[str, Sequence[str]], writers: Mapping[str, WriterTask]
) -> dict[str, tuple[str, ...] | None]:
    """Return the lanes that each task of the graph names; None if they are unknown.

    Args:
        waits: the tasks in topological order, each with the tasks that it waits for.
        writers: the tasks that write the workspace.
    """
    before: dict[str, tuple[str, ...] | None] = {}

    def lanes_up_to(task: str) -> tuple[str, ...] | None:
        writer = writers.get(task)
        if writer is None:
            return before[task]
        return writer.lanes if writer.is_sure else _joined([writer.lanes, before[task]])

    for task, waited_for in waits.items():
        before[task] = _joined([lanes_up_to(name) for name in waited_for])
    return before


def all_lanes(writers: Mapping[str, WriterTask]) -> tuple[str, ...] | None:
    """Return the lanes that tasks of `finally` name; None if they are unknown."""
    return _joined([writer.lanes for writer in writers.values()])


def _joined(parts: Sequence[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    lanes: dict[str, None] = {}
    for part in parts:
        if part is None:
            return None
        lanes.update(dict.fromkeys(part))
    return tuple(lanes)
