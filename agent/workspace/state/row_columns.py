"""State rows by column, so that they are cut and joined without a loop over rows."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final

from agent.core.model.entry import Version

COLUMNS: Final = 15
VERSION_COLUMN: Final = 6
"""The column of the versions' numbers."""
HASH: Final = 32
"""Bytes of a hash."""


class Versions:
    """Numbers versions in the order in which they appear; 0 means no version."""

    def __init__(self) -> None:
        self._numbers: dict[Version | None, int] = {None: 0}
        self._fresh: list[Version] = []

    def number(self, version: Version | None) -> int:
        """Return the number of `version`."""
        number = self._numbers.get(version)
        if number is None:
            assert version is not None
            number = self._numbers[version] = len(self._numbers)
            self._fresh.append(version)
        return number

    def take(self) -> list[Version]:
        """Return the versions that are new since the last call."""
        fresh, self._fresh = self._fresh, []
        return fresh


class Columns:
    """Rows by column.

    Attributes:
        paths: one for each row.
        numbers: the columns of integers, as in a block.
        hashes: of all rows, `HASH` bytes each.
        rare: values without a column, by the row's number, in order.
    """

    def __init__(self) -> None:
        self.paths: list[bytes] = []
        self.numbers = [array("q") for _ in range(COLUMNS)]
        self.hashes = bytearray()
        self.rare: dict[int, dict[str, Any]] = {}
        self._rare_rows: list[int] = []

    def __len__(self) -> int:
        return len(self.paths)

    def add(self, other: Columns, start: int, stop: int) -> None:
        """Append the rows of `other` from `start` to `stop`; both number versions in the same way."""
        shift = len(self.paths) - start
        if other.rare:
            self.rare |= {index + shift: other.rare[index] for index in other._rare_between(start, stop)}
        for mine, theirs in zip(self.numbers, other.numbers, strict=True):
            mine.extend(theirs[start:stop])
        self.hashes += other.hashes[start * HASH : stop * HASH]
        self.paths += other.paths[start:stop]

    def _rare_between(self, start: int, stop: int) -> list[int]:
        if len(self._rare_rows) != len(self.rare):
            self._rare_rows = sorted(self.rare)
        at = bisect_left(self._rare_rows, start)
        return self._rare_rows[at : bisect_left(self._rare_rows, stop, at)]

    def renumber(self, found: Sequence[Version | None], versions: Versions) -> None:
        """Replace the versions' numbers, which are indices of `found`, by those of `versions`."""
        column = self.numbers[VERSION_COLUMN]
        number = {old: versions.number(found[old]) for old in dict.fromkeys(column)}
        self.numbers[VERSION_COLUMN] = array("q", map(number.__getitem__, column))
        for exception in self.rare.values():
            if "n" in exception:
                exception["n"][VERSION_COLUMN] = versions.number(found[exception["n"][VERSION_COLUMN]])
