"""What to remember of a directory after a change that is known to lie on it, but was not scanned."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from agent.core.directory.state_row import Fingerprint, Known
from agent.core.merge.path_order import grouped
from agent.core.model.entry import Context, Delete, Kind, TocEntry, Touch, TreeEntry, Version, Write
from agent.core.spelling.path import ancestors, directories_above

UNKNOWN = Fingerprint(-1, -1, 0, -1, -1, -1, -1)
"""Equals no fingerprint that lstat gives: whatever stands there is looked at again."""


@dataclass(frozen=True, slots=True)
class Advanced:
    """What to remember once a change lies on the disk. Iterating it, any number of times, yields the rows in order.

    Attributes:
        known: what was remembered before; iterated more than once, as `entries` is.
        entries: the change's table of contents.
        version: the change.
    """

    known: Iterable[Known]
    entries: Iterable[TocEntry]
    version: Version

    def __iter__(self) -> Iterator[Known]:
        needed = directories_above(row.path for row in self._rows() if row.version)
        files = self._files()
        for row in self._rows():
            if (row.version or row.path in needed) and not (files and lies_below(row.path, files)):
                yield row

    def _rows(self) -> Iterator[Known]:
        top = max((row.group for row in self.known), default=0)
        for _, items, _ in grouped([(None, self.known), (None, self.entries)]):
            row = next((item for _, item in items if type(item) is Known), None)
            for _, item in items:
                if type(item) is not Known:
                    row = self._after(row, item, top)
            if row is not None:
                yield row

    def _after(self, row: Known | None, entry: TocEntry, top: int) -> Known | None:
        match entry:
            case Delete():
                return None
            case Write():
                stood = _looked_at_again(row, entry.node.kind)
                return Known(entry.path, entry.node, self.version, stood, top + entry.group if entry.group else 0)
            case Touch() if row is not None:
                stood = _looked_at_again(row, row.node.kind)
                return row._replace(node=row.node._replace(mtime=entry.mtime), print=stood)
            case Context() if row is not None:
                return row._replace(node=entry.node, group=top + entry.group if entry.group else row.group)
            case _:
                return row

    def _files(self) -> Collection[bytes]:
        """Return what the change made above something remembered, and is no directory."""
        above = directories_above(row.path for row in self.known)
        return {
            entry.path
            for entry in self.entries
            if type(entry) is Write and entry.node.kind is not Kind.DIR and entry.path in above
        }


def lies_below(path: bytes, files: Collection[bytes]) -> bool:
    """Say whether a path lies below one of `files`, so that it cannot stand."""
    return any(above in files for above in ancestors(path))


def _looked_at_again(row: Known | None, kind: Kind) -> Fingerprint:
    # What this disk could hold of the path stays known: only the inode is made to fit nothing.
    if row is None or row.print is None or row.node.kind is not kind:
        return UNKNOWN
    return row.print._replace(ino=UNKNOWN.ino)


def unexamined(tree: Iterable[TreeEntry]) -> Iterator[Known]:
    """Yield what to remember of a directory that shall be `tree`, but of which no fingerprint is known."""
    for entry in tree:
        group = 0 if entry.group is None else entry.group + 1
        yield Known(entry.path, entry.node, entry.version, UNKNOWN, group)
