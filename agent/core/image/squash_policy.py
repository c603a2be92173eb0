"""Choose the layers that one squash replaces: many small ones, few large ones (docs/decisions/squash.md)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from agent.core.image.change_set import ChangeSet
from agent.core.image.image import Layer

GROWTH = 2
"""A layer is rewritten if it has at most this many times the bytes of all that lie over it."""
LEAST = 8
"""The least number of layers for an automatic squash."""
TEXTS_MAX = 3 << 20
"""Bytes of records that an image may carry: a manifest has at most 4 MiB."""


def settled(union: ChangeSet, after: Collection[str] = ()) -> ChangeSet:
    """Return the changes that a squash may cover: those that no retry can replace (design, "Squashes").

    Args:
        union: closed under parents.
        after: ids of changes of finished lanes.
    """
    # The changes in a squash were settled for its writer, and no attempt supersedes them.
    free = union.ancestry().settled({*after, *union.covered})
    return union.only(free | union.bases.keys())


def newest_layers(order: Sequence[Layer]) -> list[Layer]:
    """Return the layers to replace by one, the top of a stack.

    Below what is returned each layer has more than twice the bytes of all that lie over it, so that there are few of
    these and each byte is rewritten a logarithmic number of times. Where such layers are more than half of the stack,
    half of it is taken all the same.

    Args:
        order: layers of changes and squashes, lowest first.
    """
    above = 0
    cut = len(order)
    for index in range(len(order) - 1, -1, -1):
        if above and order[index].size <= GROWTH * above:
            cut = index
        above += order[index].size
    return list(order[min(cut, len(order) // 2) :])


def ids_in(layers: Sequence[Layer]) -> frozenset[str]:
    """Return the ids of the changes that layers hold."""
    changes = {layer.record.id for layer in layers if layer.record}
    return frozenset(changes.union(id_ for layer in layers if layer.squash for id_ in layer.squash.ids))


def has_room(union: ChangeSet) -> bool:
    """Say whether the records of a set fit into a manifest, whichever layers hold the changes."""
    return sum(len(record.text) for record in union.records.values()) <= TEXTS_MAX
