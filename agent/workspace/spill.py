"""Rows put aside until their prints are known: few stay in memory, many go to a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from types import TracebackType

from agent.core.entry import Version
from agent.core.known import Known
from agent.workspace.failure import failed
from agent.workspace.rows import ROWS, Versions, pack, unpack

MOST: int = 1 << 16
"""Rows that stay in memory, 40 MiB at most."""


class Spill:
    """Rows in the order in which they were appended; iterate it any number of times after the last.

    What does not fit into memory lies in a file without a name in `directory`, gone when the context ends.

    Raises:
        WorkspaceError: there is no room for it.
    """

    def __init__(self, directory: str, most: int = MOST) -> None:
        self._directory = directory
        self._most = most
        self._recent: list[Known] = []
        self._count = 0
        self._lengths: list[int] = []
        self._versions = Versions()
        self._file = -1

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __len__(self) -> int:
        return self._count

    def append(self, row: Known) -> None:
        """Add the next row."""
        self._count += 1
        self._recent.append(row)
        if len(self._recent) > self._most:
            self._put_aside()

    def __iter__(self) -> Iterator[Known]:
        versions: list[Version | None] = [None]
        at = 0
        for length in self._lengths:
            yield from unpack(os.pread(self._file, length, at), versions)
            at += length
        yield from self._recent

    def _put_aside(self) -> None:
        try:
            if self._file < 0:
                with tempfile.TemporaryFile(dir=self._directory) as file:
                    self._file = os.dup(file.fileno())
            for at in range(0, len(self._recent), ROWS):
                block = pack(self._recent[at : at + ROWS], self._versions)
                self._lengths.append(len(block))
                while block:
                    block = block[os.write(self._file, block) :]
        except OSError as error:
            raise failed(error, os.fsencode(self._directory), "rows cannot be put aside here") from error
        self._recent.clear()
