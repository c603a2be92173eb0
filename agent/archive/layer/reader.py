"""Read a whole layer of another tool, or of ours that another tool recompressed: any tar in any compression.

Decompression and the digests of blob and tar run in a thread of their own, unless the blob is small; the tar is read in
the consumer's. Layers as we write them are read by `whole` and `ranged`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing

from agent.archive.layer.checks import Expected, hash_for, promised
from agent.archive.stream.compression import check_layer_type
from agent.archive.stream.decode import Decoder
from agent.archive.stream.limits import DEFAULT_LIMITS, ArchiveLimits, damaged, excessive
from agent.archive.stream.readahead import read_ahead
from agent.archive.tar.tar_reader import TarReader
from agent.core.model.tar_item import TarItem

_AHEAD = 4
_SMALL = 256 << 10
"""Bytes of a blob that a thread of its own is not worth starting for."""


class LayerReader:
    """Iterate once to get the layer's items with their contents, as `tar_reader.read_tar` does.

    Use nothing before the iterator is exhausted without an error: some checks are possible only at the end.
    An iterator closed early ends all threads.

    Attributes:
        size: bytes of its tar, end of archive included, once the iterator is exhausted.

    Args:
        chunks: the blob; iterated in another thread, if it is not small.
        media_type: OCI's or Docker's; the compression is detected from the first bytes.
        expected: the digests of blob and tar.
        limits: what to refuse.

    Raises (while iterating):
        IntegrityError: a digest or size differs, or something is damaged or truncated.
        UnsafeArchiveError: a path leaves the root, a whiteout is malformed, a limit is exceeded.
        UnsupportedError: it is encrypted, compressed in an unknown way, or no layer of files; also when it is made.
    """

    def __init__(
        self, chunks: Iterable[bytes], media_type: str, expected: Expected, limits: ArchiveLimits = DEFAULT_LIMITS
    ) -> None:
        self.size = 0
        self._expected = expected
        self._limits = limits
        check_layer_type(media_type, str(expected.digest or "layer"))
        self._decoder = Decoder(promised(chunks, expected), limits)

    def __iter__(self) -> Iterator[tuple[TarItem, Iterator[bytes]]]:
        is_small = self._expected.size is not None and self._expected.size <= _SMALL
        with closing(self._pieces() if is_small else read_ahead(self._pieces(), _AHEAD)) as pieces:
            tar = TarReader(pieces, self._limits, end_required=self._expected.digest is None)
            for item, data in tar.members():
                yield item, tar.stream() if data is None else iter((data,) if data else ())
            self.size = tar.offset
            self._check_padding(tar.rest())

    def _check_padding(self, rest: Iterator[bytes]) -> None:
        left = self._limits.padding
        for piece in rest:
            left -= len(piece)
            if left < 0:
                raise excessive(f"more than {self._limits.padding} bytes follow its end of archive")

    def _pieces(self) -> Generator[bytes, None, None]:
        """Yield the tar, and check the digests of the tar and the blob at its end."""
        diff_id = self._expected.diff_id
        diff = hash_for(diff_id)
        for data in self._decoder.pieces():
            diff.update(data)
            yield data
        if diff_id and not diff_id.endswith(":" + diff.hexdigest()):
            raise damaged("its uncompressed content has another digest than promised", str(diff_id))
