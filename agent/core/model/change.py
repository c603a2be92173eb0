"""A change with its entries, and a squash of many changes with its own (design, "Changes" and "Merge")."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from agent.core.model.attempts_and_ancestry import Recorded
from agent.core.model.entry import Kind, Node, Seen, TocEntry, Version
from agent.core.model.pod import Pod


class Ancestor(NamedTuple):
    """The part of a change that remains when its layer is gone: enough for ancestry, superseding and reports.

    A `Change` has the same six attributes, so either serves wherever only the past matters.
    """

    id: str
    stamp: int
    parents: tuple[str, ...]
    lane: str | None = None
    attempt: int | None = None
    pod: Pod | None = None


def ancestor(record: Recorded) -> Ancestor:
    """Return the part of a change that its descendants need."""
    return Ancestor(record.id, record.stamp, tuple(record.parents), record.lane, record.attempt, record.pod)


@dataclass(frozen=True, eq=False)
class Change:
    """The result of one push, or a base.

    Attributes:
        id: the change's id. Opaque here, compared bytewise.
        stamp: hybrid logical clock, ns; 0 for a base.
        parents: ids of the newest changes on the writer's disk when it started.
        entries: its table of contents in `toc_order`. Iterated more than once and never held as a whole, so it
            may parse as it goes.
        layer: diff_id of the layer that holds its contents.
        lane: the writer, None for a base.
        attempt: the retry within the lane, None where there is none.
        pod: the pod within the attempt, None where there is none.
    """

    id: str
    stamp: int
    parents: tuple[str, ...]
    entries: Iterable[TocEntry]
    layer: str = ""
    lane: str | None = None
    attempt: int | None = None
    pod: Pod | None = None

    @property
    def version(self) -> Version:
        """The version of every path that the change wrote."""
        return Version(self.stamp, self.id)


class Kept(NamedTuple):
    """A squash holds the content of `version` at `path`.

    `offset` and `group` as in `Write`, but the group is only about the layer's tar, which holds the content once:
    `Grouped` has the link groups for the merge.
    """

    path: bytes
    node: Node
    version: Version
    offset: int = 0
    group: int = 0


class Grouped(NamedTuple):
    """The covered change `of` recorded `version` at `path` in its link group `group`."""

    path: bytes
    version: Version
    of: str
    group: int


class Tombstone(NamedTuple):
    """`version`, of kind `kind`, is the largest of the squash at `path`, and it is not visible.

    `whiteout` says that the layer's tar holds a whiteout for exactly this path.
    """

    path: bytes
    kind: Kind
    version: Version
    whiteout: bool = False


class Touched(NamedTuple):
    """The change `by` gave `version` at `path` this `mtime` (ns)."""

    path: bytes
    version: Version
    mtime: int
    by: Version


class Listed(NamedTuple):
    """The newest listing of a directory among the covered changes, and the version of its change.

    `placed` is true if the layer's tar holds it, at `offset`: because a path below it is there, too.
    """

    path: bytes
    node: Node
    by: Version
    offset: int = 0
    placed: bool = False


class Claim(NamedTuple):
    """A live claim of a covered change: `value` as `claim_value` makes it, None for a deletion."""

    path: bytes
    of: str
    value: Node | None
    seen: Seen


SquashEntry: TypeAlias = Kept | Grouped | Tombstone | Touched | Listed | Claim
_RANK: dict[type, int] = {Tombstone: 0, Kept: 2, Grouped: 3, Touched: 4}


def squash_order(entry: SquashEntry) -> tuple[bytes, int, Version, str]:
    """Sort key of a squash's table of contents: bytes order of paths, then one fixed order of the rest."""
    if isinstance(entry, Claim):
        return entry.path, 5, _NONE, entry.of
    if isinstance(entry, Listed):
        return entry.path, 1, entry.by, ""
    return entry.path, _RANK[type(entry)], entry.version, entry.of if isinstance(entry, Grouped) else ""


_NONE = Version(0, "")


@dataclass(frozen=True, eq=False)
class Squash:
    """One layer in place of those of the changes `covers` (design, "Merge").

    Attributes:
        id: opaque, compared bytewise.
        covers: ids of the changes whose effect is in it.
        dropped: ids of the changes that its writer found superseded.
        records: the records of both.
        entries: in `squash_order`; iterated more than once, may parse as it goes.
        layer: diff_id of its layer.
    """

    id: str
    covers: frozenset[str]
    dropped: frozenset[str]
    records: tuple[Ancestor, ...]
    entries: Iterable[SquashEntry]
    layer: str = ""


def claim_value(node: Node) -> Node:
    """Return the part of `node` that can conflict.

    Type, mode, content, link target, device and xattrs; of a directory its type.

    Times and owners never conflict.
    """
    if node.kind is Kind.DIR:
        return _DIRECTORY
    return Node(node.kind, node.mode, sha256=node.sha256, target=node.target, device=node.device, xattrs=node.xattrs)


_DIRECTORY = Node(Kind.DIR, 0)
