"""The fingerprints of the paths that a pull changed, 56 bytes for each row of the tree."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from agent.core.directory.state_row import Fingerprint, StateRow
from agent.core.model.entry import new_tuple

_PRINT = struct.Struct("<7q")
_NONE = (0,) * 7


class FingerprintTable:
    """Fingerprints by the number of their row, and by path for paths that are not made in one step.

    Attributes:
        by_path: fingerprints by path; they override the others.

    Args:
        rows: the number of rows of the tree.
        by_path: the first fingerprints by path.
    """

    def __init__(self, rows: int, by_path: Mapping[bytes, Fingerprint]) -> None:
        self.by_path = dict(by_path)
        self._packed = bytearray(rows * _PRINT.size)
        self._large: dict[int, Fingerprint] = {}

    def put(self, row: int, fingerprint: Fingerprint) -> None:
        """Store the fingerprint of a row; rows count from 0."""
        try:
            _PRINT.pack_into(self._packed, row * _PRINT.size, *fingerprint)
        except struct.error:
            self._large[row] = fingerprint

    def applied_to(self, rows: Iterable[StateRow]) -> Iterator[StateRow]:
        """Yield the rows of the tree, each with its stored fingerprint if there is one."""
        by_path, large = self.by_path, self._large
        for number, (row, put) in enumerate(zip(rows, _PRINT.iter_unpack(self._packed), strict=True)):
            path, node, version, _, group = row
            found = by_path.get(path) or large.get(number)
            if found is None and put != _NONE:
                found = new_tuple(Fingerprint, put)
            yield row if found is None else new_tuple(StateRow, (path, node, version, found, group))
