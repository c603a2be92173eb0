"""What is to be remembered, as blocks of columns: whatever stands in such blocks already is copied in pieces."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol, TypeAlias, runtime_checkable

from agent.core.directory.state_after_push import PatchedRows
from agent.core.directory.state_row import StateRow
from agent.workspace.state.rows import ROWS, Columns, Versions, columns_of

_Run: TypeAlias = tuple[Columns, int, int]
"""The rows of some columns from one to another."""


@runtime_checkable
class Tabled(Protocol):
    """Rows that are kept by column."""

    def columns(self, versions: Versions) -> Iterator[Columns]:
        """Yield them in order, their versions numbered by `versions`."""


def blocks(known: Iterable[StateRow], versions: Versions) -> Iterator[Columns]:
    """Yield the columns of rows in bytes order of their paths, `ROWS` at a time."""
    block = Columns()
    for columns, start, stop in _runs(known, versions):
        while len(block) + stop - start >= ROWS:
            cut = start + ROWS - len(block)
            block.add(columns, start, cut)
            yield block
            block, start = Columns(), cut
        if start < stop:
            block.add(columns, start, stop)
    if len(block):
        yield block


def _runs(known: Iterable[StateRow], versions: Versions) -> Iterator[_Run]:
    if isinstance(known, PatchedRows):
        lower = _without(_runs(known.rows, versions), sorted(known.removed))
        yield from _over(lower, _runs(known.replacements, versions))
    elif isinstance(known, Tabled):
        for columns in known.columns(versions):
            yield columns, 0, len(columns)
    else:
        source = iter(known)
        while rows := list(islice(source, ROWS)):
            yield columns_of(rows, versions), 0, len(rows)


def _without(runs: Iterator[_Run], gone: Sequence[bytes]) -> Iterator[_Run]:
    """Leave out the rows of some paths, which are sorted."""
    for columns, start, stop in runs:
        paths = columns.paths
        place = bisect_left(gone, paths[start]) if start < stop else len(gone)
        while place < len(gone) and start < stop:
            here = bisect_left(paths, gone[place], start, stop)
            if here == stop:
                break
            if paths[here] == gone[place]:
                yield columns, start, here
                start = here + 1
            place += 1
        yield columns, start, stop


def _over(lower: Iterator[_Run], upper: Iterator[_Run]) -> Iterator[_Run]:
    """Lay rows over others: where both have a path, the upper one's counts. Some runs are empty."""
    under = next(lower, None)
    for new, start, stop in upper:
        for index in range(start, stop):
            path = new.paths[index]
            while under is not None and (under[1] == under[2] or under[0].paths[under[2] - 1] < path):
                yield new, start, index
                yield under
                start, under = index, next(lower, None)
            if under is None:
                break
            columns, at, end = under
            here = bisect_left(columns.paths, path, at, end)
            if here > at:
                yield new, start, index
                yield columns, at, here
                start = index
            under = columns, here + (columns.paths[here] == path), end
        yield new, start, stop
    if under is not None:
        yield under
        yield from lower
