"""Buffers state rows: a few in memory, many in a temporary file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from types import TracebackType

from agent.core.directory.state_row import StateRow, StateRows
from agent.core.model.entry import Version, new_tuple
from agent.files.durable_write import write_all
from agent.workspace.filesystem.system_errors import failed
from agent.workspace.state.row_codec import ROWS, columns_of, pack, rows_of, unpack
from agent.workspace.state.row_columns import Columns, Versions

MOST: int = 1 << 16
"""The most rows in memory, up to 40 MiB."""


class RowBuffer:
    """Rows in the order in which they were appended; iterate it any number of times after the last.

    Rows that do not fit into memory go to an unnamed file in `directory`. It is freed when the context ends, or when
    the buffer is collected.

    Attributes:
        version: the version of iterated rows that have none.

    Every method raises:
        WorkspaceError: the file cannot be written or read.
    """

    _file = -1  # so that close works even if a signal interrupts the constructor

    def __init__(self, directory: str, most: int = MOST) -> None:
        self.version: Version | None = None
        self._directory = directory
        self._most = most
        self._recent: list[StateRow] = []
        self._count = 0
        self._lengths: list[int] = []
        self._versions = Versions()

    def __enter__(self) -> RowBuffer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. May be called twice; iterating is an error then."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __len__(self) -> int:
        return self._count + len(self._recent)

    def append(self, row: StateRow) -> None:
        """Add the next row."""
        self._recent.append(row)
        if len(self._recent) >= self._most:
            self._spill()

    def __iter__(self) -> Iterator[StateRow]:
        versions = [self.version]
        for columns in self._columns(versions):
            yield from rows_of(columns, versions)
        yield from self._in_memory()

    def columns(self, versions: Versions) -> Iterator[Columns]:
        """Yield the rows by column, in order, their versions numbered by `versions`."""
        found = [self.version]
        for columns in self._columns(found):
            columns.renumber(found, versions)
            yield columns
        recent = self._in_memory()
        while rows := list(islice(recent, ROWS)):
            yield columns_of(rows, versions)

    def _columns(self, versions: list[Version | None]) -> Iterator[Columns]:
        at = 0
        for length in self._lengths:
            yield unpack(self._read(length, at), versions)
            at += length

    def _in_memory(self) -> Iterator[StateRow]:
        for row in self._recent:
            yield row if row.version else new_tuple(StateRow, (*row[:2], self.version, *row[3:]))

    def _read(self, length: int, at: int) -> bytes:
        try:
            return os.pread(self._file, length, at)
        except OSError as error:
            raise failed(error, os.fsencode(self._directory), "rows that were put aside here cannot be read") from error

    def _spill(self) -> None:
        try:
            if self._file < 0:
                import tempfile  # loads compression libraries, which small trees do not need

                with tempfile.TemporaryFile(dir=self._directory) as file:
                    self._file = os.dup(file.fileno())
            for at in range(0, len(self._recent), ROWS):
                block = pack(columns_of(self._recent[at : at + ROWS], self._versions), self._versions)
                self._lengths.append(len(block))
                write_all(self._file, block)
        except OSError as error:
            raise failed(error, os.fsencode(self._directory), "rows cannot be put aside here") from error
        self._count += len(self._recent)
        self._recent.clear()


class JoinedRows:
    """The rows of several parts, one part after the other."""

    def __init__(self, parts: Sequence[StateRows]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[StateRow]:
        return chain.from_iterable(self._parts)
