"""Decompress a part of a table of contents, and cut it into blocks of whole lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import zstandard

from agent.archive.stream.byte_source import ByteSource
from agent.archive.stream.limits import DEFAULT_LIMITS, damaged
from agent.archive.stream.zstd import read_blocks, read_header
from agent.archive.toc import trailer

_BATCH: Final = 256 << 10
"""Bytes of a stored part that come at once."""
_LINE_MAX: Final = 8 << 20


def decompress(part: memoryview, size: int, method: int) -> Iterator[bytes]:
    """Yield the decompressed content of a part of the payload, a piece at a time.

    Args:
        part: as it is stored.
        size: of the content, in bytes.
        method: of the compression, as in `trailer.Footer`.

    Raises:
        IntegrityError: it is not valid zstd, needs too much memory, or has another size.
    """
    if method == trailer.STORED:
        for at in range(0, len(part), _BATCH):
            yield bytes(part[at : at + _BATCH])
        return
    source = ByteSource((part[at : at + _BATCH].tobytes() for at in range(0, len(part), _BATCH)), "a table of contents")
    header = read_header(source.take(4), source)
    if header.window > DEFAULT_LIMITS.window:
        raise damaged("its table of contents needs too much memory")
    inflate = zstandard.ZstdDecompressor().decompressobj()
    left = size
    try:
        inflate.decompress(header.raw)
        for block in read_blocks(header, source):
            piece = inflate.decompress(block)
            left -= len(piece)
            if left < 0:
                break
            yield piece
    except zstandard.ZstdError as error:
        raise damaged("its table of contents is not valid zstd") from error
    if left or not source.at_end():
        raise damaged("its table of contents has another size than its footer says")


def line_blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield blocks of whole lines, their newlines included.

    Raises:
        IntegrityError: a line has more than 8 MiB, or the last one has no newline.
    """
    rest = b""
    for piece in pieces:
        end = piece.rfind(b"\n") + 1
        if end:
            yield rest + piece[:end]
            rest = piece[end:]
        else:
            rest += piece
        if len(rest) > _LINE_MAX:
            raise damaged("its table of contents holds a line above 8 MiB")
    if rest:
        raise damaged("its table of contents ends within a line")
