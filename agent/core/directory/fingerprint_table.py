"""The fingerprints of what a pull touched, in a few bytes each where there are many."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from agent.core.directory.state_row import Fingerprint, Known
from agent.core.model.entry import new_tuple

_PRINT = struct.Struct("<7q")
_NONE = (0,) * 7


class Prints:
    """Fingerprints by row of the tree, and by path for what is not made in one step.

    Attributes:
        at: those by path; they count more than the others.

    Args:
        rows: how many rows the tree has.
        at: the first of those by path.
    """

    def __init__(self, rows: int, at: Mapping[bytes, Fingerprint]) -> None:
        self.at = dict(at)
        self._packed = bytearray(rows * _PRINT.size)
        self._large: dict[int, Fingerprint] = {}

    def put(self, row: int, stands: Fingerprint) -> None:
        """Remember the fingerprint of a row, which counts from 0."""
        try:
            _PRINT.pack_into(self._packed, row * _PRINT.size, *stands)
        except struct.error:
            self._large[row] = stands

    def over(self, rows: Iterable[Known]) -> Iterator[Known]:
        """Yield the rows of the tree, with the fingerprints that were put where there are any."""
        at, large = self.at, self._large
        for number, (row, put) in enumerate(zip(rows, _PRINT.iter_unpack(self._packed), strict=True)):
            path, node, version, _, group = row
            found = at.get(path) or large.get(number)
            if found is None and put != _NONE:
                found = new_tuple(Fingerprint, put)
            yield row if found is None else new_tuple(Known, (path, node, version, found, group))
