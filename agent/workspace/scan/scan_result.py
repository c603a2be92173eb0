"""The result of scanning a part of a directory, and its encoding, by which a worker returns it."""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from agent.core.directory.scan_join import ScanJoin
from agent.core.directory.state_row import ScannedPath, StateRow, StateRows
from agent.core.model.entry import Kind, Node, Version, new_tuple
from agent.workspace.state.row_buffer import RowBuffer
from agent.workspace.state.row_codec import ROWS, columns_of, pack, rows_of, unpack
from agent.workspace.state.row_columns import Versions


class ScanResult(NamedTuple):
    """The differences between a part of a directory and its state.

    Attributes:
        scan_join: the paths that differ.
        fresh: the state row of each new path, without a file's sha256.
        size: bytes of the new files.
        leftovers: files of a killed pull.
        warnings: (path, reason) for each path that was skipped.
    """

    scan_join: ScanJoin
    fresh: StateRows
    size: int
    leftovers: list[bytes]
    warnings: list[tuple[bytes, str]]


def dump(result: ScanResult) -> bytes:
    """Encode a result for `load` in this process, or in the one that it was forked from."""
    scan_join = result.scan_join
    together = (
        scan_join.suspects,
        scan_join.replaced.values(),
        scan_join.context.values(),
        scan_join.open_directories.values(),
    )
    pairs = [pair for some in together for pair in some]
    rows = (scan_join.gone, (old for old, _ in pairs), (_row(new) for _, new in pairs), result.fresh)
    return marshal.dumps(
        (
            *([*_packed(some)] for some in rows),
            [len(some) for some in together],
            (
                dict(scan_join.names),
                dict(scan_join.group_paths),
                scan_join.unpulled,
                scan_join.entered,
                scan_join.context_above,
            ),
            (scan_join.total, scan_join.present),
            (result.size, result.leftovers, result.warnings),
        )
    )


def load(data: bytes, directory: str) -> ScanResult:
    """Decode a result; new rows that are too many for memory go to a file in `directory`.

    Raises:
        WorkspaceError: that file cannot be written.
    """
    gone, olds, news, fresh, counts, (names, partners, *sets), (total, standing), rest = marshal.loads(data)  # noqa: S302, our own
    pairs = zip(_unpacked(olds), map(_found, _unpacked(news)), strict=True)
    suspects, replaced, kept, opened = ([*islice(pairs, count)] for count in counts)
    by_path = ({old.path: (old, new) for old, new in some} for some in (replaced, kept, opened))
    buffer = RowBuffer(directory, ROWS)
    for row in _unpacked(fresh):
        buffer.append(row)
    scan_join = ScanJoin([*_unpacked(gone)], suspects, next(by_path), next(by_path), total=total, present=standing)
    scan_join.open_directories = next(by_path)
    scan_join.names.update(names)
    scan_join.group_paths.update(partners)
    scan_join.unpulled, scan_join.entered, scan_join.context_above = sets
    return ScanResult(scan_join, buffer, *rest)


def _row(found: ScannedPath) -> StateRow:
    """Return a found path as a state row, for which there is an encoding."""
    return StateRow(found.path, Node(Kind.FILE, 0, device=found.device), None, found.fingerprint, found.nlink)


def _found(row: StateRow) -> ScannedPath:
    path, node, _, fingerprint, nlink = row
    found: ScannedPath = new_tuple(ScannedPath, (path, fingerprint, nlink, node.device))
    return found


def _packed(rows: Iterable[StateRow]) -> Iterator[bytes]:
    source, versions = iter(rows), Versions()
    while some := [*islice(source, ROWS)]:
        yield pack(columns_of(some, versions), versions)


def _unpacked(blocks: Iterable[bytes]) -> Iterator[StateRow]:
    versions: list[Version | None] = [None]
    for block in blocks:
        yield from rows_of(unpack(block, versions), versions)
