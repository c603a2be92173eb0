"""Encode tar headers as we write them: ustar, with a pax extended header only for values that ustar cannot hold.

A header is a pure function of path, attributes and link target, so that equal trees give equal bytes everywhere and
a reader can encode the expected header and compare (docs/reference/format.md, "Layers").
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from zlib import adler32

from agent.archive.stream.limits import DEFAULT_LIMITS, damaged, excessive
from agent.archive.tar.pax import SECOND, format_record, format_time, format_xattr_name
from agent.core.model.entry import Kind, Node
from agent.core.spelling.path import WHITEOUT, show

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)
"""End of archive: two zero blocks."""
PADDING: Final = [bytes(length) for length in range(BLOCK)]
"""Zeros by their number, to fill a block."""

_NUL = b"\0"
_ZEROS = bytes(BLOCK)
_SIZE_MAX = 8**11 - 1
_ID_MAX = 8**7 - 1
_SPACES = b" " * 8
_NO_TARGET = bytes(100)
_PAST_30 = bytes(BLOCK - 30)
_MAGIC = b"ustar\x0000" + bytes(64)
_NO_DEVICE = b"0000000\x000000000\x00"
_TAIL = _MAGIC + _NO_DEVICE + bytes(167)
_FILE = Kind.FILE
_DIR = Kind.DIR
_LINK = Kind.LINK
_FLAGS = {_FILE: b"0", _LINK: b"2", Kind.CHAR: b"3", Kind.BLOCK: b"4", _DIR: b"5", Kind.FIFO: b"6"}
_DEVICES = frozenset((Kind.CHAR, Kind.BLOCK))
_WHITEOUT_NODE = Node(_FILE, 0)


def checksum(block: bytes) -> int:
    """Return the sum of a header's bytes, the checksum field taken as spaces beforehand.

    Adler-32 started at 0 holds that sum modulo 65521 in its low half, at a tenth of the cost of `sum`; ASCII blocks
    cannot reach the modulus (512 times 127 is 65024).
    """
    return adler32(block, 0) & 0xFFFF if block.isascii() else sum(block)


def padded(size: int) -> int:
    """Return `size` rounded up to whole blocks."""
    return (size + BLOCK - 1) & -BLOCK


def encode_header(path: bytes, node: Node, link_to: bytes | None = None) -> bytes:
    """Return the bytes before the content of `path` in a tar: the extended header, if any, and the header.

    Args:
        path: where the entry is placed, checked by `core.path.check_path`.
        node: its attributes. `sha256` has no part in the header.
        link_to: the path of an earlier entry; makes this one a hard link to it, without content.

    Raises:
        UnsafeArchiveError: the extended header would exceed 1 MiB, which readers refuse.
        IntegrityError: a device number does not fit in a header.
    """
    kind, mode, uid, gid, mtime, size, _, target, device, xattrs = node
    name, flag = path, b"0"
    if link_to is not None:
        flag, target, size = b"1", link_to, 0
    elif kind is not _FILE:
        flag, size = _FLAGS[kind], 0
        if kind is _DIR:
            name = path + b"/"
    if kind is _LINK:
        mode = 0o777
    seconds, nanos = divmod(mtime, SECOND)
    extended = b""
    if (
        len(name) <= 100
        and len(target) <= 100
        and uid <= _ID_MAX
        and gid <= _ID_MAX
        and size <= _SIZE_MAX
        and not xattrs
        and SECOND <= seconds <= _SIZE_MAX
        and name.isascii()
        and target.isascii()
    ):
        if nanos:
            # Nearly every entry needs only this record, which always has 30 bytes.
            extended = _extended_header(30) + b"30 mtime=%d.%09d\n" % (seconds, nanos) + _PAST_30
    else:
        extended = _extended(name, target, node, size)
        name, target = name[:100], target[:100]
        uid, gid = uid if uid <= _ID_MAX else 0, gid if gid <= _ID_MAX else 0
        size = size if size <= _SIZE_MAX else 0
        seconds = seconds if 0 <= seconds <= _SIZE_MAX else 0
    tail = _TAIL if kind not in _DEVICES or link_to is not None else _device_tail(path, device)
    front = name.ljust(100, _NUL) + _owner(mode, uid, gid) + b"%011o\0%011o\0" % (size, seconds)
    back = flag + (target.ljust(100, _NUL) if target else _NO_TARGET) + tail
    return b"".join((extended, front, b"%06o\0 " % checksum(front + _SPACES + back), back))


def whiteout_header(path: bytes) -> bytes:
    """Return the entry of a whiteout of `path`: an empty file `.wh.NAME` beside it (image-spec, layer.md)."""
    directory, slash, name = path.rpartition(b"/")
    return encode_header(directory + slash + WHITEOUT + name, _WHITEOUT_NODE)


@lru_cache(maxsize=1024)
def _owner(mode: int, uid: int, gid: int) -> bytes:
    return b"%07o\0%07o\0%07o\0" % (mode, uid, gid)


def _device_tail(path: bytes, device: tuple[int, int]) -> bytes:
    if not all(0 <= number <= _ID_MAX for number in device):
        raise damaged("a device number does not fit in a tar header", show(path))
    return _MAGIC + b"%07o\0%07o\0" % device + bytes(167)


def _extended(name: bytes, target: bytes, node: Node, size: int) -> bytes:
    """Return the extended header for values that ustar cannot hold, records in bytes order of keys; or nothing."""
    _, _, uid, gid, mtime, _, _, _, _, xattrs = node
    seconds, nanos = divmod(mtime, SECOND)
    long_name = len(name) > 100 or not name.isascii()
    long_target = len(target) > 100 or not target.isascii()
    keys = sorted((format_xattr_name(key), value) for key, value in xattrs) if xattrs else ()
    data = b"".join([format_record(key, value) for key, value in keys])
    if gid > _ID_MAX:
        data += format_record(b"gid", b"%d" % gid)
    if (long_name and not _is_utf8(name)) or (long_target and not _is_utf8(target)):
        data += format_record(b"hdrcharset", b"BINARY")
    if long_target:
        data += format_record(b"linkpath", target)
    if nanos or not 0 <= seconds <= _SIZE_MAX:
        data += format_record(b"mtime", format_time(mtime))
    if long_name:
        data += format_record(b"path", name)
    if size > _SIZE_MAX:
        data += format_record(b"size", b"%d" % size)
    if uid > _ID_MAX:
        data += format_record(b"uid", b"%d" % uid)
    if not data:
        return b""
    if len(data) > DEFAULT_LIMITS.header:
        raise excessive("its names and extended attributes need more than 1 MiB of header", show(name)[:300])
    return _extended_header(len(data)) + data + _ZEROS[: -len(data) % BLOCK]


def _is_utf8(value: bytes) -> bool:
    if value.isascii():
        return True
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


@lru_cache(maxsize=1024)
def _extended_header(length: int) -> bytes:
    block = b"".join(
        (
            b"././@PaxHeader".ljust(100, _NUL),
            _owner(0o644, 0, 0),
            b"%011o\0%011o\0" % (length, 0),
            _SPACES,
            b"x",
            bytes(100),
            _TAIL,
        )
    )
    return b"%b%06o\0 %b" % (block[:148], checksum(block), block[156:])
