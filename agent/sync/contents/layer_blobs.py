"""The blobs of layers, read as a stream of bytes, or as the items of a tar without a table of contents."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256

from agent.archive.layer.checks import Expected
from agent.archive.layer.reader import LayerReader
from agent.archive.stream.limits import ArchiveLimits
from agent.core.image.image import Layer
from agent.core.model.entry import Kind
from agent.core.model.tar_item import Placed, TarItem
from agent.core.spelling.digest import Digest
from agent.store.port import Store
from agent.sync.contents.prefetch import prefetched


class LayerBlobs:
    """Reads whole layers from the repositories that have them.

    Args:
        store: the repository that has the layers of changes.
        base_store: the repository that has the layers of bases.
        limits: how large a layer may be.
    """

    def __init__(self, store: Store, base_store: Store, limits: ArchiveLimits) -> None:
        self.store = store
        self._base_store = base_store
        self._limits = limits
        self._sizes: dict[str, int] = {}
        self._take: Callable[[Digest], bytes | None] = lambda digest: None

    @contextmanager
    def prefetched(self, sizes: Mapping[Digest, int]) -> Generator[None]:
        """Read small blobs of changes ahead, in the order of `sizes` (bytes), until the context ends."""
        # Not more than was promised: what a registry sends may have no end.
        with prefetched(sizes, lambda digest: b"".join(self.store.read_blob(digest, 0, sizes[digest]))) as self._take:
            yield

    def chunks(self, layer: Layer) -> Iterable[bytes]:
        """Return the bytes of a layer, compressed as they are stored."""
        blob = self._take(layer.digest)
        store = self._base_store if layer.kind == "base" else self.store
        return store.read_blob(layer.digest) if blob is None else (blob,)

    def reader(self, layer: Layer) -> LayerReader:
        """Return a reader of a layer's tar, which checks the layer's digests at its end."""
        return LayerReader(self.chunks(layer), layer.media_type, expected(layer), self._limits)

    def base_items(self, layers: Iterable[Layer]) -> Iterator[tuple[int, Iterable[TarItem]]]:
        """Yield the items of each layer of a base, with the count of bytes in the tars below it."""
        start = 0
        for layer in layers:
            reader = self.reader(layer)
            yield start, map(digested, reader)
            self._sizes[layer.digest] = reader.size
            start += reader.size

    def tar_size(self, layer: Layer) -> int:
        """Return the bytes of a base's tar, which `base_items` has read before."""
        return self._sizes[layer.digest]


def expected(layer: Layer) -> Expected:
    """Return the digests and the size that a layer must have."""
    return Expected(layer.digest, layer.size, layer.diff_id)


def digested(found: tuple[TarItem, Iterator[bytes]]) -> TarItem:
    """Return an item with its content's digest, which a tar of others does not have."""
    item, content = found
    if type(item) is not Placed or item.node.kind is not Kind.FILE:
        return item
    digest = sha256()
    for chunk in content:
        digest.update(chunk)
    return item._replace(node=item.node._replace(sha256=digest.digest()))
