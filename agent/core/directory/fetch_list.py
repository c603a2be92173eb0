"""The files to fetch from one layer, in a few bytes each: a workspace may have a million of them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final

from agent.core.model.entry import Node, TreeEntry

_LARGEST: Final = (1 << 63) - 1


class FetchList:
    """Files whose content lies in one layer.

    If the path and the attributes come from the layer's table of contents, only the offset and the mtime are stored.

    Attributes:
        bytes: size of all contents.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._offsets = array("q")
        self._rows = array("q")
        self._mtimes = array("q")
        self._entries: dict[int, TreeEntry] = {}
        self._is_sorted = True

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, entry: TreeEntry, row: int, *, toc_has_path: bool = False) -> None:
        """Add a file, the `row`-th of the tree.

        Args:
            toc_has_path: whether the path comes from the table of contents, so that it is not stored.
        """
        _, node, _, _, offset, group = entry
        if self._offsets and offset <= self._offsets[-1]:
            self._is_sorted = False
        if not toc_has_path or group is not None or not -_LARGEST <= node.mtime <= _LARGEST:
            self._entries[len(self._offsets)] = entry
        self._offsets.append(offset)
        self._rows.append(row)
        self._mtimes.append(node.mtime if -_LARGEST <= node.mtime <= _LARGEST else 0)
        self.bytes += node.size

    def rounds(self) -> Iterator[list[int] | range]:
        """Yield the numbers of the files in the order of their offsets, each offset once in a round.

        Two files that were names of one share an offset. A stream yields it once, so the second needs another round.
        """
        if self._is_sorted:
            yield range(len(self))
            return
        rest = sorted(range(len(self)), key=self._offsets.__getitem__)
        while rest:
            now: list[int] = []
            later: list[int] = []
            last = 0
            for number in rest:
                offset = self._offsets[number]
                (later if now and offset == last else now).append(number)
                last = offset
            yield now
            rest = later

    def offset(self, number: int) -> int:
        """Return the offset of a file's header and content in the tar, in bytes."""
        return self._offsets[number]

    def row(self, number: int) -> int:
        """Return the number of a file's row in the tree."""
        return self._rows[number]

    def entry(self, number: int) -> TreeEntry | None:
        """Return a file's row of the tree, None if its path comes from the table of contents."""
        return self._entries.get(number)

    def node(self, number: int, in_toc: Node) -> Node:
        """Return a file's attributes: those in the table of contents, with the mtime of the tree."""
        mtime = self._mtimes[number]
        return in_toc if in_toc.mtime == mtime else in_toc._replace(mtime=mtime)
