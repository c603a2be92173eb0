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
from agent.sync.remote.prefetch import read_all

_KEPT = 48 << 20
"""Bytes of tables of contents, as text, whose entries are kept in memory, where they take twice as much."""


class Tables:
    """The tables of contents of one repository's layers.

    Args:
        store: the repository.
        limits: what to refuse.
        verify: called with each layer and its table before anyone else sees it; raises if they do not agree.
    """

    def __init__(self, store: Store, limits: ArchiveLimits, verify: Callable[[Layer, Toc], None]) -> None:
        self._store = store
        self._limits = limits
        self._verify = verify
        self._room = _KEPT
        # Not by the layer's digest: two changes may have one tar, and have seen different versions.
        self._known: dict[str, Toc] = {}
        self._by_tar: dict[str, Toc] = {}

    def known(self, layer: Layer) -> Toc | None:
        """Return a layer's table if it was read before."""
        return self._known.get(id_of(layer))

    def find(self, layer: Layer) -> Toc | None:
        """Return a layer's table, None if the layer of a change has lost it.

        Raises:
            MissingTocError: a layer that must have one has none.
            IntegrityError, UnsafeArchiveError: it is damaged, or not the one that was promised.
            AuthError, UnavailableError: see `agent.errors`.
        """
        toc = self.known(layer)
        if toc is None and (toc := self._inline(layer) or self._fetch(layer)):
            self._keep(layer, toc)
        return toc

    def read(self, layers: Iterable[Layer]) -> None:
        """Read the tables that are not at hand, all at once."""
        lacking = []
        for layer in layers:
            if self.known(layer):
                continue
            if toc := self._inline(layer):
                self._keep(layer, toc)
            elif layer.encoding:  # where its place is not known, it may have none
                lacking.append(layer)
        for layer, found in zip(lacking, read_all(lacking, self._fetch), strict=True):
            if found:
                self._keep(layer, found)

    def _keep(self, layer: Layer, toc: Toc) -> None:
        first = self._by_tar.setdefault(layer.diff_id, toc)
        # A file is found by its layer's diff_id and its place in the tar.
        if first is not toc and any(one != other for one, other in zip_longest(_files(first), _files(toc))):
            raise damaged("two tables of contents say different things of one tar", str(layer.diff_id))
        self._verify(layer, toc)
        self._known[id_of(layer)] = toc
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
    """The entries of a squash, read anew each time; what is claimed may be left out if it is not wanted."""

    toc: Toc
    claims: bool = True

    def __iter__(self) -> Iterator[SquashEntry]:
        return self.toc.squashed(claims=self.claims)


def agreed(union: ChangeSet, changes: Iterable[Change], squashes: Iterable[Squash]) -> bool:
    """Say whether nothing in a union can disagree, or make one file of two: it is a chain, and has no link groups."""
    origins: list[Change | Squash] = [*changes, *squashes]
    return union.is_chain and not any(_has_links(origin.entries) for origin in origins)


def _has_links(entries: Iterable[TocEntry] | Iterable[SquashEntry]) -> bool:
    """Say whether entries may have link groups."""
    told = entries.toc if isinstance(entries, SquashEntries) else entries
    return (
        told.may_have_links
        if isinstance(told, Toc | StateSquashEntries)
        else any(getattr(entry, "group", 0) for entry in entries)
    )


def id_of(layer: Layer) -> str:
    """Return the id of the change or squash in a layer."""
    described = layer.record or layer.squash
    assert described is not None
    return described.id


def _files(toc: Toc) -> Iterator[tuple[int, bytes, Node]]:
    """Yield where the files of a tar lie, and what they are."""
    return (
        (entry.offset, entry.path, entry.node)
        for entry, link_to in toc.placed()
        if link_to is None and entry.node.kind is Kind.FILE
    )
