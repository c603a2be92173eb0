"""The layers of a union of changes, read: tables of contents, flattened bases, contents."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TypeAlias

from agent.archive.layer.checks import Expected, Hashing
from agent.archive.layer.ranged import read_entries
from agent.archive.layer.reader import LayerReader
from agent.archive.layer.whole import read_whole
from agent.archive.stream.limits import DEFAULT_LIMITS, ArchiveLimits, damaged
from agent.archive.toc.toc import Toc
from agent.archive.toc.toc_rules import InTar
from agent.archive.toc.trailer import MissingTocError
from agent.core.directory.fetch_list import FetchList
from agent.core.directory.state_as_squash import STATE_ID, StateAsSquash
from agent.core.image.change_set import ChangeSet
from agent.core.image.image import Layer
from agent.core.layers.flatten import base_change, flatten_below
from agent.core.layers.infer_toc import infer_toc
from agent.core.merge.merge import Merged, merge
from agent.core.model.change import Change, Squash, ancestor
from agent.core.model.entry import Context, Kind, Node, TocEntry, TreeEntry, Write
from agent.core.model.tar_item import Placed, TarItem
from agent.core.spelling.digest import Digest
from agent.errors import IntegrityError
from agent.remedy import READ_ALL
from agent.store.port import Store
from agent.sync.remote.prefetch import prefetched
from agent.sync.remote.tables import SquashEntries, Tables, agreed, id_of

WHOLE_BELOW = 256 << 10
"""A layer of at most this many bytes is read whole: another request costs more than what it could spare."""
WHOLE_SHARE = 0.5
"""A layer is read whole if more than this share of its tar is wanted."""
_HEADER = 1024
Fetched: TypeAlias = tuple[int, bytes, Node, Iterable[bytes]]
"""A file: which row of the tree it is, its path and attributes there, its content."""


class Layers:
    """Reads the layers of one union of changes.

    Attributes:
        fetched: how many layers contents were read from.
        whole: read whole layers only, never ranges, and believe no table of contents before its layer was read; what
            is known is read, too.

    Args:
        store: the repository that has the layers.
        union: the changes that may be asked for.
        base_store: the repository that has the bases' layers, if it is another.
        stand_in: what need not be looked into, because it is known already.
        limits: what to refuse.
    """

    def __init__(
        self,
        store: Store,
        union: ChangeSet,
        base_store: Store | None = None,
        *,
        whole: bool = False,
        stand_in: StateAsSquash | None = None,
        limits: ArchiveLimits = DEFAULT_LIMITS,
    ) -> None:
        self.fetched = 0
        self.whole = whole
        self._limits = limits
        self._store = store
        self._union = union
        self._stand_in = None if whole else stand_in
        self._base_store = base_store or store
        self._tables = Tables(store, limits, self._verify)
        self._derived: dict[str, list[TocEntry]] = {}
        self._lent: list[TreeEntry] = []
        self._sizes: dict[str, int] = {}
        self._prefetched: Callable[[Digest], bytes | None] = lambda digest: None

    @property
    def skipped(self) -> int:
        """How many layers nothing was needed from."""
        union = self._union
        return union.layer_count - self.fetched

    def changes(self, union: ChangeSet) -> list[Change]:
        """Return the changes of a union, bases flattened, with their tables of contents.

        Raises:
            IntegrityError, UnsafeArchiveError: a layer is not what it promises.
            AuthError, UnavailableError: see `agent.errors`.
        """
        bases = [base_change(base, self._base_items(layers)) for base, layers in sorted(union.bases.items())]
        self._tables.read(layer for layer in union.order if layer.record)
        # A superseded change has no effect, but its record tells who descends from whom.
        dropped = [
            Change(record.id, record.stamp, record.parents, (), "", *record.writer) for record in union.dropped.values()
        ]
        return [*bases, *dropped, *(self._change(layer) for layer in union.order if layer.record)]

    def below(self, base: str, top: bytes) -> list[TreeEntry] | None:
        """Return what a base has below its directory `top`, paths from there; None if that is no directory.

        Raises:
            IntegrityError, UnsafeArchiveError: a layer is not what it promises.
            AuthError, UnavailableError: see `agent.errors`.
        """
        writes = flatten_below(self._base_items(self._union.bases[base]), top)
        if writes is None:
            return None
        return [TreeEntry(row.path, row.node, None, base, row.offset, row.group or None) for row in writes]

    def squashes(self, union: ChangeSet, *, claims: bool = True) -> list[Squash]:
        """Return the squashes of a union, with their tables of contents.

        Args:
            claims: whether what is claimed is wanted; else it may be left out.

        Raises:
            IntegrityError, UnsafeArchiveError: a layer is not what it promises.
            AuthError, UnavailableError: see `agent.errors`.
        """
        self._tables.read(union.squashes.values())
        return [self._squash(layer, claims) for _, layer in sorted(union.squashes.items())]

    def merged(self, union: ChangeSet) -> Merged:
        """Return the merge of a union.

        Raises:
            IntegrityError, UnsafeArchiveError: a layer is not what it promises.
            AuthError, UnavailableError: see `agent.errors`.
        """
        rest = union.beyond(self._stand_in.union) if self._stand_in else None
        if self._stand_in is None or rest is None:
            return self._merged(union, union)
        return self._merged(union, rest, self._stand_in.squash)

    def _merged(self, union: ChangeSet, read: ChangeSet, *known: Squash) -> Merged:
        """Merge a union, of which everything that need not be `read` is `known`."""
        self._tables.read(read.order)
        changes = self.changes(read)
        is_agreed = agreed(union, changes, [*self.squashes(read), *known])
        if known and not is_agreed and any(record.unpulled for record in read.records.values()):
            # It settles nothing, not even what lies in its own past: that must be looked up.
            return self._merged(union, union)
        # Where nobody disagrees nobody asks what was claimed.
        return merge(changes, [*self.squashes(read, claims=not is_agreed), *known], agreed=is_agreed)

    def _change(self, layer: Layer) -> Change:
        record = layer.record
        assert record is not None
        return Change(record.id, record.stamp, record.parents, self.toc(layer), layer.diff_id, *record.writer)

    def _squash(self, layer: Layer, claims: bool) -> Squash:
        squash = layer.squash
        assert squash is not None
        records = tuple(map(ancestor, squash.records))
        toc = self._toc(layer)
        assert isinstance(toc, Toc)
        entries = SquashEntries(toc, claims)
        return Squash(squash.id, squash.ids, squash.dropped_ids, records, entries, layer.diff_id)

    def toc(self, layer: Layer) -> Iterable[TocEntry]:
        """Return the entries of a change's layer.

        Of a layer that another tool made or encoded anew, so that it has no table of contents, they are derived from
        its tar and the tree below it; it is read whole. A place below 0 is one in a layer below.

        Raises:
            IntegrityError: the table of contents is damaged, or the tar is.
        """
        return self._toc(layer)

    def has_toc(self, layer: Layer) -> bool:
        """Say whether a squash's layer has its table of contents, which is lost when a tool encodes the layer anew.

        Raises:
            IntegrityError, UnsafeArchiveError: it has one, but a damaged one.
            AuthError, UnavailableError: see `agent.errors`.
        """
        try:
            self._toc(layer)
        except MissingTocError:
            return False
        return True

    def _toc(self, layer: Layer) -> Toc | list[TocEntry]:
        id_ = id_of(layer)
        if id_ not in self._derived:
            if toc := self._tables.find(layer):
                return toc
            self._derived[id_] = self._derive(layer)
        return self._derived[id_]

    def _verify(self, layer: Layer, toc: Toc) -> None:
        if self.whole:
            for _ in read_whole(toc, self._chunks(self._store, layer), _expected(layer), (), self._limits):
                pass

    def _derive(self, layer: Layer) -> list[TocEntry]:
        assert layer.record is not None
        tree = list(self.merged(self._union.reaching(layer.record.parents)).tree())
        lent: dict[int, int] = {}
        entries = infer_toc(tree, map(_digested, self._reader(layer)))
        for index, entry in enumerate(entries):
            if isinstance(entry, Write | Context) and entry.offset < 0 and entry.node.kind is Kind.FILE:
                if entry.offset not in lent:
                    self._lent.append(tree[-entry.offset - 1])
                    lent[entry.offset] = -len(self._lent)
                entries[index] = entry._replace(offset=lent[entry.offset])
        return entries

    @property
    def told(self) -> set[str]:
        """The layers (diff_ids) whose tables of contents tell the paths of files again when these are fetched."""
        read = {layer.diff_id: self._tables.known(layer) for layer in reversed(self._union.order)}
        return {layer for layer, toc in read.items() if toc}

    def fetch(self, wanted: Mapping[str, FetchList]) -> Iterator[Fetched]:
        """Yield files of several layers with their contents, as `contents`; small layers are read ahead.

        Args:
            wanted: files by the layer that their content lies in.
        """
        small = {
            layer.digest: layer.size
            for layer in self._union.order
            if layer.diff_id in wanted and layer.size <= WHOLE_BELOW
        }
        # Not more than was promised: what a registry sends may have no end.
        with prefetched(
            small, lambda digest: b"".join(self._store.read_blob(digest, 0, small[digest]))
        ) as self._prefetched:
            for layer, files in wanted.items():
                yield from self._contents(layer, files)

    def contents(self, layer: str, wanted: Sequence[TreeEntry]) -> Iterator[tuple[TreeEntry, Iterable[bytes]]]:
        """Yield files with their contents, each verified by the time it is exhausted; in any order.

        Args:
            layer: the diff_id of a change's layer, or the id of a base.
            wanted: files whose content lies there.
        """
        files = FetchList()
        for number, entry in enumerate(wanted):
            files.add(entry, number)
        for row, _, _, chunks in self._contents(layer, files):
            yield wanted[row], chunks

    def _contents(self, layer: str, wanted: FetchList) -> Iterator[Fetched]:
        for numbers in wanted.rounds():
            # What lies in a layer below has a place below 0.
            lent = bisect_left(numbers, 0, key=wanted.offset)
            for number in numbers[:lent]:
                here = self._lent[-wanted.offset(number) - 1]
                for _, chunks in self.contents(here.layer, [here]):
                    yield _fetched(wanted, number, None, chunks)
            if lent < len(numbers):
                yield from self._read(layer, wanted, numbers[lent:])

    def _read(self, layer: str, wanted: FetchList, numbers: Sequence[int]) -> Iterator[Fetched]:
        if layer in self._union.bases:
            yield from self._read_base(self._union.bases[layer], wanted, numbers)
            return
        if layer == STATE_ID:
            yield from self._read_known(wanted, numbers)
            return
        here = next(found for found in self._union.order if found.diff_id == layer)
        self.fetched += 1
        toc = self._toc(here)
        if not isinstance(toc, Toc):
            yield from self._read_anyones(here, 0, wanted, numbers)
            return
        places = map(wanted.offset, numbers)
        size = wanted.bytes + _HEADER * len(numbers)
        if self.whole or here.size <= WHOLE_BELOW or size >= toc.size * WHOLE_SHARE:
            found = read_whole(toc, self._chunks(self._store, here), _expected(here), places, self._limits)
        else:
            found = read_entries(
                toc, lambda start, length: self._store.read_blob(here.digest, start, length), places, self._limits
            )
        following = iter(numbers)
        for place, content in found:
            yield _fetched(wanted, next(following), place, content)
        if any(True for _ in following):
            raise _lacking(here)

    def _read_base(self, layers: tuple[Layer, ...], wanted: FetchList, numbers: Sequence[int]) -> Iterator[Fetched]:
        end = 0
        for layer in layers:
            start, end = end, end + self._sizes[layer.digest]
            here = [number for number in numbers if start <= wanted.offset(number) < end]
            if here:
                self.fetched += 1
                yield from self._read_anyones(layer, start, wanted, here)

    def _read_known(self, wanted: FetchList, numbers: Sequence[int]) -> Iterator[Fetched]:
        """Read what is known already. Where it lies is told by nothing but the layers, all of them; few pulls ask."""
        places = {entry.path: number for number in numbers if (entry := wanted.entry(number))}
        lying: dict[str, list[TreeEntry]] = defaultdict(list)
        there = {}
        # Every change since was made on top of what is known: what is left of it has its path still, in whichever
        # layers the target has now. Those that it was pulled from may have been squashed meanwhile.
        for row in self._merged(self._union, self._union):
            number = places.get(row.path)
            if number is not None and (entry := wanted.entry(number)) and entry.node.sha256 == row.node.sha256:
                lying[row.layer].append(row)
                there[row.path] = number
        if len(there) < len(places):
            raise IntegrityError(
                "what is remembered of the directory is not what its layers hold",
                subject="state",
                remedy=READ_ALL,
            )
        for layer, entries in lying.items():
            for row, chunks in self.contents(layer, entries):
                yield _fetched(wanted, there[row.path], None, chunks)

    def _read_anyones(self, layer: Layer, start: int, wanted: FetchList, numbers: Sequence[int]) -> Iterator[Fetched]:
        """Read a layer whose tar alone says what it holds; `start` bytes are counted before it."""
        places = {wanted.offset(number) - start: number for number in numbers}
        for item, content in self._reader(layer):
            if type(item) is Placed and (number := places.get(item.offset)) is not None:
                entry = wanted.entry(number)
                assert entry is not None
                checked = Hashing(content, sha256(), entry.node.sha256, entry.path)
                del places[item.offset]
                yield _fetched(wanted, number, None, checked)
        if places:
            raise _lacking(layer)

    def _base_items(self, layers: tuple[Layer, ...]) -> Iterator[tuple[int, Iterable[TarItem]]]:
        start = 0
        for layer in layers:
            reader = self._reader(layer)
            yield start, map(_digested, reader)
            self._sizes[layer.digest] = reader.size
            start += reader.size

    def _reader(self, layer: Layer) -> LayerReader:
        store = self._base_store if layer.kind == "base" else self._store
        return LayerReader(self._chunks(store, layer), layer.media_type, _expected(layer), self._limits)

    def _chunks(self, store: Store, layer: Layer) -> Iterable[bytes]:
        blob = self._prefetched(layer.digest)
        return store.read_blob(layer.digest) if blob is None else (blob,)


def _fetched(wanted: FetchList, number: int, place: InTar | None, content: Iterable[bytes]) -> Fetched:
    """Return a file with its content; what the tree says of it goes before what its layer's table says at its place."""
    entry = wanted.entry(number)
    if entry is not None:
        return wanted.row(number), entry.path, entry.node, content
    assert place is not None
    return wanted.row(number), place.path, wanted.node(number, place.node), content


def _expected(layer: Layer) -> Expected:
    return Expected(layer.digest, layer.size, layer.diff_id)


def _lacking(layer: Layer) -> IntegrityError:
    return damaged("it lacks a content that was promised to be in it", str(layer.diff_id))


def _digested(found: tuple[TarItem, Iterator[bytes]]) -> TarItem:
    """Return an item with its content's digest, which a tar of others does not tell."""
    item, content = found
    if type(item) is not Placed or item.node.kind is not Kind.FILE:
        return item
    digest = sha256()
    for chunk in content:
        digest.update(chunk)
    return item._replace(node=item.node._replace(sha256=digest.digest()))
