"""Turns state rows into blocks of columns. Rows that come by column already are copied in runs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol, TypeAlias, runtime_checkable

from agent.core.directory.state_after_push import PatchedRows
from agent.core.directory.state_row import StateRow
from agent.workspace.state.row_codec import ROWS, columns_of
from agent.workspace.state.row_columns import Columns, Versions

_Run: TypeAlias = tuple[Columns, int, int]
"""Columns, and the first and last index (exclusive) of a run of their rows."""


@runtime_checkable
class ColumnSource(Protocol):
    """Rows that are stored by column."""

    def columns(self, versions: Versions) -> Iterator[Columns]:
        """Yield the rows in order, their versions numbered by `versions`."""


def column_blocks(rows: Iterable[StateRow], versions: Versions) -> Iterator[Columns]:
    """Yield columns of `ROWS` rows each, of rows in bytes order of their paths."""
    block = Columns()
    for columns, start, stop in _runs(rows, versions):
        while len(block) + stop - start >= ROWS:
            cut = start + ROWS - len(block)
            block.add(columns, start, cut)
            yield block
            block, start = Columns(), cut
        if start < stop:
            block.add(columns, start, stop)
    if len(block):
        yield block


def _runs(rows: Iterable[StateRow], versions: Versions) -> Iterator[_Run]:
    if isinstance(rows, PatchedRows):
        lower = _without(_runs(rows.rows, versions), sorted(rows.removed))
        yield from _overlay(lower, _runs(rows.replacements, versions))
    elif isinstance(rows, ColumnSource):
        for columns in rows.columns(versions):
            yield columns, 0, len(columns)
    else:
        source = iter(rows)
        while batch := list(islice(source, ROWS)):
            yield columns_of(batch, versions), 0, len(batch)


def _without(runs: Iterator[_Run], gone: Sequence[bytes]) -> Iterator[_Run]:
    """Yield the runs without the rows of the sorted paths `gone`."""
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


def _overlay(lower: Iterator[_Run], upper: Iterator[_Run]) -> Iterator[_Run]:
    """Merge two sources of runs; `upper` wins if both have a path. Some runs are empty."""
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
