"""What to remember of a directory after a change that is known to lie on it, but was not scanned."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from agent.core.entry import Context, Delete, Kind, TocEntry, Touch, TreeEntry, Version, Write
from agent.core.known import Fingerprint, Known
from agent.core.path import ancestors

UNKNOWN = Fingerprint(-1, -1, 0, -1, -1, -1, -1)
"""Equals no fingerprint that lstat gives: whatever stands there is looked at again."""


def advance(known: Iterable[Known], entries: Iterable[TocEntry], version: Version) -> Iterator[Known]:
    """Yield what to remember once the change `version`, whose table of contents is `entries`, lies on the disk."""
    rows = {row.path: row for row in known}
    top = max((row.group for row in rows.values()), default=0)
    files = set()
    for entry in entries:
        match entry:
            case Delete():
                rows.pop(entry.path, None)
            case Write():
                stood = _looked_at_again(rows.get(entry.path), entry.node.kind)
                group = top + entry.group if entry.group else 0
                rows[entry.path] = Known(entry.path, entry.node, version, stood, group)
                if entry.node.kind is not Kind.DIR:
                    files.add(entry.path)
            case Touch() if entry.path in rows:
                row = rows[entry.path]
                stood = _looked_at_again(row, row.node.kind)
                rows[entry.path] = row._replace(node=row.node._replace(mtime=entry.mtime), print=stood)
            case Context() if entry.path in rows:
                group = top + entry.group if entry.group else rows[entry.path].group
                rows[entry.path] = rows[entry.path]._replace(node=entry.node, group=group)
            case _:
                pass
    needed = {above for row in rows.values() if row.version for above in ancestors(row.path)}
    return (
        rows[path] for path in sorted(rows) if (rows[path].version or path in needed) and not lies_below(path, files)
    )


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
