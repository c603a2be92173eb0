"""Rows put aside until they are needed again, or more is known of them: few stay in memory, many go to a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from types import TracebackType

from agent.core.directory.state_row import StateRow, StateRows
from agent.core.model.entry import Version, new_tuple
from agent.workspace.filesystem.system_errors import failed
from agent.workspace.state.rows import ROWS, Columns, Versions, columns_of, pack, rows_of, unpack

MOST: int = 1 << 16
"""Rows that stay in memory, 40 MiB at most."""


class Spill:
    """Rows in the order in which they were appended; iterate it any number of times after the last.

    What does not fit into memory lies in a file without a name in `directory`, gone when the context ends or nobody
    holds the rows any more.

    Attributes:
        version: what rows without a version get when they are iterated.

    Raises:
        WorkspaceError: there is no room for it, or it cannot be read.
    """

    _file = -1  # so that it can be closed even where a signal came before it was made

    def __init__(self, directory: str, most: int = MOST) -> None:
        self.version: Version | None = None
        self._directory = directory
        self._most = most
        self._recent: list[StateRow] = []
        self._count = 0
        self._lengths: list[int] = []
        self._versions = Versions()

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Give the file up. Iterating is an error then, closing again is not."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __len__(self) -> int:
        return self._count + len(self._recent)

    def append(self, row: StateRow) -> None:
        """Add the next row."""
        self._recent.append(row)
        if len(self._recent) >= self._most:
            self._put_aside()

    def __iter__(self) -> Iterator[StateRow]:
        versions = [self.version]
        for columns in self._columns(versions):
            yield from rows_of(columns, versions)
        yield from self._still_here()

    def columns(self, versions: Versions) -> Iterator[Columns]:
        """Yield the rows by column, in order, their versions numbered by `versions`."""
        found = [self.version]
        for columns in self._columns(found):
            columns.renumber(found, versions)
            yield columns
        recent = self._still_here()
        while rows := list(islice(recent, ROWS)):
            yield columns_of(rows, versions)

    def _columns(self, versions: list[Version | None]) -> Iterator[Columns]:
        at = 0
        for length in self._lengths:
            yield unpack(self._read(length, at), versions)
            at += length

    def _still_here(self) -> Iterator[StateRow]:
        for row in self._recent:
            yield row if row.version else new_tuple(StateRow, (*row[:2], self.version, *row[3:]))

    def _read(self, length: int, at: int) -> bytes:
        try:
            return os.pread(self._file, length, at)
        except OSError as error:
            raise failed(error, os.fsencode(self._directory), "rows that were put aside here cannot be read") from error

    def _put_aside(self) -> None:
        try:
            if self._file < 0:
                import tempfile  # and all that it can compress with, which a small tree need not wait for

                with tempfile.TemporaryFile(dir=self._directory) as file:
                    self._file = os.dup(file.fileno())
            for at in range(0, len(self._recent), ROWS):
                block = pack(columns_of(self._recent[at : at + ROWS], self._versions), self._versions)
                self._lengths.append(len(block))
                while block:
                    block = block[os.write(self._file, block) :]
        except OSError as error:
            raise failed(error, os.fsencode(self._directory), "rows cannot be put aside here") from error
        self._count += len(self._recent)
        self._recent.clear()


class Joined:
    """Rows, and behind them others."""

    def __init__(self, parts: Sequence[StateRows]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[StateRow]:
        return chain.from_iterable(self._parts)
