"""The rows of a state after a push (design, "State and scan")."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count

from agent.core.directory.scan_join import ScanJoin
from agent.core.directory.state_after_change import lies_below
from agent.core.directory.state_row import StateRow
from agent.core.model.entry import Kind, Node
from agent.core.spelling.path import directories_above


@dataclass(frozen=True, slots=True)
class PatchedRows:
    """Rows with some replaced and some removed. Iterating it yields the result, in bytes order of paths.

    Attributes:
        rows: the rows before.
        replacements: rows that are new, or replace those at their paths.
        removed: the paths of rows to leave out.
    """

    rows: Iterable[StateRow]
    replacements: Iterable[StateRow]
    removed: Collection[bytes] = frozenset()

    def __iter__(self) -> Iterator[StateRow]:
        rows = (row for row in self.rows if row[0] not in self.removed)
        old = next(rows, None)
        for row in self.replacements:
            while old is not None and old[0] < row[0]:
                yield old
                old = next(rows, None)
            if old is not None and old[0] == row[0]:
                old = next(rows, None)
            yield row
        if old is not None:
            yield old
            yield from rows


def state_after_push(
    known: Iterable[StateRow], joined: ScanJoin, nodes: Mapping[bytes, Node], written: Iterable[StateRow]
) -> PatchedRows:
    """Return the state after a push.

    Args:
        known: the rows before; iterated more than once.
        nodes: as for `diff`, of suspect paths.
        written: a row for each of the change's writes, completed, with the change's version and no group, in bytes
            order; iterated more than once.
    """
    groups = _groups(joined)
    present = joined.context | {old.path: (old, found) for old, found in joined.suspects}
    present_rows = [
        StateRow(path, nodes.get(path, old.node), old.version, found.fingerprint, groups.get(path, 0))
        for path, (old, found) in sorted(present.items())
    ]
    gone = {old.path for old in joined.gone}
    if joined.unpulled:
        files = _above_unpulled(known, written)
        gone |= {row.path for row in known if row.fingerprint is None and lies_below(row.path, files)}
    if groups:
        written = (row._replace(group=groups[row.path]) if row.path in groups else row for row in written)
    return PatchedRows(PatchedRows(known, present_rows, gone), written)


def _groups(joined: ScanJoin) -> Mapping[bytes, int]:
    """Number the link groups on the disk, with other numbers than those of paths that were not pulled."""
    free = (number for number in count(1) if number not in joined.unpulled)
    linked = sorted(names for names in joined.names.values() if len(names) > 1)
    return {name: number for names, number in zip(linked, free, strict=False) for name in names}


def _above_unpulled(known: Iterable[StateRow], written: Iterable[StateRow]) -> Collection[bytes]:
    """Return written non-directories above paths that were not pulled: these paths cannot exist any more."""
    above = directories_above(row.path for row in known if row.fingerprint is None)
    return {row.path for row in written if row.path in above and row.node.kind is not Kind.DIR}
