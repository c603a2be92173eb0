"""Infer the table of contents of a layer that has none, from its tar and the tree below it (design, "Head")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from agent.core.directory.scan_diff import diff
from agent.core.directory.scan_join import ScanJoin, join_scan
from agent.core.directory.state_row import Fingerprint, ScannedPath, StateRow
from agent.core.layers.flatten import Flat
from agent.core.layers.whiteouts import mark_whiteouts
from agent.core.model.entry import FILE_TYPES, Context, Node, TocEntry, TreeEntry, Write
from agent.core.model.tar_item import Linked, Placed, TarItem


def infer_toc(tree: Sequence[TreeEntry], items: Iterable[TarItem]) -> list[TocEntry]:
    """Return the entries of a layer, in toc order, as if it was pushed from a directory that held `tree`.

    The layer is applied to the tree by plain OCI rules, and the result is compared with the tree. A missing path was
    deleted in the version that the tree has; a path that the layer only repeats is no write.

    Args:
        tree: the tree of the layers below, in bytes order of paths.
        items: the layer's tar, files with the sha256 of their contents.

    Returns:
        entries whose `offset` is a place in the layer's tar, or -(n + 1) if the layer made another name of row n of
        `tree`, whose content it is.

    Raises:
        IntegrityError, UnsafeArchiveError: as `Flat.apply`.
    """
    flat = Flat()
    flat.apply(_placed(tree))
    flat.apply(items)
    after = {write.path: write for write in flat.writes()}
    known = list(_state_of(tree))
    # A file's place serves as its inode number: no two files share one, and one that was left alone keeps its own.
    found = [
        ScannedPath(path, _print(write.offset, write.node), 2 if write.group else 1, write.node.device)
        for path, write in after.items()
    ]
    nodes = {path: write.node for path, write in after.items()}
    joined = ScanJoin()
    fresh = [StateRow(new.path, nodes[new.path], None, new.fingerprint) for new in join_scan(known, found, 1, joined)]
    entries = diff(joined, fresh, nodes)
    entries = replace(entries, rest=mark_whiteouts(entries.rest, known))
    return [
        entry._replace(offset=after[entry.path].offset) if isinstance(entry, Write | Context) else entry
        for entry in entries
    ]


def _firsts(tree: Sequence[TreeEntry]) -> Iterator[tuple[TreeEntry, int]]:
    """Yield each row with the number of the first row that is the same file."""
    first: dict[int, int] = {}
    for number, row in enumerate(tree):
        yield row, number if row.group is None else first.setdefault(row.group, number)


def _placed(tree: Sequence[TreeEntry]) -> Iterator[TarItem]:
    for number, (row, first) in enumerate(_firsts(tree)):
        yield Placed(row.path, row.node, -number - 1) if first == number else Linked(row.path, tree[first].path)


def _state_of(tree: Sequence[TreeEntry]) -> Iterator[StateRow]:
    for row, first in _firsts(tree):
        group = 0 if row.group is None else row.group + 1
        yield StateRow(row.path, row.node, row.version, _print(-first - 1, row.node), group)


def _print(file: int, node: Node) -> Fingerprint:
    return Fingerprint(file, node.size, FILE_TYPES[node.kind] | node.mode, node.uid, node.gid, node.mtime, 0)
