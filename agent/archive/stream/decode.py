"""Decompress a layer to its tar as it arrives, without skippable frames; or decompress one frame of ours.

The input is not trusted: a frame expands to no more than it announced, a layer to no more than the limits allow, and a
stream that ends within a frame is truncated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256

import zstandard

from agent.archive.stream import gzip, zstd
from agent.archive.stream.byte_source import ByteSource
from agent.archive.stream.compression import MAGIC_MAX, Compression, compression_in
from agent.archive.stream.frames import Frame
from agent.archive.stream.limits import DEFAULT_LIMITS, ArchiveLimits, damaged, excessive

_BLOCKS = 16
"""Blocks that are decompressed at once: 2 MiB at most."""
_SLACK = 1 << 16


class Decoder:
    """Yields the tar of one foreign blob: any valid stream is read, and skippable frames are passed over.

    Args:
        chunks: the blob; its compression is detected from its first bytes.
        limits: what to refuse.
    """

    def __init__(self, chunks: Iterable[bytes], limits: ArchiveLimits) -> None:
        self._source = ByteSource(chunks, "the blob")
        self._limits = limits
        self._inflate = zstandard.ZstdDecompressor(max_window_size=limits.foreign_window)

    def pieces(self) -> Iterator[bytes]:
        """Yield the tar.

        Raises:
            IntegrityError: the blob is damaged or truncated.
            UnsafeArchiveError: a limit is exceeded.
            UnsupportedError: it is compressed in a way that is not read here.
        """
        limits, source = self._limits, self._source
        steps = {"zstd": self._zstd, "gzip": self._gzip, "none": source.rest}[compression_in(source.peek(MAGIC_MAX))]
        produced = 0
        for data in steps():
            produced += len(data)
            if produced > limits.expanded:
                raise excessive(f"it expands to more than {limits.expanded} bytes", limit="bytes")
            if produced > limits.free and produced > limits.ratio * source.offset:
                raise excessive(f"it expands more than {limits.ratio} times", limit="ratio")
            yield data

    def _zstd(self) -> Iterator[bytes]:
        source = self._source
        while not source.at_end():
            magic = source.take(4)
            if zstd.is_skippable(magic):
                source.skip(int.from_bytes(source.take(4), "little"))
                continue
            header = zstd.read_header(magic, source)
            if header.size is None or header.size > self._limits.frame:
                yield from self._stream(header)
            else:
                yield self._decompress(header, header.size)

    def _decompress(self, header: zstd.FrameHeader, size: int) -> bytes:
        parts, length = [header.raw], 0
        for block in zstd.read_blocks(header, self._source):
            parts.append(block)
            length += len(block)
            if length > size + (size >> 4) + _SLACK:
                raise damaged("a frame is much longer than its content")
        return _inflate(b"".join(parts), size)

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
            gzip.read_header(source)
            yield from gzip.read_member(source)


def read_frame(
    compression: Compression, source: ByteSource, frame: Frame, limits: ArchiveLimits = DEFAULT_LIMITS
) -> bytes:
    """Return the content of the frame of ours that is next in `source`.

    Raises:
        IntegrityError: it is not the one that is described, is malformed, or holds another number of bytes.
        UnsafeArchiveError: its announced size is larger than allowed.
    """
    if frame.size > limits.frame or frame.length > frame.size + (frame.size >> 4) + _SLACK:
        raise excessive("a frame is larger than allowed")
    data = source.take(frame.length)
    if sha256(data).digest() != frame.sha256:
        raise damaged("a frame is not the one that the table of contents names")
    if compression == "none":
        content = data
    elif compression == "zstd":
        content = _one_zstd(data, frame.size, limits)
    else:
        content = _one_member(data, frame.size)
    if len(content) != frame.size:
        raise damaged("a frame holds another number of bytes than it announces")
    return content


def _one_zstd(data: bytes, size: int, limits: ArchiveLimits) -> bytes:
    source = ByteSource((data,), "a frame")
    header = zstd.read_header(source.take(4), source)
    if header.size != size:
        raise damaged("a frame holds another number of bytes than it announces")
    if header.window > limits.window:
        raise damaged("a frame needs more memory than allowed")
    for _ in zstd.read_blocks(header, source):
        pass
    if not source.at_end():
        raise damaged("a frame is longer than its content")
    return _inflate(data, size)


def _one_member(data: bytes, size: int) -> bytes:
    source = ByteSource((data,), "a frame")
    gzip.read_header(source)
    parts, length = [], 0
    for piece in gzip.read_member(source):
        parts.append(piece)
        length += len(piece)
        if length > size:
            raise damaged("a frame holds another number of bytes than it announces")
    if not source.at_end():
        raise damaged("a frame is longer than its content")
    return b"".join(parts)


def _inflate(frame: bytes, size: int) -> bytes:
    """Return the content of one whole zstd frame that says that it holds `size` bytes."""
    try:
        content = zstandard.ZstdDecompressor().decompress(frame) if size else b""
    except zstandard.ZstdError as error:
        raise damaged("a frame is not valid zstd") from error
    if len(content) != size:
        raise damaged("a frame holds another number of bytes than it announces")
    return content
