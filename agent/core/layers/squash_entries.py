"""Compute the entries of one layer in place of many, which leave merge results unchanged (design, "Squashes")."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from agent.core.merge.conflict import live_claims
from agent.core.merge.merge import Merged
from agent.core.merge.path_order import grouped
from agent.core.merge.path_state import MergeSource, PathState
from agent.core.model.change import (
    Change,
    Claim,
    Grouped,
    Kept,
    Listed,
    Squash,
    SquashEntry,
    Tombstone,
    Touched,
    ancestor,
)
from agent.core.model.entry import Context, Kind, Node, TocEntry, TreeEntry, Version, Write
from agent.core.spelling.path import ancestors, parent


class PlannedEntry(NamedTuple):
    """An entry of a squash to be written, and if it has a content, the row with the place of that content."""

    entry: SquashEntry
    row: TreeEntry | None = None


class SquashPlan:
    """A squash before its layer is written. Iterating yields its entries, in `squash_order`; each time anew.

    Attributes:
        covers: ids of the changes that it covers.
        dropped: ids of the changes that it found superseded.
        records: the records of both, by id.
    """

    def __init__(self, settled: Merged, covers: Collection[str]) -> None:
        self._settled = settled
        covered = set(covers)
        parts: set[str] = set()
        # A squash is taken whole or not at all: its entries cannot be assigned to single changes.
        while joined := [s for s in settled.squashes if s.id not in parts and not covered.isdisjoint(s.covers)]:
            parts.update(squash.id for squash in joined)
            covered.update(id_ for squash in joined for id_ in squash.covers)
        changes = [change for change in settled.changes if change.id in covered]
        squashes = [squash for squash in settled.squashes if squash.id in parts]
        self.dropped = frozenset(settled.superseded)
        self.covers = frozenset(change.id for change in changes).union(*(squash.covers for squash in squashes))
        records = settled.ancestry.records
        self.records = tuple(ancestor(records[id_]) for id_ in sorted(self.covers | self.dropped) if id_ in records)
        origins: list[Change | Squash] = [*changes, *squashes]
        self._sources = [MergeSource(origin) for origin in origins]
        taken = {origin.id for origin in origins}
        every: list[Change | Squash] = [*settled.changes, *settled.squashes]
        self._others = [origin for origin in every if origin.id not in taken]
        self._whiteouts: set[bytes] = set()
        self._placed: set[bytes] = set()
        self._find_whiteouts()

    def __iter__(self) -> Iterator[PlannedEntry]:
        for state, row in self._joined():
            yield from self._pieces(state, row)

    @property
    def has_whiteouts(self) -> bool:
        """Whether a tombstone may have a whiteout in the tar."""
        return bool(self._whiteouts)

    @property
    def _reaches_bottom(self) -> bool:
        """Whether all that its changes descend from is in the squash, so that no layer of it can lie below."""
        inside = self.covers | self.dropped
        return all(parent_ in inside for record in self.records for parent_ in record.parents)

    def _find_whiteouts(self) -> None:
        """Find which tombstones need a whiteout, and which directories the tar has to list."""
        gone: set[bytes] = set()
        listed: set[bytes] = {b""}
        for state, row in self._joined():
            kept = any(isinstance(entry, Kept) for entry, _ in self._versions(state, row))
            if kept:
                self._placed.update(ancestors(state.path))
            elif row is None:
                gone.add(state.path)
            if state.listing is not None:
                listed.add(state.path)
        gone = set() if self._reaches_bottom else self._placed_elsewhere(gone)
        if not gone:
            return
        above = {parent(path) for path in gone} & listed
        living = {row.path for row in self._settled.tree() if row.path in above and row.node.kind is Kind.DIR} | {b""}
        self._whiteouts = {path for path in gone if parent(path) in living}
        self._placed.update(ancestor for path in self._whiteouts for ancestor in ancestors(path))

    def _placed_elsewhere(self, paths: set[bytes]) -> set[bytes]:
        """Return which of `paths` another layer has: only these need a whiteout; another may show as a name."""
        found = set()
        if paths:
            for origin in self._others:
                for entry in origin.entries:
                    if entry.path in paths and _is_placed(entry):
                        found.add(entry.path)
        return found

    def _joined(self) -> Iterator[tuple[PathState, TreeEntry | None]]:
        """Yield the state of each path among the covered changes, and its row in the tree of the settled ones."""
        tree = self._settled.tree()
        row = next(tree, None)
        for path, items, _ in grouped((source, source.origin.entries) for source in self._sources):
            while row is not None and row.path < path:
                row = next(tree, None)
            state = PathState(path)
            state.read(items)
            yield state, row if row is not None and row.path == path else None

    def _pieces(self, state: PathState, row: TreeEntry | None) -> Iterator[PlannedEntry]:
        path = state.path
        pieces = list(self._versions(state, row))
        kept = next((piece.entry for piece in pieces if isinstance(piece.entry, Kept)), None)
        if path in self._whiteouts and pieces:
            first = pieces[0].entry
            if isinstance(first, Tombstone):
                pieces[0] = PlannedEntry(first._replace(whiteout=True))
        yield from (piece for piece in pieces if piece.entry is not kept)
        if state.listing is not None and (kept is None or state.listing[0] != kept.version):
            placed = kept is None and path in self._placed
            yield PlannedEntry(Listed(path, state.listing[4], state.listing[0], placed=placed))
        yield from (piece for piece in pieces if piece.entry is kept)
        for version, (of, group) in sorted(set(state.memberships)):
            yield PlannedEntry(Grouped(path, version, of, group))
        yield from _touches(state, row)
        live = live_claims(state.claims.values(), self._settled.ancestry)
        for claim in sorted(live, key=lambda claim: claim.id):
            yield PlannedEntry(Claim(path, claim.id, claim.value, claim.seen))

    def _versions(self, state: PathState, row: TreeEntry | None) -> Iterator[PlannedEntry]:
        """Yield the largest version of each register: tombstones in their order, then the visible one."""
        visible = None if row is None or row.version is None else (row.node.kind is Kind.DIR, row.version)
        found = self._largest(state)
        for version, _, kind in sorted((v, d, k) for (d, v), k in found.items() if (d, v) != visible):
            yield PlannedEntry(Tombstone(state.path, kind, version))
        linked = row is not None and any(version == row.version for version, _ in state.memberships)
        if row is not None and row.version is not None and (visible in found or linked):
            yield PlannedEntry(Kept(state.path, _own_node(state, row), row.version, group=row.group or 0), row)

    def _largest(self, state: PathState) -> dict[tuple[bool, Version], Kind]:
        """Return the largest version, dead or alive, of the path as a non-directory and as a directory.

        The keys are (is a directory, version); superseded changes do not count.
        """
        found = {}
        for is_directory, newest in ((False, state.file), (True, state.directory)):
            versions = {
                version: kind
                for (of, version), kind in state.dead.items()
                if of is is_directory and version.id not in self._settled.superseded
            }
            if newest is not None:
                versions[newest[0]] = newest[4].kind
            if versions:
                version = max(versions)
                found[is_directory, version] = versions[version]
        return found


def _own_node(state: PathState, row: TreeEntry) -> Node:
    """Return the node as the change of a row's version wrote it; a link group has one node for all names, the row's."""
    own = state.directory if row.node.kind is Kind.DIR else state.file
    return row.node if own is None or row.group is not None or own[0] != row.version else own[4]


def _is_placed(entry: TocEntry | SquashEntry) -> bool:
    return isinstance(entry, Write | Context | Kept) or (isinstance(entry, Listed) and entry.placed)


def _touches(state: PathState, row: TreeEntry | None) -> Iterator[PlannedEntry]:
    """Yield the last touch of the visible version, and of every name of a link group: all names have one mtime."""
    counting = {version for version, _ in state.memberships}
    if row is not None and row.version is not None:
        counting.add(row.version)
    last: dict[Version, tuple[Version, int]] = {}
    for version, by, mtime in state.touches:
        if version in counting:
            last[version] = max(last.get(version, (by, mtime)), (by, mtime))
    for version in sorted(last):
        by, mtime = last[version]
        yield PlannedEntry(Touched(state.path, version, mtime, by))


def squash(settled: Merged, covers: Iterable[str] | None = None) -> SquashPlan:
    """Return the plan of a squash.

    Args:
        settled: the merge of its writer's settled changes (`Ancestry.settled`), with all that they descend from.
        covers: ids of the changes to cover; None for all. Squashes that hold one of these are covered as a whole;
            superseded changes are named as dropped instead.
    """
    wanted = settled.ancestry.records if covers is None else covers
    return SquashPlan(settled, frozenset(wanted))
