"""One look at a part of a directory: where it differs from what is remembered, and how a process tells another."""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from agent.core.directory.scan_join import ScanJoin
from agent.core.directory.state_row import ScannedPath, StateRow, StateRows
from agent.core.model.entry import Kind, Node, Version, new_tuple
from agent.workspace.state.row_buffer import Spill
from agent.workspace.state.rows import ROWS, Versions, columns_of, pack, rows_of, unpack


class Look(NamedTuple):
    """What was found.

    Attributes:
        fresh: a row for each fresh path: what to record of it, but for a file's content.
        size: bytes of the fresh files.
        leftovers: files of a pull that was killed.
        warnings: what was left out, and why.
    """

    sifted: ScanJoin
    fresh: StateRows
    size: int
    leftovers: list[bytes]
    warnings: list[tuple[bytes, str]]


def dump(look: Look) -> bytes:
    """Return a look as bytes, for `load` in this process or one that it was forked from."""
    sifted = look.sifted
    together = (sifted.suspects, sifted.replaced.values(), sifted.context.values(), sifted.open_directories.values())
    pairs = [pair for some in together for pair in some]
    rows = (sifted.gone, (old for old, _ in pairs), (_row(new) for _, new in pairs), look.fresh)
    return marshal.dumps(
        (
            *([*_packed(some)] for some in rows),
            [len(some) for some in together],
            (dict(sifted.names), dict(sifted.group_paths), sifted.unpulled, sifted.entered, sifted.context_above),
            (sifted.total, sifted.present),
            (look.size, look.leftovers, look.warnings),
        )
    )


def load(data: bytes, directory: str) -> Look:
    """Return the look that was dumped; fresh rows that are too many for memory go to a file in `directory`."""
    gone, olds, news, fresh, counts, (names, partners, *sets), (total, standing), rest = marshal.loads(data)  # noqa: S302, our own
    pairs = zip(_unpacked(olds), map(_found, _unpacked(news)), strict=True)
    suspects, replaced, kept, opened = ([*islice(pairs, count)] for count in counts)
    by_path = ({old.path: (old, new) for old, new in some} for some in (replaced, kept, opened))
    spill = Spill(directory, ROWS)
    for row in _unpacked(fresh):
        spill.append(row)
    sifted = ScanJoin([*_unpacked(gone)], suspects, next(by_path), next(by_path), total=total, present=standing)
    sifted.open_directories = next(by_path)
    sifted.names.update(names)
    sifted.group_paths.update(partners)
    sifted.unpulled, sifted.entered, sifted.context_above = sets
    return Look(sifted, spill, *rest)


def _row(found: ScannedPath) -> StateRow:
    """Return what was found in the shape of what is known, which there are bytes for."""
    return StateRow(found.path, Node(Kind.FILE, 0, device=found.device), None, found.fingerprint, found.nlink)


def _found(row: StateRow) -> ScannedPath:
    path, node, _, stands, nlink = row
    found: ScannedPath = new_tuple(ScannedPath, (path, stands, nlink, node.device))
    return found


def _packed(rows: Iterable[StateRow]) -> Iterator[bytes]:
    source, versions = iter(rows), Versions()
    while some := [*islice(source, ROWS)]:
        yield pack(columns_of(some, versions), versions)


def _unpacked(blocks: Iterable[bytes]) -> Iterator[StateRow]:
    versions: list[Version | None] = [None]
    for block in blocks:
        yield from rows_of(unpack(block, versions), versions)
