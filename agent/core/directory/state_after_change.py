"""The state after a change that is on the disk, computed without a scan (design, "State and scan")."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from agent.core.directory.state_row import Fingerprint, StateRow
from agent.core.merge.path_order import grouped
from agent.core.model.entry import Context, Delete, Kind, TocEntry, Touch, TreeEntry, Version, Write
from agent.core.spelling.path import ancestors, directories_above

UNKNOWN_FINGERPRINT = Fingerprint(-1, -1, 0, -1, -1, -1, -1)
"""Equal to no fingerprint that lstat(2) reports, so that the next scan examines the path."""


@dataclass(frozen=True, slots=True)
class AdvancedState:
    """The state once a change is on the disk. Iterating it, any number of times, yields the rows in order.

    Attributes:
        rows: the state before; iterated more than once, as `entries` is.
        entries: the change's table of contents.
        version: the change.
    """

    rows: Iterable[StateRow]
    entries: Iterable[TocEntry]
    version: Version

    def __iter__(self) -> Iterator[StateRow]:
        needed = directories_above(row.path for row in self._rows() if row.version)
        files = self._files()
        for row in self._rows():
            if (row.version or row.path in needed) and not (files and lies_below(row.path, files)):
                yield row

    def _rows(self) -> Iterator[StateRow]:
        top = max((row.group for row in self.rows), default=0)
        for _, items, _ in grouped([(None, self.rows), (None, self.entries)]):
            row = next((item for _, item in items if type(item) is StateRow), None)
            for _, item in items:
                if type(item) is not StateRow:
                    row = self._after(row, item, top)
            if row is not None:
                yield row

    def _after(self, row: StateRow | None, entry: TocEntry, top: int) -> StateRow | None:
        match entry:
            case Delete():
                return None
            case Write():
                fingerprint = _to_examine(row, entry.node.kind)
                return StateRow(
                    entry.path, entry.node, self.version, fingerprint, top + entry.group if entry.group else 0
                )
            case Touch() if row is not None:
                fingerprint = _to_examine(row, row.node.kind)
                return row._replace(node=row.node._replace(mtime=entry.mtime), fingerprint=fingerprint)
            case Context() if row is not None:
                return row._replace(node=entry.node, group=top + entry.group if entry.group else row.group)
            case _:
                return row

    def _files(self) -> Collection[bytes]:
        """Return the non-directories that the change wrote above rows of the state."""
        above = directories_above(row.path for row in self.rows)
        return {
            entry.path
            for entry in self.entries
            if type(entry) is Write and entry.node.kind is not Kind.DIR and entry.path in above
        }


def lies_below(path: bytes, files: Collection[bytes]) -> bool:
    """Return whether a path lies below one of `files`, so that it cannot exist."""
    return any(above in files for above in ancestors(path))


def _to_examine(row: StateRow | None, kind: Kind) -> Fingerprint:
    # The other fields show what this disk can hold of the path; only the inode is made to equal none.
    if row is None or row.fingerprint is None or row.node.kind is not kind:
        return UNKNOWN_FINGERPRINT
    return row.fingerprint._replace(ino=UNKNOWN_FINGERPRINT.ino)


def rows_without_fingerprints(tree: Iterable[TreeEntry]) -> Iterator[StateRow]:
    """Yield the state of a directory that equals `tree`, with unknown fingerprints."""
    for entry in tree:
        group = 0 if entry.group is None else entry.group + 1
        yield StateRow(entry.path, entry.node, entry.version, UNKNOWN_FINGERPRINT, group)
