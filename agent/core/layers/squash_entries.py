"""One layer in place of many: what it has to say so that no merge can tell (design, "Squashes")."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from agent.core.merge.conflict import live_claims
from agent.core.merge.merge import Merged
from agent.core.merge.path_order import grouped
from agent.core.merge.path_state import Source, Spot
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
from agent.core.model.entry import Context, Kind, TocEntry, TreeEntry, Version, Write
from agent.core.spelling.path import ancestors, parent


class Piece(NamedTuple):
    """An entry of a squash to be written, and for what is kept the row that says where its content lies now."""

    entry: SquashEntry
    row: TreeEntry | None = None


class SquashPlan:
    """A squash before its layer is written. Iterating gives its pieces, in `squash_order`; each time anew.

    Attributes:
        covers: ids of the changes it stands for.
        dropped: ids of the changes that it found superseded.
        records: the records of both, by id.
    """

    def __init__(self, settled: Merged, covers: Collection[str]) -> None:
        self._settled = settled
        covered = set(covers)
        parts: set[str] = set()
        # A squash is taken whole or not at all: what it says cannot be told apart by change.
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
        self._sources = [Source(origin) for origin in origins]
        taken = {origin.id for origin in origins}
        every: list[Change | Squash] = [*settled.changes, *settled.squashes]
        self._others = [origin for origin in every if origin.id not in taken]
        self._whiteouts: set[bytes] = set()
        self._placed: set[bytes] = set()
        self._look_ahead()

    def __iter__(self) -> Iterator[Piece]:
        for spot, row in self._joined():
            yield from self._pieces(spot, row)

    @property
    def has_whiteouts(self) -> bool:
        """Whether a tombstone may have a whiteout in the tar."""
        return bool(self._whiteouts)

    @property
    def _reaches_down(self) -> bool:
        """Whether no layer can lie below the squash that its changes knew of."""
        inside = self.covers | self.dropped
        return all(parent_ in inside for record in self.records for parent_ in record.parents)

    def _look_ahead(self) -> None:
        """Find which tombstones need a whiteout, and which directories the tar has to list."""
        gone: set[bytes] = set()
        listed: set[bytes] = {b""}
        for spot, row in self._joined():
            kept = any(isinstance(entry, Kept) for entry, _ in self._versions(spot, row))
            if kept:
                self._placed.update(ancestors(spot.path))
            elif row is None:
                gone.add(spot.path)
            if spot.listing is not None:
                listed.add(spot.path)
        gone = set() if self._reaches_down else self._placed_elsewhere(gone)
        if not gone:
            return
        above = {parent(path) for path in gone} & listed
        living = {row.path for row in self._settled.tree() if row.path in above and row.node.kind is Kind.DIR} | {b""}
        self._whiteouts = {path for path in gone if parent(path) in living}
        self._placed.update(ancestor for path in self._whiteouts for ancestor in ancestors(path))

    def _placed_elsewhere(self, paths: set[bytes]) -> set[bytes]:
        """Return which of `paths` another layer has: only these need a whiteout, which else shows as a dead name."""
        found = set()
        if paths:
            for origin in self._others:
                for entry in origin.entries:
                    if entry.path in paths and _is_placed(entry):
                        found.add(entry.path)
        return found

    def _joined(self) -> Iterator[tuple[Spot, TreeEntry | None]]:
        """Yield what the covered changes say of each path, and what stands there among the settled ones."""
        tree = self._settled.tree()
        row = next(tree, None)
        for path, items, _ in grouped((source, source.origin.entries) for source in self._sources):
            while row is not None and row.path < path:
                row = next(tree, None)
            spot = Spot(path)
            spot.read(items)
            yield spot, row if row is not None and row.path == path else None

    def _pieces(self, spot: Spot, row: TreeEntry | None) -> Iterator[Piece]:
        path = spot.path
        pieces = list(self._versions(spot, row))
        kept = next((piece.entry for piece in pieces if isinstance(piece.entry, Kept)), None)
        if path in self._whiteouts and pieces:
            first = pieces[0].entry
            if isinstance(first, Tombstone):
                pieces[0] = Piece(first._replace(whiteout=True))
        yield from (piece for piece in pieces if piece.entry is not kept)
        if spot.listing is not None and (kept is None or spot.listing[0] != kept.version):
            placed = kept is None and path in self._placed
            yield Piece(Listed(path, spot.listing[4], spot.listing[0], placed=placed))
        yield from (piece for piece in pieces if piece.entry is kept)
        for version, (of, group) in sorted(set(spot.linked)):
            yield Piece(Grouped(path, version, of, group))
        yield from _touches(spot, row)
        live = live_claims(spot.claims.values(), self._settled.ancestry)
        for claim in sorted(live, key=lambda claim: claim.id):
            yield Piece(Claim(path, claim.id, claim.value, claim.seen))

    def _versions(self, spot: Spot, row: TreeEntry | None) -> Iterator[Piece]:
        """Yield the largest version of each register: tombstones in their order, then what is kept."""
        stands = None if row is None or row.version is None else (row.node.kind is Kind.DIR, row.version)
        found = {}
        for is_directory, newest in ((False, spot.file), (True, spot.directory)):
            versions = {
                version: kind
                for (of, version), kind in spot.dead.items()
                if of is is_directory and version.id not in self._settled.superseded
            }
            if newest is not None:
                versions[newest[0]] = newest[4].kind
            if versions:
                version = max(versions)
                found[is_directory, version] = versions[version]
        for version, _, kind in sorted((v, d, k) for (d, v), k in found.items() if (d, v) != stands):
            yield Piece(Tombstone(spot.path, kind, version))
        linked = row is not None and any(version == row.version for version, _ in spot.linked)
        if row is not None and row.version is not None and (stands in found or linked):
            own = spot.directory if row.node.kind is Kind.DIR else spot.file
            node = row.node if own is None or row.group is not None or own[0] != row.version else own[4]
            yield Piece(Kept(spot.path, node, row.version, group=row.group or 0), row)


def _is_placed(entry: TocEntry | SquashEntry) -> bool:
    return isinstance(entry, Write | Context | Kept) or (isinstance(entry, Listed) and entry.placed)


def _touches(spot: Spot, row: TreeEntry | None) -> Iterator[Piece]:
    """Yield the last touch of what stands, and of every name of a link group: these have one mtime, whatever stands."""
    counting = {version for version, _ in spot.linked}
    if row is not None and row.version is not None:
        counting.add(row.version)
    last: dict[Version, tuple[Version, int]] = {}
    for version, by, mtime in spot.touches:
        if version in counting:
            last[version] = max(last.get(version, (by, mtime)), (by, mtime))
    for version in sorted(last):
        by, mtime = last[version]
        yield Piece(Touched(spot.path, version, mtime, by))


def squash(settled: Merged, covers: Iterable[str] | None = None) -> SquashPlan:
    """Return the plan of a squash.

    Args:
        settled: the merge of its writer's settled changes (`Ancestry.settled`), with all that they descend from.
        covers: which of them it shall stand for; None for all. Squashes that hold one of these are taken in whole,
            superseded changes are named as dropped instead.
    """
    wanted = settled.ancestry.records if covers is None else covers
    return SquashPlan(settled, frozenset(wanted))
