"""The files that a pull needs from one layer, in a few bytes each: a workspace may have a million of them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final

from agent.core.model.entry import Node, TreeEntry

_LARGEST: Final = (1 << 63) - 1


class Wanted:
    """Files whose content lies in one layer.

    Where the layer's own table of contents tells path and attributes again, all but the mtime, only places are kept.

    Attributes:
        bytes: of all contents.
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

    def add(self, entry: TreeEntry, row: int, *, told: bool = False) -> None:
        """Want a file, which is the `row`-th of the tree; `told` says that the layer's table tells its path again."""
        _, node, _, _, offset, group = entry
        if self._offsets and offset <= self._offsets[-1]:
            self._is_sorted = False
        if not told or group is not None or not -_LARGEST <= node.mtime <= _LARGEST:
            self._entries[len(self._offsets)] = entry
        self._offsets.append(offset)
        self._rows.append(row)
        self._mtimes.append(node.mtime if -_LARGEST <= node.mtime <= _LARGEST else 0)
        self.bytes += node.size

    def rounds(self) -> Iterator[list[int] | range]:
        """Yield the numbers of the files in the order of their places, each place once in a round.

        Two files that were names of one share a place; what a stream gives once is read again for the second.
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
        """Return where a file's header and content lie."""
        return self._offsets[number]

    def row(self, number: int) -> int:
        """Return which row of the tree a file is."""
        return self._rows[number]

    def entry(self, number: int) -> TreeEntry | None:
        """Return a file as the tree has it, None if that is to be told by the layer's table of contents."""
        return self._entries.get(number)

    def node(self, number: int, told: Node) -> Node:
        """Return a file's attributes, of which its layer's table of contents says `told`."""
        mtime = self._mtimes[number]
        return told if told.mtime == mtime else told._replace(mtime=mtime)
