"""The rows of a state after a push (design, "State and scan")."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count

from agent.core.directory.advance import lies_below
from agent.core.directory.scan_join import Sifted
from agent.core.directory.state_row import Known
from agent.core.model.entry import Kind, Node
from agent.core.spelling.path import directories_above


@dataclass(frozen=True, slots=True)
class Revised:
    """Rows with others in their place. Iterating it yields what it comes to, in bytes order of paths.

    Attributes:
        known: the rows before.
        instead: rows that are new, or count more than those at their paths.
        gone: the paths of rows that are left out.
    """

    known: Iterable[Known]
    instead: Iterable[Known]
    gone: Collection[bytes] = frozenset()

    def __iter__(self) -> Iterator[Known]:
        rows = (row for row in self.known if row[0] not in self.gone)
        under = next(rows, None)
        for row in self.instead:
            while under is not None and under[0] < row[0]:
                yield under
                under = next(rows, None)
            if under is not None and under[0] == row[0]:
                under = next(rows, None)
            yield row
        if under is not None:
            yield under
            yield from rows


def remembered(
    known: Iterable[Known], sifted: Sifted, nodes: Mapping[bytes, Node], written: Iterable[Known]
) -> Revised:
    """Return what to remember after a push.

    Args:
        known: what was remembered before; iterated more than once.
        nodes: as for `diff`, of suspect paths.
        written: a row for each of the change's writes, completed, with the change's version and no group, in bytes
            order; iterated more than once.
    """
    groups = _groups(sifted)
    stood = sifted.kept | {old.path: (old, found) for old, found in sifted.suspects}
    standing = [
        Known(path, nodes.get(path, old.node), old.version, found.print, groups.get(path, 0))
        for path, (old, found) in sorted(stood.items())
    ]
    gone = {old.path for old in sifted.gone}
    if sifted.unpulled:
        files = _above_unpulled(known, written)
        gone |= {row.path for row in known if row.print is None and lies_below(row.path, files)}
    if groups:
        written = (row._replace(group=groups[row.path]) if row.path in groups else row for row in written)
    return Revised(Revised(known, standing, gone), written)


def _groups(sifted: Sifted) -> Mapping[bytes, int]:
    """Number the link groups on disk, apart from those of what was not pulled."""
    free = (number for number in count(1) if number not in sifted.unpulled)
    linked = sorted(names for names in sifted.names.values() if len(names) > 1)
    return {name: number for names, number in zip(linked, free, strict=False) for name in names}


def _above_unpulled(known: Iterable[Known], written: Iterable[Known]) -> Collection[bytes]:
    """Return what was written above something that was not pulled, and is no directory: that cannot stand any more."""
    above = directories_above(row.path for row in known if row.print is None)
    return {row.path for row in written if row.path in above and row.node.kind is not Kind.DIR}
