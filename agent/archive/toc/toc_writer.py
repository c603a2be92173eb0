"""Write the table of contents of a layer, line by line and compressed as it grows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from typing import Final

import zstandard

from agent.archive.stream.compression import Compression
from agent.archive.stream.frames import Frame
from agent.archive.toc import trailer
from agent.archive.toc.frame_table import format_frames
from agent.archive.toc.squash_line import format_squashed
from agent.archive.toc.toc import Toc
from agent.archive.toc.toc_line import HEADER, SQUASH_HEADER, format_entry, format_whiteout
from agent.archive.toc.toc_rules import increasing
from agent.core.model.change import SquashEntry
from agent.core.model.entry import TocEntry

_PACKING: Final = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_LAZY2, min_match=6, search_log=1, window_log=21, hash_log=17, chain_log=17
)
"""Half of a table is digests, in which short matches are chance. Without them the result is a tenth smaller."""
_BATCH: Final = 256 << 10
"""Bytes of lines that are compressed at once."""


class TocWriter:
    """Collects the entry part line by line, compressed in a thread if it is large.

    Args:
        whiteouts: the layer's whiteouts, in bytes order.
        compression: the layer's. Without compression the payload is stored plain.
        squash: whether the layer is a squash.
    """

    def __init__(self, whiteouts: Sequence[bytes], compression: Compression, *, squash: bool = False) -> None:
        self._compression: Compression = compression
        self._deflate = None if compression == "none" else _packer().compressobj()
        self._hash = sha256()
        self._lines = [SQUASH_HEADER if squash else HEADER]
        self._pending = len(self._lines[0])
        self._size = 0
        self._parts: list[bytes] = []
        self._thread = ThreadPoolExecutor(1, "toc")
        self._packed: Future[bytes] | None = None
        for path in increasing(iter(whiteouts)):
            self._add(format_whiteout(path))

    def add(self, entry: TocEntry) -> None:
        """Append a complete entry."""
        self._add(format_entry(entry))

    def add_squashed(self, entry: SquashEntry) -> None:
        """Append a complete entry of a squash."""
        self._add(format_squashed(entry))

    def finish(self, frames: Iterable[Frame]) -> Toc:
        """Return the table of contents of a layer that consists of `frames`."""
        self._take()
        self._parts.append(self._pack(self._cut()))
        if self._deflate is not None:
            self._parts.append(self._deflate.flush())
        table = format_frames(self._compression, frames)
        packed = table if self._deflate is None else _packer().compress(table)
        method = trailer.STORED if self._deflate is None else trailer.ZSTD
        length = sum(map(len, self._parts))
        footer = trailer.Footer(length, self._size, len(packed), len(table), method)
        # Joined once: with a million paths this takes the most memory.
        payload = b"".join((*self._parts, packed, trailer.format_footer(footer)))
        self._parts.clear()
        return Toc(payload, sha256=self._hash.hexdigest())

    def close(self) -> None:
        """End the thread. Nothing can be added after that."""
        self._thread.shutdown()

    def _add(self, line: bytes) -> None:
        self._lines.append(line)
        self._pending += len(line)
        if self._pending >= _BATCH:
            self._take()
            self._packed = self._thread.submit(self._pack, self._cut())

    def _cut(self) -> bytes:
        data = b"".join(self._lines)
        self._lines, self._pending = [], 0
        self._size += len(data)
        return data

    def _take(self) -> None:
        """Wait for the piece that is being compressed: one at a time, to bound memory."""
        if self._packed is not None:
            self._parts.append(self._packed.result())

    def _pack(self, data: bytes) -> bytes:
        self._hash.update(data)
        return data if self._deflate is None else self._deflate.compress(data)


def _packer() -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(compression_params=_PACKING)
