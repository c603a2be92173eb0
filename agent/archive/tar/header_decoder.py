"""Decode a tar header of any tool: V7, ustar, star, GNU; the values of extended headers override its fields."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from agent.archive.stream.limits import damaged
from agent.archive.tar.pax import SECOND, TIME_MAX, XATTR, is_kept, parse_integer, parse_time, parse_xattr_name
from agent.archive.tar.tar_header import checksum
from agent.core.model.entry import Kind, Xattrs
from agent.core.spelling.path import show

KIND_BY_FLAG: Final[Mapping[int, Kind | None]] = {
    0: Kind.FILE,
    ord("0"): Kind.FILE,
    ord("7"): Kind.FILE,
    ord("S"): Kind.FILE,
    ord("1"): None,
    ord("2"): Kind.LINK,
    ord("3"): Kind.CHAR,
    ord("4"): Kind.BLOCK,
    ord("5"): Kind.DIR,
    ord("6"): Kind.FIFO,
}
"""The kind for each type flag; None is a hard link."""

STORED: Final = b"\x0007S"
"""Type flags whose size is that of a content. Of all others the size is ignored, as Go and Python do."""

_ID_MAX = (1 << 32) - 2
_SIZE_MAX = 1 << 62


class Fields(NamedTuple):
    """A header, its extensions applied. `size` is what the tar stores, holes left out."""

    name: bytes
    flag: int
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    target: bytes
    device: bytes
    xattrs: Xattrs


def check_sum(block: bytes) -> None:
    """Compare a header with its checksum; some old writers summed signed bytes.

    Raises:
        IntegrityError: neither fits.
    """
    field = block[148:156]
    stored = parse_number(field)
    found = checksum(block) - sum(field) + 8 * 0x20
    if found != stored and found - 256 * sum(byte > 127 for byte in block) != stored:
        raise damaged("a tar header's checksum is wrong")


def parse_number(field: bytes) -> int:
    """Return a number field: octal digits between spaces and NULs, or base 256 (GNU), which may be negative.

    Raises:
        IntegrityError: it is neither.
    """
    digits = field[:-1]
    if not digits.isdigit() or field[-1] not in b" \0":
        if field[0] & 0x80:
            value = int.from_bytes(field, "big") - (0x80 << 8 * (len(field) - 1))
            return value - (0x80 << 8 * (len(field) - 1)) if field[0] & 0x40 else value
        text = field.lstrip(b" ")
        digits = text.split(b"\0", 1)[0].rstrip(b" ")
        if not digits and text.strip(b" \0"):
            raise damaged("a tar header holds a number behind a NUL")  # some read it, some take it for 0
    if digits.isdigit() and not (b"8" in digits or b"9" in digits):
        return int(digits, 8)
    if digits:
        raise damaged("a tar header holds a number that is not octal")
    return 0


def parse_size(field: bytes) -> int:
    """Return a number field that is a size in bytes.

    Raises:
        IntegrityError: it is no number, negative, or above 2^62.
    """
    return _checked_size(parse_number(field))


def decode(block: bytes, values: Mapping[bytes, bytes], name: bytes | None, target: bytes | None) -> Fields:
    """Return the fields of a header.

    Args:
        block: 512 bytes, their checksum checked.
        values: the records of extended headers, an entry's own over global ones.
        name: a GNU long name, None without one. `target` the same.

    Raises:
        IntegrityError: the type is unknown, or a field is malformed or out of range.
    """
    flag = block[156]
    if flag not in KIND_BY_FLAG:
        raise damaged(f"an entry is of the unknown type {chr(flag)!r}")
    name = name or _name(block)
    target = target or _until_nul(block[157:257])
    mode, uid, gid = _owner(block[100:124])
    size = parse_number(block[124:136]) if flag in STORED else 0
    mtime = parse_number(block[136:148]) * SECOND
    xattrs: Xattrs = ()
    if values:
        if values.get(b"mtime"):
            mtime = parse_time(values[b"mtime"])
        if len(values) > 1 or b"mtime" not in values:
            name = values.get(b"path") or name
            target = values.get(b"linkpath") or target
            size = _or(values.get(b"size"), size) if flag in STORED else 0
            uid = _or(values.get(b"uid"), uid)
            gid = _or(values.get(b"gid"), gid)
            xattrs = _xattrs(values)
    if not (0 <= uid <= _ID_MAX and 0 <= gid <= _ID_MAX and -TIME_MAX <= mtime < TIME_MAX):
        raise damaged("an owner or a time is out of range", show(name)[:300])
    return Fields(name, flag, mode & 0o7777, uid, gid, mtime, _checked_size(size), target, block[329:345], xattrs)


@lru_cache(maxsize=1024)
def _owner(fields: bytes) -> tuple[int, int, int]:
    return parse_number(fields[:8]), parse_number(fields[8:16]), parse_number(fields[16:])


def _name(block: bytes) -> bytes:
    name = _until_nul(block[:100])
    if block[257:263] == b"ustar\0" and block[345]:
        end = 476 if block[508:] == b"tar\0" else 500
        return _until_nul(block[345:end]) + b"/" + name
    return name


def _until_nul(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _or(text: bytes | None, value: int) -> int:
    return parse_integer(text) if text else value


def _xattrs(values: Mapping[bytes, bytes]) -> Xattrs:
    found = ((parse_xattr_name(key), value) for key, value in values.items() if key.startswith(XATTR))
    return tuple(sorted(item for item in found if is_kept(item[0])))


def _checked_size(size: int) -> int:
    if not 0 <= size <= _SIZE_MAX:
        raise damaged("a tar header holds an impossible size")
    return size
