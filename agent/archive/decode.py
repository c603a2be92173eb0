"""Blob to tar: decompress a layer as it arrives, frame by frame, and set aside what is no tar.

Nothing is believed: a frame expands to no more than it announced, a layer to no more than the limits allow, and a
stream that ends within a frame is truncated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import zstandard

from agent.archive import gzip, trailer, zstd
from agent.archive.compression import Compression
from agent.archive.frames import Frame
from agent.archive.limits import Limits, damaged, excessive
from agent.archive.source import Source

_BLOCKS = 16
"""Blocks that are decompressed at once: 2 MiB at most."""
_SLACK = 1 << 16


class Decoder:
    """Yields the tar of one blob.

    Attributes:
        frames: of a layer of ours, what was decompressed so far; not filled without compression.
        payload: of a layer of ours, the table of contents behind the frames; `b""` without compression, where the tar's
            reader comes upon it.

    Args:
        chunks: the blob.
        compression: of the blob.
        limits: what to refuse.
        ours: whether the blob must be as `LayerWriter` makes it: frames of known, bounded size, one table of contents,
            nothing else. Else any valid stream is read and skippable frames are passed over.
    """

    def __init__(self, chunks: Iterable[bytes], compression: Compression, limits: Limits, *, ours: bool) -> None:
        self.frames: list[Frame] = []
        self.payload = b""
        self._source = Source(chunks, "the blob")
        self._compression: Compression = compression
        self._limits = limits
        self._ours = ours
        self._inflate = zstandard.ZstdDecompressor(max_window_size=limits.foreign_window)

    def pieces(self) -> Iterator[bytes]:
        """Yield the tar.

        Raises:
            IntegrityError: the blob is damaged, truncated, or not as `ours` demands.
            UnsafeArchiveError: a limit is exceeded.
        """
        limits, source = self._limits, self._source
        steps = {"zstd": self._zstd, "gzip": self._gzip, "none": source.rest}[self._compression]
        produced = 0
        for data in steps():
            produced += len(data)
            if produced > limits.expanded:
                raise excessive(f"it expands to more than {limits.expanded} bytes", limit="bytes")
            if not self._ours and produced > limits.free and produced > limits.ratio * source.offset:
                raise excessive(f"it expands more than {limits.ratio} times", limit="ratio")
            yield data

    def _zstd(self) -> Iterator[bytes]:
        source = self._source
        while not source.at_end():
            source.start_hash()
            start = source.offset
            magic = source.take(4)
            if zstd.is_skippable(magic):
                self._skippable(magic)
                continue
            header = zstd.read_header(magic, source)
            if header.size is None or header.size > self._limits.frame:
                if self._ours:
                    raise damaged("a frame is larger than allowed, or does not say its size")
                yield from self._stream(header)
                continue
            if self._ours and header.window > self._limits.window:
                raise damaged("a frame needs more memory than allowed")
            data = self._decompress(header)
            if self._ours:
                self.frames.append(Frame(source.offset - start, len(data), source.finish_hash()))
            yield data

    def _skippable(self, magic: bytes) -> None:
        source = self._source
        length = int.from_bytes(source.take(4), "little")
        if not self._ours:
            source.skip(length)
            return
        if magic != trailer.SKIPPABLE:
            raise damaged("it holds a skippable frame that is not ours")
        if length > self._limits.toc:
            raise excessive(f"its table of contents is larger than {self._limits.toc} bytes", limit="toc")
        self.payload = source.take(length)
        if not source.at_end():
            raise damaged("bytes follow its table of contents")

    def _decompress(self, header: zstd.FrameHeader) -> bytes:
        size = header.size or 0
        parts, length = [header.raw], 0
        for block in zstd.read_blocks(header, self._source):
            parts.append(block)
            length += len(block)
            if length > size + (size >> 4) + _SLACK:
                raise damaged("a frame is much longer than its content")
        return decompress_frame("zstd", b"".join(parts), size)

    def _stream(self, header: zstd.FrameHeader) -> Iterator[bytes]:
        if header.window > self._limits.foreign_window:
            raise excessive(f"it needs a window above {self._limits.foreign_window} bytes")
        inflate = self._inflate.decompressobj()
        blocks = zstd.read_blocks(header, self._source)
        batch = [header.raw]
        try:
            for block in blocks:
                batch.append(block)
                if len(batch) > _BLOCKS:
                    yield inflate.decompress(b"".join(batch))
                    batch.clear()
            if batch:
                yield inflate.decompress(b"".join(batch))
        except zstandard.ZstdError as error:
            raise damaged("it is not valid zstd") from error
        if not inflate.eof:
            raise damaged("a zstd frame does not end where its blocks do")

    def _gzip(self) -> Iterator[bytes]:
        source = self._source
        while not source.at_end():
            source.start_hash()
            start = source.offset
            extra = gzip.read_header(source)
            members = gzip.read_member(source)
            if not self._ours:
                yield from members
            elif extra:
                self._gzip_toc(extra)
                return
            else:
                data = self._join(members)
                self.frames.append(Frame(source.offset - start, len(data), source.finish_hash()))
                yield data

    def _join(self, pieces: Iterator[bytes]) -> bytes:
        parts, length = [], 0
        for piece in pieces:
            parts.append(piece)
            length += len(piece)
            if length > self._limits.frame:
                raise damaged("a frame is larger than allowed")
        return b"".join(parts)

    def _gzip_toc(self, extra: bytes) -> None:
        source = self._source
        parts, length = [], 0
        while True:
            identifier, length_field = extra[:2], extra[2:4]
            named = (
                identifier in (trailer.PIECE, trailer.LAST) and int.from_bytes(length_field, "little") == len(extra) - 4
            )
            if not named or any(gzip.read_member(source)):
                raise damaged("its table of contents is malformed")
            parts.append(extra[4:])
            length += len(extra)
            if length > self._limits.toc:
                raise excessive(f"its table of contents is larger than {self._limits.toc} bytes", limit="toc")
            if identifier == trailer.LAST:
                break
            extra = gzip.read_header(source)
        self.payload = b"".join(parts)
        if not source.at_end():
            raise damaged("bytes follow its table of contents")


def decompress_frame(compression: Compression, data: bytes, size: int) -> bytes:
    """Return the content of one whole frame that is said to hold `size` bytes.

    Raises:
        IntegrityError: it is malformed, or holds another number of bytes.
    """
    if compression == "none":
        content = data
    elif compression == "zstd":
        content = _decompress_zstd(data, size)
    else:
        source = Source((data,), "a frame")
        gzip.read_header(source)
        parts, length = [], 0
        for piece in gzip.read_member(source):
            parts.append(piece)
            length += len(piece)
            if length > size:
                break
        content = b"".join(parts)
    if len(content) != size:
        raise damaged("a frame holds another number of bytes than it announces")
    return content


def _decompress_zstd(frame: bytes, size: int) -> bytes:
    source = Source((frame,), "a frame")
    if zstd.read_header(source.take(4), source).size != size:
        raise damaged("a frame holds another number of bytes than it announces")
    try:
        return zstandard.ZstdDecompressor().decompress(frame) if size else b""
    except zstandard.ZstdError as error:
        raise damaged("a frame is not valid zstd") from error
