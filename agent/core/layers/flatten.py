"""Layers applied one over the other by plain OCI rules (image-spec, layer.md), as a base is (design, "Words").

If the specification is silent, this does what containerd, umoci and buildah do: later entries win, a
non-directory replaces a whole subtree, a directory over a directory updates its attributes, whiteouts touch lower
layers only, wherever in the tar they are, and a symbolic link above an entry is followed inside the root.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.core.model.change import Change
from agent.core.model.entry import Kind, Node, Write
from agent.core.model.tar_item import Linked, Opaque, Placed, TarItem, Whiteout
from agent.core.spelling.path import show
from agent.errors import IntegrityError, UnsafeArchiveError

_LINKS_MAX = 40
"""As many symbolic links as Linux follows in one path."""
_FOLLOWED_MAX = 1 << 26
"""Names in the targets of all links that are followed: long links of links in every entry would take for ever."""
_IMPLIED = Node(Kind.DIR, 0o755)
"""A directory that no layer lists."""


class _File:
    """An inode: what hard links share. `offset` is where its header and content lie."""

    __slots__ = ("node", "offset")

    def __init__(self, node: Node, offset: int) -> None:
        self.node = node
        self.offset = offset


class _Name:
    """A name in a directory: an inode, the number of the layer that put it there, and what is below it."""

    __slots__ = ("below", "file", "layer")

    def __init__(self, file: _File, layer: int) -> None:
        self.file = file
        self.layer = layer
        self.below: dict[bytes, _Name] = {}

    @property
    def is_directory(self) -> bool:
        return self.file.node.kind is Kind.DIR


class Flat:
    """A tree that layers are applied to, lowest first."""

    def __init__(self) -> None:
        self._root = _Name(_File(_IMPLIED, 0), 0)
        self._layer = 0
        self._followed = 0
        self._pruned: set[_Name] = set()

    def apply(self, items: Iterable[TarItem], start: int = 0) -> None:
        """Apply one layer.

        Args:
            items: the layer's tar, in its order.
            start: the offset of the layer's tar, in bytes, which is added to the offsets of its items.

        Raises:
            IntegrityError: a hard link names nothing or a directory, or an entry lies below a file.
            UnsafeArchiveError: symbolic links above an entry lead in circles, or through too many names.
        """
        self._layer += 1
        self._pruned.clear()
        for item in items:
            match item:
                case Placed():
                    self._place(item.path, _File(item.node, start + item.offset))
                case Linked():
                    self._link(item)
                case Whiteout():
                    self._whiteout(item.path)
                case Opaque():
                    directory = self._find(item.path, follow=True)
                    if directory is not None:
                        self._prune(directory)

    def writes(self) -> list[Write]:
        """Return the tree, in bytes order of paths.

        Names of one file share a `group`, and each has the `offset` of the content.
        """
        return _writes(self._root)

    def writes_below(self, top: bytes) -> list[Write] | None:
        """As `writes`, of the tree below the directory `top`, with paths relative to it; None if it is no directory.

        Symbolic links on the way are followed inside the root.

        Raises:
            UnsafeArchiveError: they lead in circles.
        """
        start = self._find(top, follow=True)
        return _writes(start) if start is not None and start.is_directory else None

    def _place(self, path: bytes, file: _File) -> None:
        directory, last = self._enter(path)
        name = directory.below.get(last)
        if name is not None and name.is_directory and file.node.kind is Kind.DIR:
            name.file, name.layer = file, self._layer
        else:
            directory.below[last] = _Name(file, self._layer)

    def _link(self, item: Linked) -> None:
        target = None if item.to == item.path else self._find(item.to)
        if target is None or target.is_directory:
            raise IntegrityError(
                "a hard link names no file of the layers so far",
                subject=f"{show(item.path)[:200]} to {show(item.to)[:200]}",
                remedy="the image is damaged; pull another",
            )
        self._place(item.path, target.file)

    def _whiteout(self, path: bytes) -> None:
        above, _, last = path.rpartition(b"/")
        directory = self._find(above, follow=True)
        name = directory.below.get(last) if directory is not None else None
        if directory is not None and name is not None:
            self._prune(name)
            if name.layer != self._layer and not name.below:
                del directory.below[last]

    def _prune(self, top: _Name) -> None:
        """Remove what lower layers have below `top`; directories stay that hold something of this layer."""
        if top in self._pruned:
            return  # everything there is of this layer
        self._pruned.add(top)
        walk = [(top, name, below) for name, below in top.below.items()]
        order = []
        while walk:
            step = walk.pop()
            order.append(step)
            walk.extend((step[2], name, below) for name, below in step[2].below.items())
        for holder, name, below in reversed(order):
            if below.layer != self._layer and not below.below:
                del holder.below[name]

    def _enter(self, path: bytes) -> tuple[_Name, bytes]:
        """Return the directory that `path` goes into, made where it is missing, and the last name."""
        above, _, last = path.rpartition(b"/")
        directory = self._find(above, follow=True, make=True)
        if directory is None or not directory.is_directory:
            raise IntegrityError(
                "an entry lies below something that is no directory",
                subject=show(path)[:300],
                remedy="the image is damaged; pull another",
            )
        return directory, last

    def _find(self, path: bytes, *, follow: bool = False, make: bool = False) -> _Name | None:
        """Return the name at `path`, through symbolic links above its last name, all inside the root.

        With `follow` the last name is followed as well; with `make` missing directories are made.
        """
        trail = [self._root]
        names = [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]
        budget = _LINKS_MAX
        while names:
            part = names.pop()
            if part == b"..":
                trail = trail[:-1] or trail
                continue
            name = trail[-1].below.get(part)
            if name is None:
                if not make or not trail[-1].is_directory:
                    return None
                name = trail[-1].below[part] = _Name(_File(_IMPLIED, 0), self._layer)
            if name.file.node.kind is Kind.LINK and (names or follow):
                budget = _spend(budget, path)
                target = name.file.node.target
                if target.startswith(b"/"):
                    trail = trail[:1]
                parts = [part for part in reversed(target.split(b"/")) if part not in (b"", b".")]
                names.extend(parts)
                self._followed += len(parts)
                if self._followed > _FOLLOWED_MAX:
                    raise _leads_nowhere("symbolic links lead through too many names", path)
                continue
            trail.append(name)
        return trail[-1]


def flatten(layers: Iterable[tuple[int, Iterable[TarItem]]]) -> list[Write]:
    """Return the tree of a stack of layers of another tool, in bytes order of paths.

    Args:
        layers: lowest first, each with the number of bytes of tar before it, and its items in the tar's order.
            Read strictly one after the other.

    Raises:
        IntegrityError, UnsafeArchiveError: as `Flat.apply`.
    """
    return _applied(layers).writes()


def flatten_below(layers: Iterable[tuple[int, Iterable[TarItem]]], top: bytes) -> list[Write] | None:
    """Return the same for the directory `top`, as `Flat.writes_below`."""
    return _applied(layers).writes_below(top)


def _applied(layers: Iterable[tuple[int, Iterable[TarItem]]]) -> Flat:
    flat = Flat()
    for start, items in layers:
        flat.apply(items, start)
    return flat


def base_change(id_: str, layers: Iterable[tuple[int, Iterable[TarItem]]]) -> Change:
    """Return the base as one change of stamp 0 (design, "Base").

    An entry's `offset` counts from the start of the first layer's tar through the concatenation of the layers'
    uncompressed tars; the change's `layer` is its id, because it lies in several.

    Args:
        id_: the platform manifest's digest.
        layers: as for `flatten`.

    Raises:
        IntegrityError, UnsafeArchiveError: as `Flat.apply`.
    """
    return Change(id_, 0, (), flatten(layers), layer=id_)


def _writes(top: _Name) -> list[Write]:
    names = sorted(_walk(b"", top), key=lambda found: found[0])
    seen: dict[_File, int] = {}
    for _, name in names:
        seen[name.file] = seen.get(name.file, 0) + 1
    shared = (file for file, count in seen.items() if count > 1)
    groups = {file: number for number, file in enumerate(shared, 1)}
    return [Write(path, name.file.node, None, name.file.offset, groups.get(name.file, 0)) for path, name in names]


def _walk(prefix: bytes, top: _Name) -> Iterator[tuple[bytes, _Name]]:
    walk = [(prefix, top)]
    while walk:
        at, directory = walk.pop()
        for name, below in directory.below.items():
            path = at + b"/" + name if at else name
            yield path, below
            if below.below:
                walk.append((path, below))


def _spend(budget: int, path: bytes) -> int:
    if budget == 0:
        raise _leads_nowhere("symbolic links lead in circles", path)
    return budget - 1


def _leads_nowhere(what: str, path: bytes) -> UnsafeArchiveError:
    return UnsafeArchiveError(what, subject=show(path)[:300], remedy="the image is hostile or damaged; do not use it")
