"""The result of one reading of a target: head, entries, pointers, and the changes in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from agent.core.image.change_set import Union, unite
from agent.core.image.foreign_layers import absorb
from agent.core.image.image import Image
from agent.core.model.pointer_numbers import Place
from agent.sync.remote.lane_pointers import Pointers, goes_on, newest_of
from agent.sync.remote.resolved_image import Located, as_base


class Seen(NamedTuple):
    """What one look at a target found.

    Attributes:
        head: the image at the target's tag.
        entries: images that hold changes which head lacks, and checkpoints.
        pointers: what the pointers of each lane that was asked for lead to; nothing for one that published nothing.
        tag: the target's.
        missing: the tags of listed entries that were not read, each with the beginning of its change's id.
        adopted: images of entries that were made since, of what someone else put on top of ours.
        ends: where the pointers of each lane ended, if they had to be counted.
        is_encoded_anew: head is a copy in which a squash lost its table of contents: what it holds can be read, who
            changed it can not.
    """

    head: Located | None
    entries: tuple[Located, ...]
    pointers: Mapping[str, Pointers]
    tag: str
    missing: Mapping[str, str]
    adopted: tuple[Image, ...] = ()
    ends: Mapping[str, Place] = {}
    is_encoded_anew: bool = False

    @property
    def union(self) -> Union:
        """All changes that were found. A head of someone else, where there is nothing of ours, is the base."""
        others = self.others
        if self.head is None:
            return unite(others)
        known = self.known_head
        if known is not None:
            return unite([known, *others])
        return unite(others or [as_base(self.head)])

    @property
    def known_head(self) -> Image | None:
        """Head, layers that someone else put on top of ours as changes; None if there is none, or nothing of ours."""
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
        found = (located for pointers in self.pointers.values() for located in pointers.values())
        return [*(located.image for located in (*self.entries, *found)), *self.adopted]

    @property
    def finished(self) -> tuple[str, ...]:
        """The ids of what the lanes that were asked for published last."""
        return tuple(change for found in self.pointers.values() for change in newest_of(found))

    @property
    def has_all_named(self) -> bool:
        """Whether every lane that was asked for has a pointer, and head holds what they point at."""
        if not self.pointers or self.head is None or not self.is_ours:
            return False
        held = readable_ids(unite([self.head.image]))
        return all(
            found and all(located.image.records.keys() <= held for located in found.values())
            for found in self.pointers.values()
        )

    @property
    def is_behind(self) -> bool:
        """Whether a lane is known to go on where its pointers ended."""
        known = list(self.union.records.values()) if self.ends else []
        return any(goes_on(lane, end, known, self.tag) for lane, end in self.ends.items())

    @property
    def holds_nothing(self) -> bool:
        """Whether there is neither an image at the target's tag nor any change of the workspace."""
        return self.head is None and not self.union.ids

    @property
    def is_ours(self) -> bool:
        """Whether head is a workspace that this program keeps."""
        return self.head is not None and all(layer.kind != "foreign" for layer in self.head.image.layers)


def readable_ids(union: Union) -> set[str]:
    """Return the ids of what need not be looked for elsewhere: a layer that a tool encoded anew may lack its table."""
    lost = {change for change, layer in union.changes.items() if layer.encoding is None}
    for layer in union.squashes.values():
        if layer.squash and layer.encoding is None:
            lost |= layer.squash.ids
    return union.ids - lost
