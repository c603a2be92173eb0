"""Which lanes a task's pull must have seen, for one workspace.

A task names the nearest writers before it: what an entry holds includes its past (G5). A writer that may not have run
(`when`, `onError: continue`) or may have nothing to push (a Task that is not known may be read-only) is named together
with the writers before it. `finally` names all: whatever ran before it, and however that ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WriterTask:
    """A task that writes the workspace.

    Attributes:
        lanes: its lanes; None where they cannot be known before it runs (a matrix over results).
        is_sure: whether it has pushed when a task after it runs.
    """

    lanes: tuple[str, ...] | None
    is_sure: bool = True


def nearest_lanes(
    waits: Mapping[str, Sequence[str]], writers: Mapping[str, WriterTask]
) -> dict[str, tuple[str, ...] | None]:
    """Return the lanes to name for each task of the graph; None where they cannot be known.

    Args:
        waits: the tasks, each with those that it waits for, in an order that respects it.
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
    """Return the lanes that `finally` names; None where they cannot be known."""
    return _joined([writer.lanes for writer in writers.values()])


def _joined(parts: Sequence[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    lanes: dict[str, None] = {}
    for part in parts:
        if part is None:
            return None
        lanes.update(dict.fromkeys(part))
    return tuple(lanes)
