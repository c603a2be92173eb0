"""Sorted tables of contents read side by side, path by path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heapreplace
from typing import Any, TypeVar

from agent.core.spelling.path import show
from agent.errors import IntegrityError

_Owner = TypeVar("_Owner")


def grouped(
    streams: Iterable[tuple[_Owner, Iterable[Any]]],
) -> Iterator[tuple[bytes, list[tuple[_Owner, Any]], bytes | None]]:
    """Yield (path, [(owner, entry), …], next path) in bytes order of paths; the last next path is None.

    An entry's first field is its path. While one stream is ahead of all others it is read without touching the
    heap: of a large change and fifty small ones nearly every entry costs one comparison.

    Raises:
        IntegrityError: a stream is not in order.
    """
    heap = []
    for index, (owner, entries) in enumerate(streams):
        source = iter(entries)
        entry = next(source, None)
        if entry is not None:
            heap.append((entry[0], index, entry, source, owner))
    heapify(heap)
    if not heap:
        return
    path, index, entry, source, owner = heappop(heap)
    while True:
        items = []
        while True:
            while entry is not None and entry[0] == path:
                items.append((owner, entry))
                entry = next(source, None)
            if entry is None:
                if not heap:
                    yield path, items, None
                    return
                _, index, entry, source, owner = heappop(heap)
            elif heap and heap[0][0] < entry[0]:
                _, index, entry, source, owner = heapreplace(heap, (entry[0], index, entry, source, owner))
            if entry[0] != path:
                break
        if entry[0] < path:
            raise _disordered(entry[0])
        yield path, items, entry[0]
        path = entry[0]


def _disordered(path: bytes) -> IntegrityError:
    return IntegrityError(
        "a table of contents is not in bytes order",
        subject=show(path)[:300],
        remedy="the image is damaged or was not written by this program",
    )
