"""The tree that plain application of layers gives, or a union file system, from their tables of contents alone.

In bytes order of paths, in memory that does not grow with the tree. A union file system gives the same tree, because
our layers list every ancestor and use no opaque directories, with one exception: it hides whiteouts only if it merges
directories. A directory from one layer alone shows its whiteouts as names that cannot be opened (design, "Head").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from agent.core.merge.path_order import PathStack, grouped
from agent.core.model.change import Change, Kept, Listed, Squash, SquashEntry, Tombstone
from agent.core.model.entry import Context, Delete, Kind, Node, TocEntry, Version, Write
from agent.core.spelling.path import parent

StackedLayer: TypeAlias = Change | Squash


class Applied(NamedTuple):
    """A path after plain application.

    `version` is None if the layer has none (a directory's listing). Names of one file have equal values of `file`; it
    is None if a layer has only one name of it.
    """

    path: bytes
    node: Node
    version: Version | None
    file: tuple[int, int] | None


class Application:
    """Layers applied one over the other, lowest first. Iterate once to the end; the attributes are complete then.

    Attributes:
        whitened: every directory in which some layer has a whiteout.
        dead_names: the directories in which a union file system would show whiteouts.
    """

    def __init__(self, layers: Sequence[StackedLayer]) -> None:
        self.whitened: set[bytes] = set()
        self.dead_names: set[bytes] = set()
        self._layers = layers
        self._versions = [layer.version if isinstance(layer, Change) else None for layer in layers]
        self._open: PathStack[_Open] = PathStack()
        self._bases = {n for n, layer in enumerate(layers) if isinstance(layer, Change) and not layer.stamp}

    def __iter__(self) -> Iterator[Applied]:
        streams = enumerate(layer.entries for layer in self._layers)
        for path, items, next_path in grouped(streams):
            beyond = next_path is not None and next_path.startswith(path)
            if not self._open and len(items) == 1 and type(items[0][1]) is Write:
                index, write = items[0]
                if not beyond or (index in self._bases and write.node.kind is Kind.DIR):
                    version = self._versions[index]
                    file = (index, write.group) if write.group else None
                    yield Applied(path, write.node, version, file)
                    continue
            while self._open.leave(path):
                pass
            row = self._apply(path, _Here(self._versions, items), beyond)
            if row is not None:
                yield row

    def _apply(self, path: bytes, here: _Here, beyond: bool) -> Applied | None:
        """Return the row of a path, None if nothing is there; `beyond` says that something below it may follow."""
        # The innermost path has the largest cut: it includes those of the paths above it.
        enclosing = self._open.above(path)
        cut = enclosing[-1].cut if enclosing else -1
        if here.whiteouts:
            self._note_whiteouts(path, here.whiteouts)
        own = max(cut, here.whiteout)
        top = here.top if here.top is not None and here.top[0] > own else None
        below = max(own, here.file)
        if beyond:
            providers = [layer for layer in here.directories if layer > below] if top is not None else []
            if below > cut or len(providers) == 1:
                self._open.push(path, _Open(path, below, providers[0] if len(providers) == 1 else None))
        return Applied(path, *top[1:]) if top is not None else None

    def _note_whiteouts(self, path: bytes, layers: list[int]) -> None:
        directory = parent(path)
        self.whitened.add(directory)
        if not directory:
            is_dead = len(self._layers) == 1
        else:
            is_dead = any(above.path == directory and above.provider in layers for above in self._open.above(path))
        if is_dead:
            self.dead_names.add(directory)


class _Open(NamedTuple):
    """A path that later ones may lie below.

    `cut` is the topmost layer that removes everything that lower layers have there; `provider` the only layer
    that provides the directory, if it is one.
    """

    path: bytes
    cut: int
    provider: int | None


class _Here:
    """The entries of all layers at one path.

    `top` is the topmost entry as (layer, node, version, file); `file` and `whiteout` the topmost layer with a
    non-directory or a whiteout; `directories` the layers with a directory.
    """

    __slots__ = ("directories", "file", "top", "whiteout", "whiteouts")

    def __init__(self, versions: Sequence[Version | None], items: Iterable[tuple[int, TocEntry | SquashEntry]]) -> None:
        self.top: tuple[int, Node, Version | None, tuple[int, int] | None] | None = None
        self.file = -1
        self.whiteout = -1
        self.whiteouts: list[int] = []
        self.directories: list[int] = []
        for index, entry in items:
            match entry:
                case Write():
                    self._place(index, entry.node, versions[index], entry.group)
                case Context() | Kept():
                    self._place(index, entry.node, entry.version, entry.group)
                case Listed(placed=True):
                    self._place(index, entry.node, None, 0)
                case Delete(whiteout=True) | Tombstone(whiteout=True):
                    self.whiteouts.append(index)
                    self.whiteout = max(self.whiteout, index)
                case _:
                    pass

    def _place(self, index: int, node: Node, version: Version | None, group: int) -> None:
        if node.kind is Kind.DIR:
            self.directories.append(index)
        else:
            self.file = max(self.file, index)
        if self.top is None or index >= self.top[0]:
            self.top = (index, node, version, (index, group) if group else None)
