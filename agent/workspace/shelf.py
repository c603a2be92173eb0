"""Rows put aside: of a million paths, packed, until they are needed again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import Final

from agent.core.entry import Version
from agent.core.known import Known
from agent.workspace.failure import failed
from agent.workspace.rows import ROWS, Versions, pack, unpack

IN_MEMORY: Final = 4 << 20
"""Bytes that are held in memory, packed; more go to a file."""


class Shelf:
    """Rows put aside. Iterating it, any number of times, yields them in the order in which they came.

    Args:
        directory: where there is room for a file. It has no name, and is gone with the shelf.

    Attributes:
        version: of every row that it yields.

    Raises, whatever is done with it:
        WorkspaceError: there is no room, or the file cannot be read.
    """

    def __init__(self, directory: str) -> None:
        self.version: Version | None = None
        self._directory = directory
        self._file = SpooledTemporaryFile(IN_MEMORY, dir=directory)  # noqa: SIM115 - closed by whoever drops it last
        self._lengths: list[int] = []
        self._pending: list[Known] = []
        self._count = 0

    def __del__(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._count + len(self._pending)

    def __iter__(self) -> Iterator[Known]:
        start = 0
        for length in self._lengths:
            yield from unpack(self._read(start, length), [self.version])
            start += length
        for row in self._pending:
            yield row._replace(version=self.version)

    def append(self, row: Known) -> None:
        """Take one more row."""
        self._pending.append(row)
        if len(self._pending) == ROWS:
            self._put(self._pending)
            self._pending = []

    def _put(self, rows: list[Known]) -> None:
        data = pack(rows, Versions())
        try:
            self._file.seek(0, os.SEEK_END)
            self._file.write(data)
        except OSError as error:
            raise failed(error, os.fsencode(self._directory), "paths cannot be put aside here") from error
        self._lengths.append(len(data))
        self._count += len(rows)

    def _read(self, start: int, length: int) -> bytes:
        try:
            self._file.seek(start)
            return self._file.read(length)
        except OSError as error:
            raise failed(error, os.fsencode(self._directory), "what was put aside cannot be read") from error
