"""How rows of what is known of a directory become bytes: blocks of columns, so that reading them is all in C.

A block holds up to 4,096 rows: a JSON head with what is rare, then fixed columns of 64-bit little-endian integers,
then contents' hashes, then the paths, separated by NUL. Whatever does not fit a column (a number beyond 64 bits) and
whatever most rows do not have (link targets, devices, extended attributes) stands in the head by row number. The
whole is compressed with zstd.
"""

from __future__ import annotations

import base64
import json
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from typing import Any, Final

import zstandard

from agent.core.entry import Kind, Node, Version
from agent.core.known import Fingerprint, Known

ROWS: Final = 4096
LARGEST: Final = 1 << 30
"""A block's uncompressed size in bytes that no real one reaches."""

_KINDS = tuple(Kind)
_CODES = {kind: code for code, kind in enumerate(_KINDS)}
_COLUMNS = 15
_LOW, _HIGH = -(1 << 63), (1 << 63) - 1
_NO_HASH = bytes(32)
_HASHED = (0, len(_NO_HASH))
_NO_PRINT = Fingerprint(0, 0, 0, 0, 0, 0, 0)
_hashes = struct.Struct("32s").iter_unpack
_new: Any = tuple.__new__


UNREADABLE: Final = (
    *(ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError),
    *(struct.error, zstandard.ZstdError),
)
"""What `unpack` and its iterator raise for bytes that are no block."""


class Versions:
    """Numbers versions as they first appear; 0 is none."""

    def __init__(self) -> None:
        self._numbers: dict[Version | None, int] = {None: 0}

    def number(self, version: Version | None, fresh: list[list[Any]]) -> int:
        """Return the number of `version`; one that is new is added to `fresh` as JSON."""
        number = self._numbers.get(version)
        if number is None:
            assert version is not None
            number = self._numbers[version] = len(self._numbers)
            fresh.append([version.stamp, version.id])
        return number


def pack(rows: Sequence[Known], versions: Versions) -> bytes:
    """Return a block with at most `ROWS` rows."""
    fresh: list[list[Any]] = []
    paths, nodes, found, stood, groups = zip(*rows, strict=True)
    kinds, modes, uids, gids, mtimes, sizes, hashes, targets, devices, xattrs = zip(*nodes, strict=True)
    rare = {
        index: _exception(nodes[index], stood[index])
        for index, row in enumerate(zip(stood, hashes, targets, devices, xattrs, strict=True))
        if row[0] is None or len(row[1]) not in _HASHED or row[1] == _NO_HASH or row[2] or row[3] != (0, 0) or row[4]
    }
    number = {version: versions.number(version, fresh) for version in dict.fromkeys(found)}
    columns: list[Sequence[int]] = [
        *(list(map(_CODES.__getitem__, kinds)), modes, uids, gids, mtimes, sizes),
        *(list(map(number.__getitem__, found)), groups),
        *zip(*(item or _NO_PRINT for item in stood), strict=True),
    ]
    try:
        numbers = list(map(_integers, columns))
    except OverflowError:
        numbers = list(map(_integers, _without_large(columns, rare)))
    head = json.dumps({"rows": len(rows), "versions": fresh, "rare": rare}, separators=(",", ":")).encode()
    parts = [len(head).to_bytes(4, "little"), head, *numbers]
    parts += [item if len(item) == 32 else _NO_HASH for item in hashes]
    parts.append(b"\0".join(paths))
    return zstandard.ZstdCompressor(level=1).compress(b"".join(parts))


def unpack(block: bytes, versions: list[Version | None]) -> Iterator[Known]:
    """Return the rows of a block; `versions` grows by those that first appear in it.

    Raises:
        UNREADABLE: it is none.
    """
    data = _decompressed(block)
    at = 4 + int.from_bytes(data[:4], "little")
    head = json.loads(data[4:at])
    count = head["rows"]
    versions.extend(Version(stamp, ident) for stamp, ident in head["versions"])
    columns: list[Sequence[int]] = []
    for _ in range(_COLUMNS):
        columns.append(_column(data[at : at + 8 * count]))
        at += 8 * count
    hashes: list[bytes] = list(chain.from_iterable(_hashes(data[at : at + 32 * count])))
    paths = data[at + 32 * count :].split(b"\0") if count else []
    if len(paths) != count or len(hashes) != count:
        raise ValueError("columns differ in length")
    return _rows(head["rare"], columns, hashes, paths, versions)


def _decompressed(block: bytes) -> bytes:
    """Return what a block holds, taking memory for what is there only, not for what its header claims."""
    parts, left = [], LARGEST
    for piece in zstandard.ZstdDecompressor().read_to_iter(block):
        left -= len(piece)
        if left < 0:
            raise ValueError("a block is larger than any that is written")
        parts.append(piece)
    return b"".join(parts)


def _rows(
    rare: dict[str, dict[str, Any]],
    columns: list[Sequence[int]],
    hashes: list[bytes],
    paths: list[bytes],
    versions: list[Version | None],
) -> Iterator[Known]:
    """Put columns together again. What every row needs is done by `map` and `zip`, which stay in C."""
    kinds = list(map(_KINDS.__getitem__, columns[0]))
    prints: list[Fingerprint | None] = list(map(_new, repeat(Fingerprint), zip(*columns[8:], strict=True)))
    hashes = [b"" if item == _NO_HASH else item for item in hashes]
    nodes: list[Node] = list(
        map(
            _new,
            repeat(Node),
            zip(kinds, *columns[1:6], hashes, repeat(b""), repeat((0, 0)), repeat(()), strict=False),
        )
    )
    found = list(map(versions.__getitem__, columns[6]))
    groups = list(columns[7])
    for key, exception in rare.items():
        index = int(key)
        if "n" in exception:
            numbers = exception["n"]
            nodes[index] = _new(Node, (_KINDS[numbers[0]], *numbers[1:6], hashes[index], b"", (0, 0), ()))
            found[index], groups[index] = versions[numbers[6]], numbers[7]
            prints[index] = Fingerprint(*numbers[8:])
        if "absent" in exception:
            prints[index] = None
        nodes[index] = _restored(nodes[index], exception)
    return map(_new, repeat(Known), zip(paths, nodes, found, prints, groups, strict=True))


def _without_large(columns: list[Sequence[int]], rare: dict[int, dict[str, Any]]) -> list[Sequence[int]]:
    """Move rows with a number beyond 64 bits to `rare`."""
    rows = [list(row) for row in zip(*columns, strict=True)]
    for index, numbers in enumerate(rows):
        if min(numbers) < _LOW or max(numbers) > _HIGH:
            rare.setdefault(index, {})["n"] = numbers
            rows[index] = [0] * _COLUMNS
    return list(zip(*rows, strict=True))


def _exception(node: Node, stood: Fingerprint | None) -> dict[str, Any]:
    """What the columns have no place for, as JSON."""
    found: dict[str, Any] = {}
    if stood is None:
        found["absent"] = True
    if node.target:
        found["target"] = _text(node.target)
    if node.device != (0, 0):
        found["device"] = node.device
    if node.xattrs:
        found["xattrs"] = [[_text(name), _text(value)] for name, value in node.xattrs]
    if node.sha256 and (len(node.sha256) not in _HASHED or node.sha256 == _NO_HASH):
        found["sha256"] = _text(node.sha256)
    return found


def _restored(node: Node, exception: dict[str, Any]) -> Node:
    major, minor = exception.get("device", (0, 0))
    return node._replace(
        target=_data(exception.get("target", "")),
        device=(major, minor),
        xattrs=tuple((_data(name), _data(value)) for name, value in exception.get("xattrs", ())),
        sha256=_data(exception["sha256"]) if "sha256" in exception else node.sha256,
    )


def _integers(column: Sequence[int]) -> bytes:
    values = array("q", column)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def _column(data: bytes) -> Sequence[int]:
    values = array("q", data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _data(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
