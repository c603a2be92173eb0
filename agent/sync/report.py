"""What an operation did. Each report is one JSON object of `--json`: its fields are documented in docs/json.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from agent.store.port import Traffic


def since(now: Traffic, began: Traffic) -> Traffic:
    """Return what moved between two counts."""
    return Traffic(now.requests - began.requests, now.received - began.received, now.sent - began.sent)


@dataclass(slots=True)
class ConflictReport:
    """Two changes that disagree about a path. `won` is the id of the change whose version stands."""

    path: str
    kind: str
    ids: list[str]
    lanes: list[str]
    won: str | None = None


@dataclass(slots=True)
class PullReport:
    """What a pull did. `written` and `removed` count paths, `bytes` is the size of the files written."""

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
    """What a push did. `id` is None where there was nothing to publish; `digest` is the entry's manifest."""

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


Mark = Literal["added", "changed", "deleted", "touched"]


@dataclass(slots=True)
class Difference:
    """One path that differs. `kind` is what stands there now (of a deletion: what stood there).

    `details` names what differs of a changed path: content, type, mode, owner, mtime, xattrs, target, links.
    """

    mark: Mark
    path: bytes
    kind: str
    size: int = 0
    details: tuple[str, ...] = ()


@dataclass(slots=True)
class StatusReport:
    """How a directory differs from what was pulled or pushed last."""

    target: str
    frontier: list[str]
    differences: list[Difference]
    sparse: list[str] = field(default_factory=list)
    interrupted: bool = False


@dataclass(slots=True)
class LogEntry:
    """One change of a workspace. `stamp` is ns since 1970; sizes in bytes.

    `squash` is the id of the squash that stands for it: `layer` and `size` are those of the squash then, and what the
    change alone did is not counted.

    `superseded` says that a later attempt of its lane replaces it, so that it has no effect.
    """

    id: str
    stamp: int
    lane: str
    attempt: int | None
    parents: list[str]
    message: str
    base: str | None
    layer: str
    size: int
    written: int | None = 0
    deleted: int | None = 0
    touched: int | None = 0
    annotations: dict[str, str] = field(default_factory=dict)
    superseded: bool = False
    squash: str | None = None


@dataclass(slots=True)
class Log:
    """The changes of a workspace, newest first, and where they disagree: how often, and the first of the conflicts."""

    changes: list[LogEntry]
    conflict_count: int = 0
    conflicts: list[ConflictReport] = field(default_factory=list)


@dataclass(slots=True)
class ListedPath:
    """One path of a workspace image."""

    path: bytes
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    target: bytes
    change: str | None
    group: int | None


@dataclass(slots=True)
class SquashReport:
    """What a squash did. `id` is None where there was nothing to squash; `layers` counts head's, base included."""

    target: str
    id: str | None
    covered: int = 0
    layers_before: int = 0
    layers: int = 0
    layer_size: int = 0
    checkpoint: str | None = None
    head_moved: bool = False
    traffic: Traffic = field(default_factory=Traffic)


@dataclass(slots=True)
class PruneReport:
    """What a prune did: how many tags were deleted, or would be. `kept` counts entries that are still needed or young.

    `refused` counts what the registry did not delete.
    """

    target: str
    dry_run: bool = False
    checkpoint: str | None = None
    entries: int = 0
    checkpoints: int = 0
    head: bool = False
    kept: int = 0
    refused: int = 0
    traffic: Traffic = field(default_factory=Traffic)
