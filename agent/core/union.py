"""What several images of one target hold together, and the one image that holds it all."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from agent.core.ancestry import Ancestry
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
        """The newest changes: those that lie in no other's past, sorted."""
        return Ancestry(self.records.values()).frontier(self.ids)

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
        """Whether each change was made on top of exactly the one before it.

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
        return True

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

    def image(self, target: str, fixup: Layer | None = None) -> Image:
        """Return the image of the whole set for the target tag `target`."""
        base = [layer for name in sorted(self.bases) for layer in self.bases[name]]
        return Image(
            layers=(*base, *self.order, *([fixup] if fixup else [])),
            target=target,
            dropped=tuple(sorted(self.dropped.values(), key=lambda record: record.version)),
            platform=self.platform,
        )


def unite(images: Iterable[Image]) -> Union:
    """Return what `images` hold together; fix-ups of others are left out, they are computed anew.

    Of two encodings of one change the one whose table of contents can be read by itself is kept.
    """
    united = Union()
    for image in images:
        bases: dict[str, tuple[Layer, ...]] = {}
        for layer in image.layers:
            if layer.kind == "base" and layer.base:
                bases[layer.base] = (*bases.get(layer.base, ()), layer)
            elif layer.record:
                kept = united.changes.get(layer.record.id)
                if kept is None or (kept.encoding is None and layer.encoding):
                    united.changes[layer.record.id] = layer
        united.bases.update({name: layers for name, layers in bases.items() if name not in united.bases})
        united.dropped.update({record.id: record for record in image.dropped})
        if bases or image.platform != DEFAULT_PLATFORM:
            united = Union(united.bases, united.changes, united.dropped, image.platform)
    for change in united.changes.keys() & united.dropped.keys():
        del united.dropped[change]
    return united


def _version(layer: Layer) -> tuple[int, str]:
    assert layer.record is not None
    return layer.record.version
