"""The contents of files, read from the layers that hold them: by ranges of a layer, or from whole layers."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TypeAlias

from agent.archive.layer.checks import Hashing
from agent.archive.layer.ranged import read_entries
from agent.archive.layer.whole import read_whole
from agent.archive.stream.limits import damaged
from agent.archive.toc.toc import Toc
from agent.archive.toc.toc_rules import InTar
from agent.core.directory.fetch_list import FetchList
from agent.core.directory.state_as_squash import STATE_ID
from agent.core.image.image import Layer
from agent.core.model.entry import Node, TreeEntry
from agent.core.model.tar_item import Placed
from agent.errors import IntegrityError
from agent.remedy import READ_ALL
from agent.sync.contents.change_layers import ChangeLayers
from agent.sync.contents.layer_blobs import expected

WHOLE_BELOW = 256 << 10
"""A layer of at most this many bytes is read whole: a second request costs more than the bytes that it saves."""
WHOLE_SHARE = 0.5
"""A layer is read whole if more than this share of its tar is wanted."""
_HEADER = 1024
Fetched: TypeAlias = tuple[int, bytes, Node, Iterable[bytes]]
"""A file: the number of its row in the tree, its path and node there, its content."""


class Layers(ChangeLayers):
    """Reads the changes of one union, and the contents of files, from their layers.

    Attributes:
        fetched: how many layers contents were read from.
    """

    fetched = 0

    @property
    def skipped(self) -> int:
        """How many layers nothing was read from."""
        return self._union.layer_count - self.fetched

    @property
    def with_toc(self) -> set[str]:
        """The layers (diff_ids) with a table of contents: a fetch from them gets the paths of files from there."""
        tables = {layer.diff_id: self._tables.cached(layer) for layer in reversed(self._union.order)}
        return {layer for layer, toc in tables.items() if toc}

    def fetch(self, wanted: Mapping[str, FetchList]) -> Iterator[Fetched]:
        """Yield files of several layers with their contents, as `contents`; small layers are read ahead.

        Args:
            wanted: the files, by the layer that has their content.

        Raises:
            IntegrityError, UnsafeArchiveError: a layer is not what it promises.
            AuthError, UnavailableError: see `agent.errors`.
        """
        small = {
            layer.digest: layer.size
            for layer in self._union.order
            if layer.diff_id in wanted and layer.size <= WHOLE_BELOW
        }
        with self._blobs.prefetched(small):
            for layer, files in wanted.items():
                yield from self._contents(layer, files)

    def contents(self, layer: str, wanted: Sequence[TreeEntry]) -> Iterator[tuple[TreeEntry, Iterable[bytes]]]:
        """Yield files with their contents, in any order. A content is verified when it is read to its end.

        Args:
            layer: the diff_id of a change's layer, or the id of a base.
            wanted: files with their content there.

        Raises:
            IntegrityError, UnsafeArchiveError: the layer is not what it promises.
            AuthError, UnavailableError: see `agent.errors`.
        """
        files = FetchList()
        for number, entry in enumerate(wanted):
            files.add(entry, number)
        for row, _, _, chunks in self._contents(layer, files):
            yield wanted[row], chunks

    def _contents(self, layer: str, wanted: FetchList) -> Iterator[Fetched]:
        for numbers in wanted.rounds():
            # A negative offset is a content in a layer below (`toc`).
            below = bisect_left(numbers, 0, key=wanted.offset)
            for number in numbers[:below]:
                here = self._from_below[-wanted.offset(number) - 1]
                for _, chunks in self.contents(here.layer, [here]):
                    yield _fetched(wanted, number, None, chunks)
            if below < len(numbers):
                yield from self._read(layer, wanted, numbers[below:])

    def _read(self, layer: str, wanted: FetchList, numbers: Sequence[int]) -> Iterator[Fetched]:
        if layer in self._union.bases:
            yield from self._read_base(self._union.bases[layer], wanted, numbers)
            return
        if layer == STATE_ID:
            yield from self._read_by_path(wanted, numbers)
            return
        here = next(found for found in self._union.order if found.diff_id == layer)
        self.fetched += 1
        toc = self._toc(here)
        if not isinstance(toc, Toc):
            yield from self._read_tar(here, 0, wanted, numbers)
            return
        places = map(wanted.offset, numbers)
        size = wanted.bytes + _HEADER * len(numbers)
        if self.whole or here.size <= WHOLE_BELOW or size >= toc.size * WHOLE_SHARE:
            found = read_whole(toc, self._blobs.chunks(here), expected(here), places, self._limits)
        else:
            found = read_entries(
                toc, lambda start, length: self._blobs.store.read_blob(here.digest, start, length), places, self._limits
            )
        following = iter(numbers)
        for place, content in found:
            yield _fetched(wanted, next(following), place, content)
        if any(True for _ in following):
            raise _missing_content(here)

    def _read_base(self, layers: tuple[Layer, ...], wanted: FetchList, numbers: Sequence[int]) -> Iterator[Fetched]:
        end = 0
        for layer in layers:
            start, end = end, end + self._blobs.tar_size(layer)
            here = [number for number in numbers if start <= wanted.offset(number) < end]
            if here:
                self.fetched += 1
                yield from self._read_tar(layer, start, wanted, here)

    def _read_by_path(self, wanted: FetchList, numbers: Sequence[int]) -> Iterator[Fetched]:
        """Read contents that the directory's state has no layer for, after a merge of all layers; few pulls need it."""
        places = {entry.path: number for number in numbers if (entry := wanted.entry(number))}
        rows: dict[str, list[TreeEntry]] = defaultdict(list)
        there = {}
        # Every change since the state was made on top of it: a content that is left has its path still, in one of the
        # layers that the target has now. The layers that it was pulled from may have been squashed meanwhile.
        for row in self._merged(self._union, self._union):
            number = places.get(row.path)
            if number is not None and (entry := wanted.entry(number)) and entry.node.sha256 == row.node.sha256:
                rows[row.layer].append(row)
                there[row.path] = number
        if len(there) < len(places):
            raise IntegrityError(
                "what is remembered of the directory is not what its layers hold",
                subject="state",
                remedy=READ_ALL,
            )
        for layer, entries in rows.items():
            for row, chunks in self.contents(layer, entries):
                yield _fetched(wanted, there[row.path], None, chunks)

    def _read_tar(self, layer: Layer, start: int, wanted: FetchList, numbers: Sequence[int]) -> Iterator[Fetched]:
        """Read a layer without a table of contents; the tars below it in its base have `start` bytes."""
        places = {wanted.offset(number) - start: number for number in numbers}
        for item, content in self._blobs.reader(layer):
            if type(item) is Placed and (number := places.get(item.offset)) is not None:
                entry = wanted.entry(number)
                assert entry is not None
                checked = Hashing(content, sha256(), entry.node.sha256, entry.path)
                del places[item.offset]
                yield _fetched(wanted, number, None, checked)
        if places:
            raise _missing_content(layer)


def _fetched(wanted: FetchList, number: int, place: InTar | None, content: Iterable[bytes]) -> Fetched:
    """Return a file with its content, path and node from the tree, or else from its layer's table of contents."""
    entry = wanted.entry(number)
    if entry is not None:
        return wanted.row(number), entry.path, entry.node, content
    assert place is not None
    return wanted.row(number), place.path, wanted.node(number, place.node), content


def _missing_content(layer: Layer) -> IntegrityError:
    return damaged("it lacks a content that was promised to be in it", str(layer.diff_id))
