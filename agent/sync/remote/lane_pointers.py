"""The pointers of a lane: tags that a reader computes, so that it needs no list (design, "Pull").

Each push of a lane takes the next number, so that a tag is written by one push. The target's mark is put before a lane
gets a second pointer, and before anything is pruned: without the mark the first pointers are enough
(docs/decisions/numbered-pointers.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from agent.core.image.manifest import damaged
from agent.core.model.pointer_numbers import Place, first_missing, places
from agent.core.model.record import Record
from agent.core.spelling.tags import pointer_tag
from agent.sync.remote.resolved_image import ResolvedImage

Read: TypeAlias = Callable[[str], ResolvedImage | None]
"""Returns the image at a tag, None if there is none."""
Pointers: TypeAlias = Mapping[Place, ResolvedImage]
"""Pointers of a lane, each with its entry."""
GAPS = 100
"""Numbers without a pointer that are tried at most: a record may claim a number far above all others."""


class CountedPointers(NamedTuple):
    """The pointers of a lane, counted.

    Attributes:
        found: those of its last attempt that lead to unread changes, and some others.
        end: the first free place of its last attempt.
    """

    found: Pointers
    end: Place


def read_pointer(read: Read, target: str, lane: str, place: Place) -> ResolvedImage | None:
    """Return the entry that a pointer of a lane leads to, None if there is no such pointer.

    Raises:
        IntegrityError: the pointer belongs to another lane or target.
    """
    resolved = read(pointer_tag(target, lane, *place))
    if resolved is not None and (resolved.image.lane, resolved.image.target) != (lane, target):
        raise damaged(f"{target}, lane {lane}", "has a pointer that belongs to another lane")
    return resolved


def count_pointers(read: Read, target: str, lane: str, known: Iterable[Record], before: Pointers) -> CountedPointers:
    """Count the pointers of a lane, from those of known changes on.

    Each number of the last attempt is read that no known change has taken. The largest number of a known change is
    read, too: that push may not have been acknowledged, so that another took the same number.

    Args:
        target: the target's tag.
        known: the records of changes that were read already.
        before: pointers that were read already.

    Raises:
        IntegrityError: a pointer belongs to another lane or target.
        AuthError, UnavailableError: see `agent.errors`.
    """
    found: dict[Place, ResolvedImage | None] = dict(before)
    taken = set(places(known, target, lane))

    def is_there(place: Place) -> bool:
        if place not in found:
            resolved = found[place] = read_pointer(read, target, lane, place)
            taken.update(places(resolved.image.records.values(), target, lane) if resolved else ())
        return found[place] is not None

    attempt = max((place.attempt for place in taken), default=0)
    while is_there(Place(attempt + 1, 0)):
        attempt = max(attempt + 1, *(place.attempt for place in taken))
    newest = max((place.number for place in taken if place.attempt == attempt), default=-1)
    if newest >= 0:
        is_there(Place(attempt, newest))
    end = first_missing(lambda number: is_there(Place(attempt, number)), newest + 1)
    # Downwards, because an entry has all earlier changes of its writer. A missing pointer was pruned.
    gaps = 0
    for number in reversed(range(end)):
        if Place(attempt, number) not in taken and not is_there(Place(attempt, number)):
            gaps += 1
            if gaps == GAPS:
                break
    return CountedPointers({place: resolved for place, resolved in found.items() if resolved}, Place(attempt, end))


def continues_at(lane: str, end: Place, known: Iterable[Record], target: str) -> bool:
    """Say whether a lane has changes at or beyond the end of its pointers: some were pruned before the count."""
    return any(place >= end for place in places(known, target, lane))


def newest_of(found: Pointers) -> tuple[str, ...]:
    """Return the ids of the changes that a lane's pointers lead to, without superseded ones."""
    images = [resolved.image for resolved in found.values()]
    changes = {image.change: image.records[image.change] for image in images if image.change in image.records}
    return tuple(
        sorted(
            record.id
            for record in changes.values()
            if not any(other.writer.replaces(record.writer) for other in changes.values())
        )
    )
