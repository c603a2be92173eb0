"""Tables of contents of layers: from the manifest or the layer's end, each read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

from agent.archive.layer.ranged import read_toc
from agent.archive.stream.compression import compression_of
from agent.archive.stream.limits import ArchiveLimits, damaged
from agent.archive.toc.toc import Toc
from agent.archive.toc.trailer import MissingTocError
from agent.core.directory.state_as_squash import StateSquashEntries
from agent.core.image.change_set import ChangeSet
from agent.core.image.image import Layer
from agent.core.model.change import Change, Squash, SquashEntry
from agent.core.model.entry import Kind, Node, TocEntry
from agent.store.port import Store
from agent.sync.contents.prefetch import read_all

CACHE_BYTES = 48 << 20
"""Bytes of tables of contents, as text, whose entries stay in memory, where they take twice as much."""


class TocTables:
    """The tables of contents of one repository's layers.

    Args:
        store: the repository.
        limits: how large a table may be.
        verify: called with each layer and its table before the table is used; raises if they disagree.
    """

    def __init__(self, store: Store, limits: ArchiveLimits, verify: Callable[[Layer, Toc], None]) -> None:
        self._store = store
        self._limits = limits
        self._verify = verify
        self._room = CACHE_BYTES
        # Not by the layer's digest: two changes may have one tar, and have seen different versions.
        self._by_id: dict[str, Toc] = {}
        self._by_tar: dict[str, Toc] = {}

    def cached(self, layer: Layer) -> Toc | None:
        """Return a layer's table if it was read before."""
        return self._by_id.get(id_of(layer))

    def find(self, layer: Layer) -> Toc | None:
        """Return a layer's table, None if a tool removed it from the layer of a change.

        Raises:
            MissingTocError: a squash's layer has none, or the manifest promises one.
            IntegrityError, UnsafeArchiveError: it is damaged, or has another digest than promised.
            AuthError, UnavailableError: see `agent.errors`.
        """
        toc = self.cached(layer)
        if toc is None and (toc := self._inline(layer) or self._fetch(layer)):
            self._keep(layer, toc)
        return toc

    def read(self, layers: Iterable[Layer]) -> None:
        """Read the tables that were not read yet, several at once."""
        missing = []
        for layer in layers:
            if self.cached(layer):
                continue
            if toc := self._inline(layer):
                self._keep(layer, toc)
            elif layer.encoding:  # without a known place, it may have none
                missing.append(layer)
        for layer, found in zip(missing, read_all(missing, self._fetch), strict=True):
            if found:
                self._keep(layer, found)

    def _keep(self, layer: Layer, toc: Toc) -> None:
        first = self._by_tar.setdefault(layer.diff_id, toc)
        # A file is found by its layer's diff_id and its offset in the tar.
        if first is not toc and any(one != other for one, other in zip_longest(_files(first), _files(toc))):
            raise damaged("two tables of contents say different things of one tar", str(layer.diff_id))
        self._verify(layer, toc)
        self._by_id[id_of(layer)] = toc
        if toc.text <= self._room:
            self._room -= toc.text
            toc.store_entries()

    def _inline(self, layer: Layer) -> Toc | None:
        """Return the table of contents that the manifest carries, if it is the one that the change names."""
        encoding = layer.encoding
        if layer.toc is None or encoding is None:
            return None
        toc = Toc(layer.toc, self._limits)
        return toc if (toc.sha256, toc.payload_sha256) == (layer.entries_sha256, encoding.toc_sha256) else None

    def _fetch(self, layer: Layer) -> Toc | None:
        encoding, entries = layer.encoding, layer.entries_sha256
        if not entries:
            return None
        place = (encoding.toc_offset, encoding.toc_length, encoding.toc_sha256) if encoding else None

        def fetch(start: int, length: int) -> bytes:
            return b"".join(self._store.read_blob(layer.digest, start, length))

        try:
            kind = compression_of(layer.media_type)
            return read_toc(fetch, layer.size, kind, sha256=entries, place=place, limits=self._limits)
        except MissingTocError:
            if encoding is not None or layer.record is None:
                raise
            return None


@dataclass(frozen=True, eq=False)
class SquashEntries(Iterable[SquashEntry]):
    """The entries of a squash, read anew each time; without `claims`, claims may be left out."""

    toc: Toc
    claims: bool = True

    def __iter__(self) -> Iterator[SquashEntry]:
        return self.toc.squashed(claims=self.claims)


def cannot_conflict(union: ChangeSet, changes: Iterable[Change], squashes: Iterable[Squash]) -> bool:
    """Say whether no changes of a union can disagree: it is a chain, and has no link groups."""
    origins: list[Change | Squash] = [*changes, *squashes]
    return union.is_chain and not any(_has_links(origin.entries) for origin in origins)


def _has_links(entries: Iterable[TocEntry] | Iterable[SquashEntry]) -> bool:
    """Say whether entries may have link groups."""
    source = entries.toc if isinstance(entries, SquashEntries) else entries
    return (
        source.may_have_links
        if isinstance(source, Toc | StateSquashEntries)
        else any(getattr(entry, "group", 0) for entry in entries)
    )


def id_of(layer: Layer) -> str:
    """Return the id of the change or squash in a layer."""
    described = layer.record or layer.squash
    assert described is not None
    return described.id


def _files(toc: Toc) -> Iterator[tuple[int, bytes, Node]]:
    """Yield offset, path and node of each file in a tar."""
    return (
        (entry.offset, entry.path, entry.node)
        for entry, link_to in toc.placed()
        if link_to is None and entry.node.kind is Kind.FILE
    )
