"""A set of changes as a stack of layers that any OCI tool can apply (design, "Head")."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import NamedTuple

from agent.core.layers.applied import Application, Applied, StackedLayer
from agent.core.merge.merge import Merged
from agent.core.merge.path_order import join
from agent.core.model.change import Change
from agent.core.model.entry import Kind, Node, TreeEntry, Version
from agent.core.model.tar_item import Linked, Placed, TarItem, Whiteout
from agent.core.spelling.path import ancestors, parent


class FixUp(NamedTuple):
    """The content of the last layer, with which plain application gives the merged tree.

    Attributes:
        whiteouts: paths, in bytes order.
        rows: the rows to place, with every directory above them, in bytes order. Rows that share a `group` that is
            not None are all names of one file.
    """

    whiteouts: tuple[bytes, ...]
    rows: tuple[TreeEntry, ...]

    def items(self) -> Iterator[TarItem]:
        """Yield the items of the layer's tar, in its order."""
        for path in self.whiteouts:
            yield Whiteout(path)
        first: dict[int, bytes] = {}
        for row in self.rows:
            to = row.path if row.group is None else first.setdefault(row.group, row.path)
            yield Placed(row.path, row.node) if to == row.path else Linked(row.path, to)


def layers(merged: Merged) -> tuple[StackedLayer, ...]:
    """Return the layers of a set in (stamp, id) order, a squash at its largest covered change's."""

    def position(layer: StackedLayer) -> tuple[Version, str]:
        if isinstance(layer, Change):
            return layer.version, layer.id
        records = merged.ancestry.records
        newest = max(Version(records[id_].stamp, id_) for id_ in layer.covers if id_ in records)
        return newest, layer.id

    return tuple(sorted((*merged.changes, *merged.squashes), key=position))


def fix_up(merged: Merged) -> FixUp | None:
    """Return the layer to put over `layers(merged)`; None if none is needed.

    It is needed if plain application gives another tree, except for mtimes of directories and of touched files,
    or if a union file system would show whiteouts as names. Memory grows with the differences and the link groups.
    """
    comparison = _Comparison(Application(layers(merged)))
    comparison.run(merged.tree())
    if not comparison.differs:
        return None
    wanted = comparison.wanted()
    holders = {parent(path) for path in comparison.extra} | comparison.application.whitened
    candidates = wanted | holders
    candidates.update([above for path in candidates for above in ancestors(path)])
    rows = {row.path: row for row in merged.tree() if row.path in candidates}
    living = {path for path in holders if path in rows and rows[path].node.kind is Kind.DIR} | {b""}
    chosen = wanted | living
    chosen.update([above for path in chosen for above in ancestors(path)])
    return FixUp(
        tuple(path for path in comparison.extra if parent(path) in living),
        tuple(_regrouped([row for path, row in rows.items() if path in chosen])),
    )


class _Comparison:
    """Compares the tree of plain application with the merged tree."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.extra: list[bytes] = []
        """Paths that only plain application has."""
        self._different: set[bytes] = set()
        self._merged_files: dict[bytes, int] = {}
        self._applied_files: dict[bytes, tuple[int, int]] = {}

    @property
    def differs(self) -> bool:
        return bool(self.extra or self._different or self.application.dead_names)

    def run(self, tree: Iterable[TreeEntry]) -> None:
        """Read both to the end."""
        for have, want in join(self.application, tree):
            if want is None:
                assert have is not None
                self.extra.append(have.path)
                continue
            if want.group is not None:
                self._merged_files[want.path] = want.group
            if have is not None and have.file is not None:
                self._applied_files[have.path] = have.file
            if have is None or not _same(have, want):
                self._different.add(want.path)
        merged, applied = _classes(self._merged_files), _classes(self._applied_files)
        for path in merged.keys() | applied.keys():
            if merged.get(path) != applied.get(path):
                self._different.add(path)

    def wanted(self) -> set[bytes]:
        """Return the paths to place: the differences, each with all names of its file."""
        classes = _classes(self._merged_files)
        return {name for path in self._different for name in classes.get(path, (path,))}


def _same(have: Applied, want: TreeEntry) -> bool:
    if want.node.kind is Kind.DIR or (have.version is not None and have.version == want.version):
        return _untimed(have.node) == _untimed(want.node)
    return have.node == want.node


def _untimed(node: Node) -> Node:
    return node._replace(mtime=0)


def _classes(files: Mapping[bytes, Hashable]) -> dict[bytes, frozenset[bytes]]:
    """Return the names of its file for each path whose file has several."""
    names: dict[Hashable, list[bytes]] = defaultdict(list)
    for path, file in files.items():
        names[file].append(path)
    classes = (frozenset(paths) for paths in names.values() if len(paths) > 1)
    return {path: paths for paths in classes for path in paths}


def _regrouped(rows: list[TreeEntry]) -> Iterator[TreeEntry]:
    """Yield rows, without the groups that have only one name."""
    count: dict[int, int] = defaultdict(int)
    for row in rows:
        if row.group is not None:
            count[row.group] += 1
    for row in rows:
        yield row._replace(group=None) if row.group is not None and count[row.group] == 1 else row
