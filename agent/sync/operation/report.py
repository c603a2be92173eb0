"""The reports of a pull and of a push. Each is one JSON object of `--json` (docs/reference/json.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.core.merge.conflict import Conflict
from agent.core.spelling.path import show
from agent.store.port import Traffic


def since(now: Traffic, began: Traffic) -> Traffic:
    """Return the traffic between two counts."""
    return Traffic(now.requests - began.requests, now.received - began.received, now.sent - began.sent)


@dataclass(slots=True)
class ConflictReport:
    """Two changes that disagree about a path. `won` is the id of the change whose version is in the tree."""

    path: str
    kind: str
    ids: list[str]
    lanes: list[str]
    won: str | None = None


@dataclass(slots=True)
class PullReport:
    """The result of a pull. `written` and `removed` count paths, `bytes` is the size of the files written."""

    target: str
    digest: str | None
    frontier: list[str]
    paths: int = 0
    written: int = 0
    removed: int = 0
    unselected: int = 0
    bytes: int = 0
    layers_fetched: int = 0
    layers_skipped: int = 0
    conflicts: list[ConflictReport] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)


@dataclass(slots=True)
class PushReport:
    """The result of a push. `id` is None if there was nothing to publish; `digest` is the entry's manifest."""

    target: str
    id: str | None
    digest: str | None
    dry_run: bool = False
    paths: int = 0
    written: int = 0
    deleted: int = 0
    touched: int = 0
    layer_size: int = 0
    head_moved: bool = False
    conflicts: list[ConflictReport] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)


def conflict_reports(conflicts: Iterable[Conflict]) -> list[ConflictReport]:
    """Return conflicts as the reports show them."""
    return [
        ConflictReport(
            path=show(conflict.path),
            kind=conflict.kind,
            ids=list(conflict.ids),
            lanes=[lane or "" for lane in conflict.lanes],
            won=conflict.winner,
        )
        for conflict in conflicts
    ]
