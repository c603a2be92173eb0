"""What to remember of a directory after a change that is known to lie on it, but was not scanned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.core.entry import Context, Delete, TocEntry, Touch, TreeEntry, Version, Write
from agent.core.known import Fingerprint, Known

UNKNOWN = Fingerprint(-1, -1, 0, -1, -1, -1, -1)
"""Equals no fingerprint that lstat gives: whatever stands there is looked at again."""


def advance(known: Iterable[Known], entries: Iterable[TocEntry], version: Version) -> Iterator[Known]:
    """Yield what to remember once the change `version`, whose table of contents is `entries`, lies on the disk."""
    rows = {row.path: row for row in known}
    top = max((row.group for row in rows.values()), default=0)
    for entry in entries:
        match entry:
            case Delete():
                rows.pop(entry.path, None)
            case Write():
                rows[entry.path] = Known(
                    entry.path, entry.node, version, UNKNOWN, top + entry.group if entry.group else 0
                )
            case Touch() if entry.path in rows:
                row = rows[entry.path]
                rows[entry.path] = row._replace(node=row.node._replace(mtime=entry.mtime), print=UNKNOWN)
            case Context() if entry.path in rows:
                group = top + entry.group if entry.group else rows[entry.path].group
                rows[entry.path] = rows[entry.path]._replace(node=entry.node, group=group)
            case _:
                pass
    return (rows[path] for path in sorted(rows))


def unexamined(tree: Iterable[TreeEntry]) -> Iterator[Known]:
    """Yield what to remember of a directory that shall be `tree`, but of which no fingerprint is known."""
    for entry in tree:
        group = 0 if entry.group is None else entry.group + 1
        yield Known(entry.path, entry.node, entry.version, UNKNOWN, group)
