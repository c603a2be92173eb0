"""The changes of several images of one target as one set, and the image of such a set (design, "Head")."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from agent.core.image.image import DEFAULT_PLATFORM, Image, Layer, Platform
from agent.core.model.attempts_and_ancestry import Ancestry, Writer
from agent.core.model.change import Ancestor
from agent.core.model.entry import Version
from agent.core.model.record import Record
from agent.core.model.squash_record import SquashRecord
from agent.core.spelling.digest import Digest


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """A set of changes, closed under their parents.

    Attributes:
        bases: the layers of each base, by its id.
        changes: the layer that holds each change, by its id.
        dropped: records without a layer, by id.
        squashes: the layers that cover several changes each, by the squash's id; none is within another. No change
            that one of them covers is in `changes` or `dropped`.
    """

    bases: dict[str, tuple[Layer, ...]] = field(default_factory=dict)
    changes: dict[str, Layer] = field(default_factory=dict)
    dropped: dict[str, Record] = field(default_factory=dict)
    platform: Platform = DEFAULT_PLATFORM
    squashes: dict[str, Layer] = field(default_factory=dict)

    @property
    def records(self) -> dict[str, Record]:
        """Every record, by id."""
        squashed = {record.id: record for squash in self._squashes for record in squash.records}
        own = {layer.record.id: layer.record for layer in self.changes.values() if layer.record}
        return self.dropped | squashed | own

    @property
    def ids(self) -> set[str]:
        """The ids of all changes, bases and squashed ones too."""
        return {*self.bases, *self.changes, *self.dropped, *(id_ for squash in self._squashes for id_ in squash.ids)}

    @property
    def covered(self) -> frozenset[str]:
        """The ids of the changes that squashes cover."""
        return frozenset(id_ for squash in self._squashes for id_ in squash.ids)

    @property
    def layer_count(self) -> int:
        """The number of layers of an image of the set, without a fix-up."""
        return len(self.changes) + len(self.squashes) + sum(map(len, self.bases.values()))

    @property
    def _squashes(self) -> list[SquashRecord]:
        return [layer.squash for layer in self.squashes.values() if layer.squash]

    def ancestry(self) -> Ancestry:
        """Return the ancestry of all changes, bases too."""
        return Ancestry([*self.records.values(), *(Ancestor(base, 0, ()) for base in self.bases)])

    @property
    def frontier(self) -> tuple[str, ...]:
        """The newest changes: those that lie in no other's past, sorted. A superseded change is no one's parent."""
        return self.ancestry().frontier(self.ids - self.superseded)

    @property
    def superseded(self) -> frozenset[str]:
        """The ids of the changes that a later attempt of their lane replaces, or a later pod."""
        dropped = {id_ for squash in self._squashes for id_ in squash.dropped_ids}
        return self.ancestry().superseded(self.covered, dropped)

    @property
    def newest_stamp(self) -> int:
        """The largest stamp of every change, 0 without any."""
        return max((record.stamp for record in self.records.values()), default=0)

    @property
    def order(self) -> list[Layer]:
        """The layers of changes and squashes, in (stamp, id) order; a squash at its largest covered change."""
        return sorted((*self.changes.values(), *self.squashes.values()), key=_position)

    @property
    def is_chain(self) -> bool:
        """Whether each change was made on top of exactly the one before it, and all have an effect.

        Then plain application of the layers gives the merged tree, because each layer is its writer's own diff; the
        record of a squash says it of the squash. And there is no conflict: each writer of a path had seen its version.
        """
        return self.is_line and not any(layer.record and layer.record.unpulled for layer in self.changes.values())

    @property
    def is_line(self) -> bool:
        """As `is_chain`, but a sparse writer may have written a path without having pulled it, which may conflict."""
        if len(self.bases) > 1 or self.dropped:
            return False
        before = tuple(self.bases)
        for layer in self.order:
            if layer.squash and not layer.squash.plain:
                return False
            for record in _records_in_order(layer):
                if record.parents != before:
                    return False
                before = (record.id,)
        # An attempt that pulled what a later one had pushed already is superseded by its own past.
        return not self.superseded

    def past(self, ids: Iterable[str]) -> ChangeSet:
        """Return the changes in `ids` and their past."""
        return self.only(self.ancestry().past(ids))

    def reaching(self, ids: Iterable[str]) -> ChangeSet:
        """Return the changes in `ids`, their past, and all changes of each squash that holds one of these."""
        ancestry = self.ancestry()
        wanted = ancestry.past(ids)
        while more := {id_ for squash in self._squashes if squash.ids & wanted for id_ in squash.ids} - wanted:
            wanted = ancestry.past(wanted | more)
        return self.only(wanted)

    def beyond(self, older: ChangeSet) -> ChangeSet | None:
        """Return the changes since `older`, if each of them descends from all that `older` holds.

        None if one does not, if a squash holds changes of both, or if `older` itself may have conflicts.
        """
        ids, tips, ancestry = older.ids, older.frontier, self.ancestry()
        rest = ChangeSet(
            changes={change: layer for change, layer in self.changes.items() if change not in ids},
            dropped={change: record for change, record in self.dropped.items() if change not in ids},
            squashes={n: layer for n, layer in self.squashes.items() if layer.squash and not layer.squash.ids <= ids},
        )
        if not older.is_chain or not ids <= self.ids or rest.ids != self.ids - ids:
            return None
        return rest if all(ancestry.precedes(tip, change) for tip in tips for change in rest.ids) else None

    def before(self, writer: Writer) -> ChangeSet:
        """Return the set that a writer starts from: without earlier attempts of its own and their descendants."""
        return self.only(self.ids - self.ancestry().outdated(writer, self.covered))

    def only(self, ids: Collection[str]) -> ChangeSet:
        """Return the changes that are in `ids`.

        A squash is taken whole or not at all: of one that covers more, only records remain.
        """
        whole = {name: layer for name, layer in self.squashes.items() if layer.squash and layer.squash.ids <= set(ids)}
        changes = {change: layer for change, layer in self.changes.items() if change in ids}
        rest = {change for layer in whole.values() if layer.squash for change in layer.squash.ids}.union(changes)
        return ChangeSet(
            {base: layers for base, layers in self.bases.items() if base in ids},
            changes,
            {change: record for change, record in self.records.items() if change in ids and change not in rest},
            self.platform,
            whole,
        )

    def without_layers(self, ids: Collection[str]) -> ChangeSet:
        """Return the set with nothing but the records of the changes `ids`."""
        records = {change: layer.record for change, layer in self.changes.items() if change in ids and layer.record}
        changes = {change: layer for change, layer in self.changes.items() if change not in ids}
        return ChangeSet(self.bases, changes, self.dropped | records, self.platform, self.squashes)

    def image(self, target: str, fixup: Layer | None = None) -> Image:
        """Return the image of the whole set for the target tag `target`; it carries the newest change's annotations."""
        order = self.order
        effective = (record for layer in order for record in _records_in_order(layer))
        newest = max(effective, key=lambda record: record.version, default=None)
        base = [layer for name in sorted(self.bases) for layer in self.bases[name]]
        return Image(
            layers=(*base, *order, *([fixup] if fixup else [])),
            target=target,
            dropped=tuple(sorted(self.dropped.values(), key=lambda record: record.version)),
            platform=self.platform,
            annotations=newest.annotations if newest else (),
        )


def unite(images: Iterable[Image]) -> ChangeSet:
    """Return the change set of several images; fix-ups are left out, because they are computed for each set.

    The order of `images` does not matter. A layer may come in two encodings. One with a table of contents that can be
    read by itself wins; then one with that table in the manifest; then the digests decide.
    """
    bases: dict[str, tuple[Layer, ...]] = {}
    changes: dict[str, Layer] = {}
    dropped: dict[str, Record] = {}
    squashes: dict[str, Layer] = {}
    platforms = [(False, False, DEFAULT_PLATFORM)]
    for image in images:
        stacks: dict[str, tuple[Layer, ...]] = {}
        for layer in image.layers:
            if layer.kind == "base" and layer.base:
                stacks[layer.base] = (*stacks.get(layer.base, ()), layer)
            elif layer.squash:
                squash = layer.squash.id
                squashes[squash] = max(squashes.get(squash, layer), layer, key=_readiness)
                dropped.update({record.id: record for record in layer.squash.dropped})
            elif layer.record:
                change = layer.record.id
                changes[change] = max(changes.get(change, layer), layer, key=_readiness)
        for name, stack in stacks.items():
            bases[name] = max(bases.get(name, stack), stack, key=_completeness)
        dropped.update({record.id: record for record in image.dropped})
        platforms.append((bool(stacks), image.platform != DEFAULT_PLATFORM, image.platform))
    squashes = _without_needless(squashes, changes)
    covered = {change for layer in squashes.values() if layer.squash for change in layer.squash.ids}
    changes = {change: layer for change, layer in changes.items() if change not in covered}
    dropped = {change: record for change, record in dropped.items() if change not in changes.keys() | covered}
    return ChangeSet(bases, changes, dropped, max(platforms)[2], squashes)


def _without_needless(squashes: dict[str, Layer], changes: dict[str, Layer]) -> dict[str, Layer]:
    """Return the squashes that no other squash covers; digests decide between equal ones (design, "Merge").

    A squash that another tool recompressed has no readable table of contents; it is left out if its changes are there.
    """
    alone = {change for change, layer in changes.items() if layer.encoding is not None}
    readable = {
        name: layer.squash
        for name, layer in squashes.items()
        if layer.squash and (layer.encoding is not None or not layer.squash.ids <= alone)
    }
    return {
        name: squashes[name]
        for name, squash in readable.items()
        if not any(
            squash.ids < other.ids or (squash.ids == other.ids and other.id < squash.id) for other in readable.values()
        )
    }


def _readiness(layer: Layer) -> tuple[bool, bool, Digest]:
    return layer.encoding is not None, layer.toc is not None, layer.digest


def _completeness(stack: tuple[Layer, ...]) -> tuple[int, tuple[Digest, ...]]:
    return len(stack), tuple(layer.digest for layer in stack)


def _position(layer: Layer) -> tuple[Version, str]:
    described = layer.record or layer.squash
    assert described is not None
    return described.version, described.id


def _records_in_order(layer: Layer) -> list[Record]:
    """Return the records of the changes in a layer, in (stamp, id) order."""
    if layer.squash:
        return sorted(layer.squash.covers, key=lambda record: record.version)
    return [layer.record] if layer.record else []
