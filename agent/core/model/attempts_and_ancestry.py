"""The ancestry of changes, and the changes that a later attempt supersedes (design, "Changes" and "Merge")."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import NamedTuple, Protocol

from agent.core.model.pod import Pod
from agent.errors import IntegrityError


class Recorded(Protocol):
    """The attributes that ancestry needs, of a `Record`, a `Change` or an `Ancestor`."""

    @property
    def id(self) -> str:
        """The change's id."""

    @property
    def stamp(self) -> int:
        """Its hybrid logical clock, ns."""

    @property
    def parents(self) -> tuple[str, ...]:
        """Ids of its parents."""

    @property
    def lane(self) -> str | None:
        """Its writer."""

    @property
    def attempt(self) -> int | None:
        """The retry within the lane."""

    @property
    def pod(self) -> Pod | None:
        """The pod within the attempt."""


class Writer(NamedTuple):
    """The writer of a change: a lane, its attempt, and the pod of the attempt."""

    lane: str
    attempt: int | None = None
    pod: Pod | None = None

    def replaces(self, other: Recorded | Writer) -> bool:
        """Return whether this is a later attempt of the lane of `other`, or a later pod of the same attempt.

        False if one has no attempt, or if both have the same and one has no pod: then neither is the later one.
        """
        if self.lane != other.lane or self.attempt is None or other.attempt is None:
            return False
        if self.attempt != other.attempt:
            return self.attempt > other.attempt
        return self.pod is not None and other.pod is not None and self.pod > other.pod


class Ancestry:
    """The past of every change of a set, through records of changes whose layer is gone too.

    A past is an integer with one bit per id, so that a question costs one shift and a thousand changes a few
    hundred kilobytes.

    Raises:
        IntegrityError: a stamp is not larger than a parent's (design, "Stamp").
    """

    def __init__(self, records: Iterable[Recorded]) -> None:
        self.records: dict[str, Recorded] = {}
        for record in records:
            self.records.setdefault(record.id, record)
        self._bit: dict[str, int] = {}
        self._past: dict[str, int] = {}
        for record in sorted(self.records.values(), key=lambda record: (record.stamp, record.id)):
            self._add(record)

    def _add(self, record: Recorded) -> None:
        past = 0
        for parent in record.parents:
            older = self.records.get(parent)
            if older is not None and older.stamp >= record.stamp:
                raise IntegrityError(
                    "a change's stamp is not larger than its parent's",
                    subject=record.id,
                    remedy="the entry was not written by this program; remove it",
                )
            past |= self._past.get(parent, 0) | 1 << self._bit.setdefault(parent, len(self._bit))
        self._bit.setdefault(record.id, len(self._bit))
        self._past[record.id] = past

    def precedes(self, older: str, newer: str) -> bool:
        """Return whether the change `older` lies in the past of the change `newer` (never of itself)."""
        bit = self._bit.get(older)
        return bit is not None and bool(self._past.get(newer, 0) >> bit & 1)

    def past(self, of: Iterable[str]) -> frozenset[str]:
        """Return `of` and everything in their past, ids without a record too."""
        ids = set(of)
        mask = 0
        for id_ in ids:
            mask |= self._past.get(id_, 0)
        return frozenset(ids.union(id_ for id_, bit in self._bit.items() if mask >> bit & 1))

    def frontier(self, among: Iterable[str]) -> tuple[str, ...]:
        """Return the newest of `among`: those that lie in no other's past, sorted. What a push names as parents."""
        ids = set(among)
        mask = 0
        for id_ in ids:
            mask |= self._past.get(id_, 0)
        return tuple(sorted(id_ for id_ in ids if id_ not in self._bit or not mask >> self._bit[id_] & 1))

    def superseded(self, covered: Collection[str] = (), dropped: Collection[str] = ()) -> frozenset[str]:
        """Return the changes that a later attempt of their lane replaces, or a later pod (design, "Changes").

        Args:
            covered: ids that a squash or checkpoint covers; these are never superseded.
            dropped: ids that the writer of a squash found superseded; they stay so unless covered by another.
        """
        gone = set(dropped).difference(covered)
        for lane, tries in self._lanes().items():
            # Later attempts come first: a change that is superseded supersedes nothing.
            tries.sort(key=_rank, reverse=True)
            for later in tries:
                if later.id in gone:
                    continue
                writer = Writer(lane, later.attempt, later.pod)
                gone.update(
                    earlier.id
                    for earlier in tries
                    if earlier.id not in covered
                    and writer.replaces(earlier)
                    and not self.precedes(earlier.id, later.id)
                )
        return frozenset(gone)

    def outdated(self, writer: Writer, covered: Collection[str] = ()) -> frozenset[str]:
        """Return the changes that a pull by `writer` leaves out: earlier attempts, and all that descends from them.

        Changes that a squash covers stay (design, "Changes").
        """
        earlier = [record.id for record in self.records.values() if writer.replaces(record)]
        roots = [id_ for id_ in earlier if id_ not in covered]
        out = {id_ for id_ in self.records if any(self.precedes(root, id_) for root in roots)}
        return frozenset(out.union(roots).difference(covered))

    def settled(self, after: Iterable[str] = ()) -> frozenset[str]:
        """Return the changes that no retry can take back: what a squash may cover (design, "Squashes").

        Args:
            after: ids of the changes of finished lanes (`--after`); they and their past are settled.
        """
        open_ = 0
        for id_, bit in self._bit.items():
            if id_ not in self.records or self.records[id_].attempt is not None:
                open_ |= 1 << bit
        free = {id_ for id_, past in self._past.items() if not (past | 1 << self._bit[id_]) & open_}
        return frozenset(free | (self.past(after) & self.records.keys()))

    def _lanes(self) -> dict[str, list[Recorded]]:
        lanes: dict[str, list[Recorded]] = defaultdict(list)
        for record in self.records.values():
            if record.lane is not None and record.attempt is not None:
                lanes[record.lane].append(record)
        return lanes


def _rank(record: Recorded) -> tuple[int, Pod]:
    return (-1 if record.attempt is None else record.attempt), record.pod or _NO_POD


_NO_POD = Pod(-1, "")
