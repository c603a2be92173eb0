"""What several images of one target hold together, and the one image that holds it all."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from agent.core.ancestry import Ancestry
from agent.core.digest import Digest
from agent.core.image import DEFAULT_PLATFORM, Image, Layer, Platform
from agent.core.record import Record


@dataclass(frozen=True, slots=True)
class Union:
    """A set of changes, closed under their parents.

    Attributes:
        bases: the layers of each base, by its id.
        changes: the layer that holds each change, by its id.
        dropped: records without a layer, by id.
    """

    bases: dict[str, tuple[Layer, ...]] = field(default_factory=dict)
    changes: dict[str, Layer] = field(default_factory=dict)
    dropped: dict[str, Record] = field(default_factory=dict)
    platform: Platform = DEFAULT_PLATFORM

    @property
    def records(self) -> dict[str, Record]:
        """Every record, by id."""
        return self.dropped | {layer.record.id: layer.record for layer in self.changes.values() if layer.record}

    @property
    def ids(self) -> set[str]:
        """The ids of all changes, bases too."""
        return {*self.bases, *self.changes, *self.dropped}

    @property
    def frontier(self) -> tuple[str, ...]:
        """The newest changes: those that lie in no other's past, sorted. A superseded change is no one's parent."""
        ancestry = Ancestry(self.records.values())
        return ancestry.frontier(self.ids - ancestry.superseded())

    @property
    def superseded(self) -> frozenset[str]:
        """The ids of the changes that a later attempt of their lane replaces."""
        return Ancestry(self.records.values()).superseded()

    @property
    def newest_stamp(self) -> int:
        """The largest stamp of every change, 0 without any."""
        return max((record.stamp for record in self.records.values()), default=0)

    @property
    def order(self) -> list[Layer]:
        """The layers of the changes, in (stamp, id) order."""
        return sorted(self.changes.values(), key=_version)

    @property
    def is_chain(self) -> bool:
        """Whether each change was made on top of exactly the one before it, and all have an effect.

        Then plain application of the layers gives the merged tree, because each layer is its writer's own diff.
        """
        if len(self.bases) > 1 or self.dropped:
            return False
        before = tuple(self.bases)
        for layer in self.order:
            assert layer.record is not None
            if layer.record.parents != before:
                return False
            before = (layer.record.id,)
        # An attempt that pulled what a later one had pushed already is superseded by its own past.
        return not self.superseded

    def past(self, ids: Iterable[str]) -> Union:
        """Return the changes in `ids` and everything below them."""
        return self.only(Ancestry(self.records.values()).past(ids))

    def before_attempt(self, lane: str, attempt: int) -> Union:
        """Return what an attempt of a lane starts from: nothing of, and nothing on, an earlier attempt."""
        return self.only(self.ids - Ancestry(self.records.values()).outdated(lane, attempt))

    def only(self, ids: Collection[str]) -> Union:
        """Return the changes that are in `ids`."""
        return Union(
            {base: layers for base, layers in self.bases.items() if base in ids},
            {change: layer for change, layer in self.changes.items() if change in ids},
            {change: record for change, record in self.dropped.items() if change in ids},
            self.platform,
        )

    def without_layers(self, ids: Collection[str]) -> Union:
        """Return the set with nothing but the records of the changes `ids`."""
        records = {change: layer.record for change, layer in self.changes.items() if change in ids and layer.record}
        changes = {change: layer for change, layer in self.changes.items() if change not in ids}
        return Union(self.bases, changes, self.dropped | records, self.platform)

    def image(self, target: str, fixup: Layer | None = None) -> Image:
        """Return the image of the whole set for the target tag `target`; it carries the newest change's annotations."""
        order = self.order
        newest = order[-1].record if order else None
        base = [layer for name in sorted(self.bases) for layer in self.bases[name]]
        return Image(
            layers=(*base, *order, *([fixup] if fixup else [])),
            target=target,
            dropped=tuple(sorted(self.dropped.values(), key=lambda record: record.version)),
            platform=self.platform,
            annotations=newest.annotations if newest else (),
        )


def unite(images: Iterable[Image]) -> Union:
    """Return what `images` hold together; fix-ups of others are left out, they are computed anew.

    The order of `images` means nothing. Of two encodings of one layer the one is kept whose table of contents can be
    read by itself, best from the manifest; else digests decide.
    """
    bases: dict[str, tuple[Layer, ...]] = {}
    changes: dict[str, Layer] = {}
    dropped: dict[str, Record] = {}
    platforms = [(False, False, DEFAULT_PLATFORM)]
    for image in images:
        stacks: dict[str, tuple[Layer, ...]] = {}
        for layer in image.layers:
            if layer.kind == "base" and layer.base:
                stacks[layer.base] = (*stacks.get(layer.base, ()), layer)
            elif layer.record:
                change = layer.record.id
                changes[change] = max(changes.get(change, layer), layer, key=_readiness)
        for name, stack in stacks.items():
            bases[name] = max(bases.get(name, stack), stack, key=_completeness)
        dropped.update({record.id: record for record in image.dropped})
        platforms.append((bool(stacks), image.platform != DEFAULT_PLATFORM, image.platform))
    dropped = {change: record for change, record in dropped.items() if change not in changes}
    return Union(bases, changes, dropped, max(platforms)[2])


def _readiness(layer: Layer) -> tuple[bool, bool, Digest]:
    return layer.encoding is not None, layer.toc is not None, layer.digest


def _completeness(stack: tuple[Layer, ...]) -> tuple[int, tuple[Digest, ...]]:
    return len(stack), tuple(layer.digest for layer in stack)


def _version(layer: Layer) -> tuple[int, str]:
    assert layer.record is not None
    return layer.record.version
