"""What a lane published, found by names that are known in advance (design, "Pull").

Each push of a lane takes the next number, so that one push writes a name and it cannot fall back. The target's mark is
put before a lane goes on behind its first pointer, and before anything is pruned: without it the first pointers tell
everything (docs/decisions/numbered-pointers.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from agent.core.image.manifest import damaged
from agent.core.model.pointer_numbers import Place, first_missing, places
from agent.core.model.record import Record
from agent.core.spelling.tags import pointer_tag
from agent.sync.remote.resolved_image import Located

Read: TypeAlias = Callable[[str], Located | None]
"""Returns the image at a tag, None if there is none."""
Pointers: TypeAlias = Mapping[Place, Located]
"""What pointers of a lane lead to."""
GAPS = 100
"""How many numbers are asked for in vain: a change may claim one that nobody would ever come to by counting."""


class Followed(NamedTuple):
    """What counting a lane's pointers led to.

    Attributes:
        found: those of its last attempt that lead to more than what was known, and some others.
        end: the first place of its last attempt at which there was nothing.
    """

    found: Pointers
    end: Place


def read_pointer(read: Read, target: str, lane: str, place: Place) -> Located | None:
    """Return the entry that a pointer of a lane leads to, None if there is no such pointer.

    Raises:
        IntegrityError: something else stands there.
    """
    located = read(pointer_tag(target, lane, *place))
    if located is not None and (located.image.lane, located.image.target) != (lane, target):
        raise damaged(f"{target}, lane {lane}", "has a pointer that belongs to another lane")
    return located


def follow(read: Read, target: str, lane: str, known: Iterable[Record], before: Pointers) -> Followed:
    """Count the pointers of a lane on from what is known.

    Of its last attempt every number is looked at that no known change has taken. The largest one that is known is
    looked at, too: its change may be one that nobody acknowledged, so that another took the same number.

    Args:
        target: the target's tag.
        known: the records of changes that need not be looked for.
        before: pointers that were read before; their changes are known, too.
    """
    found: dict[Place, Located | None] = dict(before)
    taken = set(places(known, target, lane))

    def is_there(place: Place) -> bool:
        if place not in found:
            located = found[place] = read_pointer(read, target, lane, place)
            taken.update(places(located.image.records.values(), target, lane) if located else ())
        return found[place] is not None

    attempt = max((place.attempt for place in taken), default=0)
    while is_there(Place(attempt + 1, 0)):
        attempt = max(attempt + 1, *(place.attempt for place in taken))
    newest = max((place.number for place in taken if place.attempt == attempt), default=-1)
    if newest >= 0:
        is_there(Place(attempt, newest))
    end = first_missing(lambda number: is_there(Place(attempt, number)), newest + 1)
    # Downwards, because an entry has all that its writer pushed before. What is missing was pruned.
    gaps = 0
    for number in reversed(range(end)):
        if Place(attempt, number) not in taken and not is_there(Place(attempt, number)):
            gaps += 1
            if gaps == GAPS:
                break
    return Followed({place: located for place, located in found.items() if located}, Place(attempt, end))


def goes_on(lane: str, end: Place, known: Iterable[Record], target: str) -> bool:
    """Say whether a lane went on where its pointers ended: some were pruned before they were counted."""
    return any(place >= end for place in places(known, target, lane))


def newest_of(found: Pointers) -> tuple[str, ...]:
    """Return the ids of the changes that a lane's pointers lead to, but for those that a later try of it replaced."""
    images = [located.image for located in found.values()]
    changes = {image.change: image.records[image.change] for image in images if image.change in image.records}
    return tuple(
        sorted(
            record.id
            for record in changes.values()
            if not any(other.writer.replaces(record.writer) for other in changes.values())
        )
    )
