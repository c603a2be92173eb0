"""Encodes state rows as blocks of columns, which are read in C.

A block holds up to 4,096 rows: a JSON head with rare values, then fixed columns of 64-bit little-endian integers, then
the contents' hashes, then the paths, separated by NUL. The head holds, by the row's number, values that do not fit a
column (an integer beyond 64 bits) or that most rows lack (link targets, devices, extended attributes). The whole is
compressed with zstd.
"""

from __future__ import annotations

import base64
import json
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, Final

import zstandard

from agent.core.directory.state_row import Fingerprint, StateRow
from agent.core.model.entry import Kind, Node, Version, new_tuple
from agent.workspace.state.row_columns import COLUMNS, HASH, VERSION_COLUMN, Columns, Versions

ROWS: Final = 4096
LARGEST: Final = 1 << 30
"""Bytes; every valid block is smaller when it is uncompressed."""

_KINDS = tuple(Kind)
_CODES = {kind: code for code, kind in enumerate(_KINDS)}
_MODE = 10  # that of st_mode, which is never 0
_LOW, _HIGH = -(1 << 63), (1 << 63) - 1
_NO_HASH = bytes(HASH)
_HASHED = (0, HASH)
_NO_FINGERPRINT = Fingerprint(0, 0, 0, 0, 0, 0, 0)
"""Encodes a missing fingerprint; `lstat` never returns these values."""
_hashes = struct.Struct("32s").iter_unpack


UNREADABLE: Final = (
    *(ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError),
    *(struct.error, zstandard.ZstdError),
)
"""The errors that `unpack` and `rows_of` raise for bytes that are no block."""


def columns_of(rows: Sequence[StateRow], versions: Versions) -> Columns:
    """Return rows by column."""
    columns = Columns()
    paths, nodes, found, fingerprints, groups = zip(*rows, strict=True)
    kinds, modes, uids, gids, mtimes, sizes, hashes, targets, devices, xattrs = zip(*nodes, strict=True)
    rare = {
        index: _exception(nodes[index])
        for index, row in enumerate(zip(hashes, targets, devices, xattrs, strict=True))
        if len(row[0]) not in _HASHED or row[0] == _NO_HASH or row[1] or row[2] != (0, 0) or row[3]
    }
    number = {version: versions.number(version) for version in dict.fromkeys(found)}
    numbers: list[Sequence[int]] = [
        *(list(map(_CODES.__getitem__, kinds)), modes, uids, gids, mtimes, sizes),
        *(list(map(number.__getitem__, found)), groups),
        *zip(*(item or _NO_FINGERPRINT for item in fingerprints), strict=True),
    ]
    try:
        columns.numbers = [array("q", column) for column in numbers]
    except OverflowError:
        columns.numbers = [array("q", column) for column in _without_large(numbers, rare)]
    columns.hashes += b"".join([item if len(item) == HASH else _NO_HASH for item in hashes])
    columns.paths, columns.rare = list(paths), rare
    return columns


def pack(columns: Columns, versions: Versions) -> bytes:
    """Return a block with at most `ROWS` rows, and with the versions that appear first in it."""
    fresh = [[version.stamp, version.id] for version in versions.take()]
    rare = dict(sorted(columns.rare.items()))
    head = json.dumps({"rows": len(columns), "versions": fresh, "rare": rare}, separators=(",", ":")).encode()
    numbers = b"".join(map(_bytes, columns.numbers))
    parts = (len(head).to_bytes(4, "little"), head, numbers, columns.hashes, b"\0".join(columns.paths))
    return zstandard.ZstdCompressor(level=1).compress(b"".join(parts))


def unpack(block: bytes, versions: list[Version | None]) -> Columns:
    """Return the columns of a block; appends the versions that appear first in it to `versions`.

    Raises:
        UNREADABLE: the bytes are no block.
    """
    data = _decompressed(block)
    at = 4 + int.from_bytes(data[:4], "little")
    head = json.loads(data[4:at])
    count = head["rows"]
    versions.extend(Version(stamp, ident) for stamp, ident in head["versions"])
    columns = Columns()
    columns.rare = {int(key): exception for key, exception in head["rare"].items()}
    columns.numbers = [_column(data[at + 8 * count * place : at + 8 * count * (place + 1)]) for place in range(COLUMNS)]
    at += 8 * count * COLUMNS
    columns.hashes += data[at : at + HASH * count]
    columns.paths = data[at + HASH * count :].split(b"\0") if count else []
    if any(len(column) != count for column in columns.numbers) or len(columns.paths) != count:
        raise ValueError("columns differ in length")
    return columns


def read_versions(block: bytes, versions: list[Version | None]) -> None:
    """Append the versions that appear first in a block to `versions`; reads only its head.

    Raises:
        UNREADABLE: the bytes are no block.
    """
    with zstandard.ZstdDecompressor().stream_reader(block) as reader:
        head = json.loads(reader.read(int.from_bytes(reader.read(4), "little")))
    versions.extend(Version(stamp, ident) for stamp, ident in head["versions"])


def _decompressed(block: bytes) -> bytes:
    """Return the uncompressed block. Memory for a size that the header claims falsely is reserved, but not used."""
    if not 0 <= zstandard.frame_content_size(block) <= LARGEST:
        raise ValueError("a block is larger than any that is written, or does not say how large it is")
    return zstandard.ZstdDecompressor().decompress(block)


def rows_of(columns: Columns, versions: Sequence[Version | None]) -> Iterator[StateRow]:
    """Return the rows, in order. The work for each row is done by `map` and `zip`, which run in C.

    Raises:
        UNREADABLE: the values cannot be rows.
    """
    numbers = columns.numbers
    kinds = list(map(_KINDS.__getitem__, numbers[0]))
    fingerprints: list[Fingerprint | None] = list(map(new_tuple, repeat(Fingerprint), zip(*numbers[8:], strict=True)))
    hashes = [b"" if item == _NO_HASH else item for (item,) in _hashes(columns.hashes)]
    nodes: list[Node] = list(
        map(
            new_tuple,
            repeat(Node),
            zip(kinds, *numbers[1:VERSION_COLUMN], hashes, repeat(b""), repeat((0, 0)), repeat(()), strict=False),
        )
    )
    found = list(map(versions.__getitem__, numbers[VERSION_COLUMN]))
    groups = list(numbers[7])
    for index, exception in columns.rare.items():
        if "n" in exception:
            large = exception["n"]
            nodes[index] = new_tuple(Node, (_KINDS[large[0]], *large[1:VERSION_COLUMN], hashes[index], b"", (0, 0), ()))
            found[index], groups[index] = versions[large[VERSION_COLUMN]], large[7]
            fingerprints[index] = Fingerprint(*large[8:])
        nodes[index] = _restored(nodes[index], exception)
    if 0 in numbers[_MODE]:
        fingerprints = [None if item == _NO_FINGERPRINT else item for item in fingerprints]
    return map(new_tuple, repeat(StateRow), zip(columns.paths, nodes, found, fingerprints, groups, strict=True))


def _without_large(columns: list[Sequence[int]], rare: dict[int, dict[str, Any]]) -> list[Sequence[int]]:
    """Move rows with a number beyond 64 bits to `rare`."""
    rows = [list(row) for row in zip(*columns, strict=True)]
    for index, numbers in enumerate(rows):
        if min(numbers) < _LOW or max(numbers) > _HIGH:
            rare.setdefault(index, {})["n"] = numbers
            rows[index] = [0] * COLUMNS
    return list(zip(*rows, strict=True))


def _exception(node: Node) -> dict[str, Any]:
    """Return the values that have no column, as JSON."""
    found: dict[str, Any] = {}
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


def _bytes(column: array[int]) -> bytes:
    if sys.byteorder == "big":
        column = array("q", column)
        column.byteswap()
    return column.tobytes()


def _column(data: bytes) -> array[int]:
    values = array("q", data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _data(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
