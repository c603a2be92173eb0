"""Write gzip members, and parse their headers, extra fields and trailers (RFC 1952)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from agent.archive.stream.byte_source import ByteSource
from agent.archive.stream.limits import damaged

MAGIC: Final = b"\x1f\x8b"
EXTRA_MAX: Final = 65531
"""Bytes that one subfield can carry, alone in its extra field."""

_HEADER = b"\x1f\x8b\x08%c\0\0\0\0\0\xff"
_TRAILER = struct.Struct("<II")
_STORED = struct.Struct("<BHH")
_STORED_MAX = 0xFFFF
_FLAG_CRC, _FLAG_EXTRA, _FLAG_NAME, _FLAG_COMMENT, _RESERVED = 2, 4, 8, 16, 0xE0
_EMPTY = b"\x03\0" + bytes(8)
_TEXT_MAX = 64 << 10
_PIECE = 256 << 10


def pack_member(data: bytes, level: int) -> bytes:
    """Return `data` as one member without name or time, so that equal data give equal bytes."""
    deflate = zlib.compressobj(level, zlib.DEFLATED, -15)
    body = deflate.compress(data) + deflate.flush()
    return b"".join((_HEADER % 0, body, _TRAILER.pack(zlib.crc32(data), len(data) & 0xFFFFFFFF)))


def pack_stored(data: bytes) -> bytes:
    """Return `data` as one member that is not compressed, so that its bytes depend on no library (RFC 1951, 3.2.4)."""
    starts = range(0, len(data), _STORED_MAX) or (0,)
    body = b"".join(
        _STORED.pack(start + _STORED_MAX >= len(data), len(part), len(part) ^ 0xFFFF) + part
        for start in starts
        for part in (data[start : start + _STORED_MAX],)
    )
    return b"".join((_HEADER % 0, body, _TRAILER.pack(zlib.crc32(data), len(data) & 0xFFFFFFFF)))


def pack_extra(identifier: bytes, data: bytes) -> bytes:
    """Return an empty member that carries `data` (at most `EXTRA_MAX` bytes) in an extra subfield.

    It has 26 bytes more than `data`.
    """
    head = struct.pack("<H2sH", len(data) + 4, identifier, len(data))
    return b"".join((_HEADER % _FLAG_EXTRA, head, data, _EMPTY))


def read_header(source: ByteSource) -> bytes:
    """Pass over the header of a member and return its extra field, `b""` if it has none.

    Raises:
        IntegrityError: it is malformed or truncated.
    """
    head = source.take(10)
    flags = head[3]
    if head[:3] != MAGIC + b"\x08" or flags & _RESERVED:
        raise damaged("it is not gzip, or bytes follow its last member")
    extra = b""
    if flags & _FLAG_EXTRA:
        extra = source.take(int.from_bytes(source.take(2), "little"))
    for flag in (_FLAG_NAME, _FLAG_COMMENT):
        if flags & flag:
            _skip_text(source)
    if flags & _FLAG_CRC:
        source.skip(2)
    return extra


def read_member(source: ByteSource) -> Iterator[bytes]:
    """Yield the content of the member whose header was read, in pieces of at most 256 KiB, checked at its end.

    Raises:
        IntegrityError: it is malformed or truncated, or its checksum is wrong.
    """
    inflate = zlib.decompressobj(-15)
    check = length = 0
    rest = b""
    while not inflate.eof:
        try:
            data = inflate.decompress(rest or source.some(_PIECE), _PIECE)
        except zlib.error as error:
            raise damaged("a gzip member is malformed") from error
        rest = inflate.unconsumed_tail
        check = zlib.crc32(data, check)
        length += len(data)
        if data:
            yield data
    source.give_back(len(inflate.unused_data))
    if _TRAILER.unpack(source.take(8)) != (check, length & 0xFFFFFFFF):
        raise damaged("a gzip member's checksum or size is wrong")


def _skip_text(source: ByteSource) -> None:
    for _ in range(_TEXT_MAX):
        if source.take(1) == b"\0":
            return
    raise damaged("a gzip member's name or comment is endless")
