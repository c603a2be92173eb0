"""The place of the table of contents in a layer: behind the frames, found from the blob's end.

The payload is the entry part, the frame part and a footer of fixed size. It is

- in zstd, in one skippable frame, the blob's last;
- in gzip, in the extra fields of empty members at the blob's end: pieces in subfields `IT`, the footer alone in the
  last one, subfield `IF`;
- without compression, behind the tar's two zero blocks, stored plain so that the diff_id does not depend on a
  library's version.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from agent.archive.stream.compression import Compression
from agent.archive.stream.gzip import EXTRA_MAX, pack_extra
from agent.archive.stream.limits import damaged
from agent.errors import IntegrityError

SKIPPABLE: Final = b"\x5b\x2a\x4d\x18"
"""Magic number of our skippable frame, 0x184D2A5B."""
PIECE: Final = b"IT"
LAST: Final = b"IF"
STORED: Final = 0
ZSTD: Final = 1

_MAGIC = b"instep.toc.1"
_FOOTER = struct.Struct("<QQQQI12s")
_SKIPPABLE_MAX = (1 << 32) - 1
_SENT = 1 << 20
_MEMBER = 26
_GZIP_END = 10
FOOTER_SIZE: Final = _FOOTER.size
TAIL_SIZE: Final = FOOTER_SIZE + _GZIP_END
"""Bytes at a blob's end that hold the footer in every encoding."""


class MissingTocError(IntegrityError):
    """A layer has no table of contents: it is not ours, or another tool recompressed it."""


class Footer(NamedTuple):
    """Lengths in the payload and sizes after decompression of both parts, in bytes; `method` 0 stored, 1 zstd."""

    entries_length: int
    entries_size: int
    frames_length: int
    frames_size: int
    method: int

    @property
    def payload_length(self) -> int:
        """Bytes of the whole payload, the footer included."""
        return self.entries_length + self.frames_length + FOOTER_SIZE


def format_footer(footer: Footer) -> bytes:
    """Return the footer's bytes."""
    return _FOOTER.pack(*footer, _MAGIC)


def parse_footer(data: bytes) -> Footer:
    """Return what `format_footer` wrote.

    Raises:
        MissingTocError: it is no footer of a table of contents.
        IntegrityError: it contradicts itself.
    """
    if len(data) != FOOTER_SIZE or not data.endswith(_MAGIC):
        raise missing_toc()
    *numbers, _ = _FOOTER.unpack(data)
    footer = Footer(*numbers)
    if footer.method not in (STORED, ZSTD):
        raise damaged("its table of contents is compressed in an unknown way")
    if footer.method == STORED and footer[0:3:2] != footer[1:4:2]:
        raise damaged("the footer of its table of contents contradicts itself")
    return footer


def missing_toc() -> MissingTocError:
    """Return the error for a layer without a table of contents."""
    return MissingTocError(
        "it has no table of contents", subject="layer", remedy="another tool wrote or recompressed it; read it whole"
    )


def find_footer(compression: Compression, tail: bytes) -> Footer:
    """Return the footer that the last bytes of a blob hold (`TAIL_SIZE` of them, or more).

    Raises:
        MissingTocError: there is none.
    """
    end = len(tail) - (_GZIP_END if compression == "gzip" else 0)
    return parse_footer(tail[max(end - FOOTER_SIZE, 0) : end])


def wrapped_length(compression: Compression, payload_length: int) -> int:
    """Return the number of bytes of a wrapped payload in a blob."""
    if compression == "zstd":
        return payload_length + 8
    if compression == "gzip":
        pieces = -(-(payload_length - FOOTER_SIZE) // EXTRA_MAX)
        return payload_length + _MEMBER * (pieces + 1)
    return payload_length


def wrap(compression: Compression, payload: bytes) -> Iterator[bytes]:
    """Yield the bytes behind the frames.

    Raises:
        IntegrityError: the payload exceeds 4 GiB, which a skippable frame cannot hold.
    """
    if compression == "zstd":
        if len(payload) > _SKIPPABLE_MAX:
            raise damaged("its table of contents exceeds 4 GiB")
        yield SKIPPABLE + len(payload).to_bytes(4, "little")
        yield from _pieces(payload)
    elif compression == "gzip":
        end = len(payload) - FOOTER_SIZE
        for at in range(0, end, EXTRA_MAX):
            yield pack_extra(PIECE, payload[at : min(at + EXTRA_MAX, end)])
        yield pack_extra(LAST, payload[end:])
    else:
        yield from _pieces(payload)


def _pieces(payload: bytes) -> Iterator[bytes]:
    # A million paths make 40 MiB, which are sent and copied a piece at a time.
    for at in range(0, len(payload), _SENT):
        yield payload[at : at + _SENT]


def unwrap(compression: Compression, data: bytes) -> bytes:
    """Return the payload that `wrap` wrote.

    Raises:
        IntegrityError: it is not what `wrap` would write.
    """
    footer = find_footer(compression, data)
    length = footer.payload_length
    if wrapped_length(compression, length) != len(data):
        raise damaged("its table of contents has another length than its footer says")
    if compression == "gzip":
        step = EXTRA_MAX + _MEMBER
        last = len(data) - FOOTER_SIZE - _MEMBER
        pieces = [data[at + 16 : min(at + step, last) - 10] for at in range(0, last, step)]
        payload = b"".join((*pieces, data[last + 16 : -10]))
    else:
        payload = data[len(data) - length :]
    view, at = memoryview(data), 0
    for piece in wrap(compression, payload):
        if view[at : at + len(piece)] != piece:
            raise damaged("its table of contents is malformed")
        at += len(piece)
    return payload
