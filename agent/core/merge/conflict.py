"""Which concurrent claims at a path disagree, and how (design, "Claims and conflicts")."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from enum import StrEnum
from itertools import combinations
from typing import NamedTuple

from agent.core.model.attempts_and_ancestry import Ancestry
from agent.core.model.entry import UNPULLED, Kind, Node, Seen, Version


class ConflictKind(StrEnum):
    """How claims disagree."""

    BASE = "base"
    CONTENT = "content"
    DELETE = "delete"
    HIDDEN = "hidden"
    TYPE = "type"


class Conflict(NamedTuple):
    """Concurrent changes disagree about `path`.

    Attributes:
        path: where; `b""` for two bases that differ.
        kind: how.
        ids: the changes that disagree, sorted.
        lanes: their lanes, in the same order; None for a base or a writer without one.
        winner: the change whose version is visible at the path, or hides it; None if there is none.
    """

    path: bytes
    kind: ConflictKind
    ids: tuple[str, ...]
    lanes: tuple[str | None, ...] = ()
    winner: str | None = None


class ChangeClaim(NamedTuple):
    """The claim of one change at a path: `value` as `claim_value` makes it, None for a deletion."""

    id: str
    value: Node | None
    seen: Seen


class PathOutcome(NamedTuple):
    """The result of a path, as far as conflicts depend on it.

    `file` and `directory` are the largest versions of the two registers; `rivals` the versions of other paths'
    registers that can hide the file or (those `above`) both; `visible` the version that is visible, if any.
    """

    file: Version | None
    directory: Version | None
    above: tuple[Version, ...]
    below: Collection[Version]
    visible: Version | None


def live_claims(claims: Collection[ChangeClaim], ancestry: Ancestry) -> list[ChangeClaim]:
    """Return the claims at one path that no other of them settles (design, "Merge")."""
    if len(claims) < 2:
        return list(claims)
    return [claim for claim in claims if not any(_settles(later, claim.id, ancestry) for later in claims)]


def _settles(later: ChangeClaim, earlier: str, ancestry: Ancestry) -> bool:
    if later.seen == UNPULLED:
        return False
    if isinstance(later.seen, Version) and later.seen.id == earlier:
        return True
    return ancestry.precedes(earlier, later.id)


class ConflictCollector:
    """Collects conflicts while a merge goes through the paths."""

    def __init__(self, ancestry: Ancestry, superseded: Collection[str]) -> None:
        self._ancestry = ancestry
        self._superseded = superseded
        self._found: dict[tuple[bytes, ConflictKind], set[str]] = defaultdict(set)
        self._winner: dict[tuple[bytes, ConflictKind], str | None] = {}

    def collect(self, path: bytes, claims: Collection[ChangeClaim], ground: PathOutcome) -> None:
        """Add the conflicts among `claims`, which are all that effective changes claim at `path`."""
        live = live_claims(claims, self._ancestry)
        winner = ground.visible.id if ground.visible else None
        paired = set()
        for one, other in combinations(live, 2):
            kind = _disagreement(one.value, other.value)
            if kind is not None:
                paired.add(frozenset((one.id, other.id)))
                self._note(path, kind, (one.id, other.id), winner)
        for claim in live:
            if claim.value is not None:
                self._collect_hidden(path, claim, ground, paired)
            elif isinstance(claim.seen, Version) and claim.seen.id in self._superseded and winner is not None:
                self._note(path, ConflictKind.DELETE, (claim.id, winner), winner)

    def conflicts(self) -> tuple[Conflict, ...]:
        """Return the conflicts, one for each path and kind, sorted by these."""
        return tuple(self._conflict(*key) for key in sorted(self._found))

    def _conflict(self, path: bytes, kind: ConflictKind) -> Conflict:
        ids = tuple(sorted(self._found[path, kind]))
        records = self._ancestry.records
        lanes = tuple(records[id_].lane if id_ in records else None for id_ in ids)
        return Conflict(path, kind, ids, lanes, self._winner[path, kind])

    def _collect_hidden(
        self, path: bytes, claim: ChangeClaim, ground: PathOutcome, paired: set[frozenset[str]]
    ) -> None:
        is_directory = claim.value is not None and claim.value.kind is Kind.DIR
        own, other = (ground.directory, ground.file) if is_directory else (ground.file, ground.directory)
        if own is None or own.id != claim.id:
            return
        rivals = [*ground.above, *(() if is_directory else ground.below), *((other,) if other else ())]
        unseen = [
            rival
            for rival in rivals
            if rival > own and rival.id != claim.id and not self._ancestry.precedes(claim.id, rival.id)
        ]
        if unseen:
            rival = max(unseen)
            if frozenset((claim.id, rival.id)) not in paired:
                self._note(path, ConflictKind.HIDDEN, (claim.id, rival.id), rival.id)

    def _note(self, path: bytes, kind: ConflictKind, ids: Iterable[str], winner: str | None) -> None:
        ids = tuple(ids)
        if all(self._is_base(id_) for id_ in ids):
            path, kind, winner = b"", ConflictKind.BASE, max(ids)
        key = (path, kind)
        self._found[key].update(ids)
        self._winner[key] = winner

    def _is_base(self, id_: str) -> bool:
        record = self._ancestry.records.get(id_)
        return record is not None and record.stamp == 0


def _disagreement(one: Node | None, other: Node | None) -> ConflictKind | None:
    if one == other:
        return None
    if one is None or other is None:
        written = one or other
        return ConflictKind.DELETE if written is not None and written.kind is not Kind.DIR else None
    if Kind.DIR in (one.kind, other.kind):
        return ConflictKind.TYPE
    return ConflictKind.CONTENT
