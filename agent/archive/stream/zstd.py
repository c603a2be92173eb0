"""Parse the headers and blocks of zstd frames, without decompressing them (RFC 8878, section 3.1).

Block headers show what a streaming decompressor hides: whether a frame is whole, how many frames there are, how much a
piece can expand to, and the content of skippable frames. There are three bytes of them for each 128 KiB.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from agent.archive.stream.byte_source import ByteSource
from agent.archive.stream.limits import damaged

MAGIC: Final = b"\x28\xb5\x2f\xfd"
BLOCK_MAX: Final = 128 << 10
"""Bytes that one block decompresses to, at most."""

_SKIPPABLE = frozenset(bytes((low, 0x2A, 0x4D, 0x18)) for low in range(0x50, 0x60))
_SIZE_FIELD = {0: 0, 1: 2, 2: 4, 3: 8}
_DICTIONARY_FIELD = {0: 0, 1: 1, 2: 2, 3: 4}
_RLE, _RESERVED = 1, 3


class FrameHeader(NamedTuple):
    """The header of a frame. `size` of its content in bytes, None if it is absent; `window` in bytes."""

    raw: bytes
    size: int | None
    window: int
    checksum: bool


def is_skippable(magic: bytes) -> bool:
    """Return whether four bytes begin a skippable frame."""
    return magic in _SKIPPABLE


def read_header(magic: bytes, source: ByteSource) -> FrameHeader:
    """Return the header of the frame that `magic` begins.

    Raises:
        IntegrityError: it is no frame, is truncated, or needs a dictionary.
    """
    if magic != MAGIC:
        raise damaged("it is not zstd, or bytes follow its last frame")
    descriptor = source.take(1)
    flags = descriptor[0]
    single = bool(flags & 0x20)
    if flags & 0x08:
        raise damaged("a zstd frame uses a reserved bit")
    window_field = b"" if single else source.take(1)
    dictionary = source.take(_DICTIONARY_FIELD[flags & 3])
    if any(dictionary):
        raise damaged("a zstd frame needs a dictionary")
    length = _SIZE_FIELD[flags >> 6] or (1 if single else 0)
    size_field = source.take(length)
    size = int.from_bytes(size_field, "little") + (256 if length == 2 else 0) if length else None
    if window_field:
        base = 1 << (10 + (window_field[0] >> 3))
        window = base + (base >> 3) * (window_field[0] & 7)
    else:
        window = size or 0
    raw = magic + descriptor + window_field + dictionary + size_field
    return FrameHeader(raw, size, window, bool(flags & 0x04))


def read_blocks(header: FrameHeader, source: ByteSource) -> Iterator[bytes]:
    """Yield the rest of a frame block by block, its checksum last; each expands to at most `BLOCK_MAX` bytes.

    Raises:
        IntegrityError: it is truncated or malformed.
    """
    last = 0
    while not last:
        head = source.take(3)
        fields = int.from_bytes(head, "little")
        last, kind, length = fields & 1, fields >> 1 & 3, fields >> 3
        if kind == _RESERVED or length > BLOCK_MAX:
            raise damaged("a zstd block is malformed")
        yield head + source.take(1 if kind == _RLE else length)
    if header.checksum:
        yield source.take(4)
