"""The result of one reading of a target: head, entries, pointers, and the changes in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.foreign_layers import absorb
from agent.core.image.image import Image
from agent.core.model.pointer_numbers import Place
from agent.sync.remote.lane_pointers import Pointers, continues_at, newest_of
from agent.sync.remote.resolved_image import ResolvedImage, as_base


class TargetSnapshot(NamedTuple):
    """The result of one reading of a target.

    Attributes:
        head: the image at the target's tag.
        entries: entries with changes that head lacks, and checkpoints.
        pointers: the images that the pointers of each named lane lead to; none for a lane that published nothing.
        tag: the target's.
        missing: the tags of listed entries that were not read yet, each with the beginning of its change's id.
        adopted: images of the entries that were made since from foreign layers.
        ends: the first free place of each named lane, if its pointers were counted.
        is_reencoded: head is a copy in which a squash lost its table of contents: its files can be read, the history
            of them is lost.
    """

    head: ResolvedImage | None
    entries: tuple[ResolvedImage, ...]
    pointers: Mapping[str, Pointers]
    tag: str
    missing: Mapping[str, str]
    adopted: tuple[Image, ...] = ()
    ends: Mapping[str, Place] = {}
    is_reencoded: bool = False

    @property
    def union(self) -> ChangeSet:
        """All changes that were found. If there is only a foreign image at head, it is the base."""
        others = self.others
        if self.head is None:
            return unite(others)
        own = self.own_head
        if own is not None:
            return unite([own, *others])
        return unite(others or [as_base(self.head)])

    @property
    def own_head(self) -> Image | None:
        """Head, with foreign layers on top as changes; None if there is no head, or it was not made from ours."""
        if self.head is None or self.is_ours:
            return self.head.image if self.head else None
        return absorb(self.head.image, self.others, self.tag)

    @property
    def head_ids(self) -> set[str]:
        """The ids of the changes that head holds."""
        return unite([self.head.image]).ids if self.head and self.is_ours else set()

    @property
    def others(self) -> list[Image]:
        """The images of entries and pointers."""
        found = (resolved for pointers in self.pointers.values() for resolved in pointers.values())
        return [*(resolved.image for resolved in (*self.entries, *found)), *self.adopted]

    @property
    def finished(self) -> tuple[str, ...]:
        """The ids of the last changes of the named lanes."""
        return tuple(change for found in self.pointers.values() for change in newest_of(found))

    @property
    def covers_lanes(self) -> bool:
        """Whether every named lane has a pointer, and head holds the changes that it leads to."""
        if not self.pointers or self.head is None or not self.is_ours:
            return False
        held = readable_ids(unite([self.head.image]))
        return all(
            found and all(resolved.image.records.keys() <= held for resolved in found.values())
            for found in self.pointers.values()
        )

    @property
    def is_behind(self) -> bool:
        """Whether a lane has changes beyond the end of its pointers: some were pruned meanwhile."""
        known = list(self.union.records.values()) if self.ends else []
        return any(continues_at(lane, end, known, self.tag) for lane, end in self.ends.items())

    @property
    def is_empty(self) -> bool:
        """Whether there is neither an image at the target's tag nor any change of the workspace."""
        return self.head is None and not self.union.ids

    @property
    def is_ours(self) -> bool:
        """Whether head was made by this program, without foreign layers."""
        return self.head is not None and all(layer.kind != "foreign" for layer in self.head.image.layers)


def readable_ids(union: ChangeSet) -> set[str]:
    """Return the ids of changes whose layers have their tables of contents; a tool that encodes anew removes them."""
    lost = {change for change, layer in union.changes.items() if layer.encoding is None}
    for layer in union.squashes.values():
        if layer.squash and layer.encoding is None:
            lost |= layer.squash.ids
    return union.ids - lost
