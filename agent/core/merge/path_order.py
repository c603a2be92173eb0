"""Sequences in bytes order of paths: several merged, two joined, and the paths that enclose the current one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heapreplace
from typing import Any, Generic, TypeVar

from agent.core.spelling.path import show
from agent.errors import IntegrityError

_Owner = TypeVar("_Owner")
_Left = TypeVar("_Left", bound=tuple[Any, ...])
_Right = TypeVar("_Right", bound=tuple[Any, ...])
_Value = TypeVar("_Value")


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


def join(left: Iterable[_Left], right: Iterable[_Right]) -> Iterator[tuple[_Left | None, _Right | None]]:
    """Merge-join two iterables in bytes order of paths: yield pairs, None on the side that lacks a path.

    An item's first field is its path. No path comes twice on one side.
    """
    lefts, rights = iter(left), iter(right)
    old, new = next(lefts, None), next(rights, None)
    while old is not None and new is not None:
        old_path, new_path = old[0], new[0]
        if old_path == new_path:
            yield old, new
            old, new = next(lefts, None), next(rights, None)
        elif old_path < new_path:
            yield old, None
            old = next(lefts, None)
        else:
            yield None, new
            new = next(rights, None)
    while old is not None:
        yield old, None
        old = next(lefts, None)
    while new is not None:
        yield None, new
        new = next(rights, None)


class PathStack(list[tuple[bytes, bytes, _Value]], Generic[_Value]):
    """A stack of paths with values, for a pass in bytes order. A later path may lie below each of them.

    Between a path and its subtree others may lie: "d" < "d-x" < "d/y". What lies below "d" begins with "d/", so it
    ends before "d0". A list, because the passes test it for every path, and nearly always it is empty.
    """

    __slots__ = ()

    def push(self, path: bytes, value: _Value) -> None:
        """Add a path, and remove each that it does not lie below and that nothing behind it does."""
        while self and path >= self[-1][0]:
            self.pop()
        self.append((path + b"0", path + b"/", value))

    def leave(self, path: bytes | None) -> _Value | None:
        """Remove the innermost path if nothing from `path` on lies below it, and return its value, else None.

        None for `path` is the end of the sequence. Call it until it returns None.
        """
        if self and (path is None or path >= self[-1][0]):
            return self.pop()[2]
        return None

    def above(self, path: bytes) -> list[_Value]:
        """Return the values of the paths that `path` lies below, outermost first."""
        return [value for _, prefix, value in self if path.startswith(prefix)] if self else []
