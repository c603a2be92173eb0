"""The numbers of a lane's pointers, which a reader probes one by one instead of listing tags (design, "Protocol")."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from agent.core.model.record import Record


class Place(NamedTuple):
    """The place of a pointer in its lane: the attempt, 0 if there is none, and the number within it, from 0."""

    attempt: int
    number: int


FIRST = Place(0, 0)
"""The place of a lane's first push: the first one that a reader of the lane asks for."""


def place_of(record: Record) -> Place | None:
    """Return a change's place; None for a foreign layer, which has no pointer."""
    return None if record.number is None else Place(record.attempt or 0, record.number)


def places(records: Iterable[Record], target: str, lane: str) -> dict[Place, Record]:
    """Return the places that changes of a lane took at the target tag `target`, each with the change of largest id."""
    taken: dict[Place, Record] = {}
    for record in sorted(records, key=lambda record: record.id):
        place = place_of(record)
        if place is not None and (record.target, record.lane) == (target, lane):
            taken[place] = record
    return taken


def has_rival(record: Record, others: Iterable[Record]) -> bool:
    """Return whether another change has the same place: two writers used one lane at the same time."""
    mine = place_of(record)
    return mine is not None and any(
        other.id != record.id and place_of(other) == mine and (other.target, other.lane) == (record.target, record.lane)
        for other in others
    )


def first_missing(is_there: Callable[[int], bool], start: int) -> int:
    """Return the first number from `start` on that is not there, where all below it are; a logarithm of questions."""
    low, step = start, 1
    while is_there(low + step - 1):
        low, step = low + step, step * 2
    high = low + step - 1
    while low < high:
        middle = (low + high) // 2
        if is_there(middle):
            low = middle + 1
        else:
            high = middle
    return low
