"""The changes of a union, read from their layers: tables of contents, flattened bases, and the merge of all."""

from __future__ import annotations

from collections.abc import Iterable

from agent.archive.layer.whole import read_whole
from agent.archive.stream.limits import DEFAULT_LIMITS, ArchiveLimits
from agent.archive.toc.toc import Toc
from agent.archive.toc.trailer import MissingTocError
from agent.core.directory.state_as_squash import StateAsSquash
from agent.core.image.change_set import ChangeSet
from agent.core.image.image import Layer
from agent.core.layers.flatten import base_change, flatten_below
from agent.core.layers.infer_toc import infer_toc
from agent.core.merge.merge import Merged, merge
from agent.core.model.change import Change, Squash, ancestor
from agent.core.model.entry import Context, Kind, TocEntry, TreeEntry, Write
from agent.store.port import Store
from agent.sync.contents.layer_blobs import LayerBlobs, digested, expected
from agent.sync.contents.toc_tables import SquashEntries, TocTables, cannot_conflict, id_of


class ChangeLayers:
    """Reads the changes of one union from their layers, and merges them.

    Attributes:
        whole: read whole layers only, never ranges; use a table of contents only after its layer was verified; use no
            `stand_in`.

    Args:
        store: the repository that has the layers.
        union: all changes that a caller will ask for.
        base_store: the repository that has the bases' layers, if it is another.
        stand_in: the state of a directory, to be used in place of the layers that it has.
        limits: how large a layer may be.
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
        self.whole = whole
        self._limits = limits
        self._blobs = LayerBlobs(store, base_store or store, limits)
        self._union = union
        self._stand_in = None if whole else stand_in
        self._tables = TocTables(store, limits, self._verify)
        self._derived: dict[str, list[TocEntry]] = {}
        self._from_below: list[TreeEntry] = []

    def changes(self, union: ChangeSet) -> list[Change]:
        """Return the changes of a union, bases flattened, with their tables of contents.

        Raises:
            IntegrityError, UnsafeArchiveError: a layer is not what it promises.
            AuthError, UnavailableError: see `agent.errors`.
        """
        bases = [base_change(base, self._blobs.base_items(layers)) for base, layers in sorted(union.bases.items())]
        self._tables.read(layer for layer in union.order if layer.record)
        # A superseded change has no effect, but the ancestry needs its record.
        dropped = [
            Change(record.id, record.stamp, record.parents, (), "", *record.writer) for record in union.dropped.values()
        ]
        return [*bases, *dropped, *(self._change(layer) for layer in union.order if layer.record)]

    def below(self, base: str, top: bytes) -> list[TreeEntry] | None:
        """Return the tree of a base below its directory `top`, with paths from there; None if `top` is no directory.

        Raises:
            IntegrityError, UnsafeArchiveError: a layer is not what it promises.
            AuthError, UnavailableError: see `agent.errors`.
        """
        writes = flatten_below(self._blobs.base_items(self._union.bases[base]), top)
        if writes is None:
            return None
        return [TreeEntry(row.path, row.node, None, base, row.offset, row.group or None) for row in writes]

    def squashes(self, union: ChangeSet, *, claims: bool = True) -> list[Squash]:
        """Return the squashes of a union, with their tables of contents.

        Args:
            claims: whether the claims in them are needed; else they may be left out.

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

    def _merged(self, union: ChangeSet, read: ChangeSet, *squashes: Squash) -> Merged:
        """Merge a union from its layers in `read`, and `squashes` for all others."""
        self._tables.read(read.order)
        changes = self.changes(read)
        is_agreed = cannot_conflict(union, changes, [*self.squashes(read), *squashes])
        if squashes and not is_agreed and any(record.unpulled for record in read.records.values()):
            # A sparse writer's change may disagree with its own past, so that the layers of that are needed.
            return self._merged(union, union)
        # Claims only matter if changes can disagree.
        return merge(changes, [*self.squashes(read, claims=not is_agreed), *squashes], agreed=is_agreed)

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

        A layer that another tool made or encoded anew may have no table of contents. Its entries are then derived from
        its tar, which is read whole, and the tree below it. A negative offset is a content in a layer below.

        Raises:
            IntegrityError: the table of contents is damaged, or the tar is.
        """
        return self._toc(layer)

    def has_toc(self, layer: Layer) -> bool:
        """Say whether a squash's layer has its table of contents. A tool that encodes the layer anew removes it.

        Raises:
            IntegrityError, UnsafeArchiveError: the table is damaged.
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
        """Compare a table of contents with its layer, if layers are read whole."""
        if self.whole:
            for _ in read_whole(toc, self._blobs.chunks(layer), expected(layer), (), self._limits):
                pass

    def _derive(self, layer: Layer) -> list[TocEntry]:
        """Return the entries of a layer without a table of contents."""
        assert layer.record is not None
        tree = list(self.merged(self._union.reaching(layer.record.parents)).tree())
        offsets: dict[int, int] = {}
        entries = infer_toc(tree, map(digested, self._blobs.reader(layer)))
        for index, entry in enumerate(entries):
            if isinstance(entry, Write | Context) and entry.offset < 0 and entry.node.kind is Kind.FILE:
                if entry.offset not in offsets:
                    self._from_below.append(tree[-entry.offset - 1])
                    offsets[entry.offset] = -len(self._from_below)
                entries[index] = entry._replace(offset=offsets[entry.offset])
        return entries
