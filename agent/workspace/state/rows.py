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
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, Final

import zstandard

from agent.core.directory.state_row import Fingerprint, StateRow
from agent.core.model.entry import Kind, Node, Version, new_tuple

ROWS: Final = 4096
LARGEST: Final = 1 << 30
"""A block's uncompressed size in bytes that no real one reaches."""

_KINDS = tuple(Kind)
_CODES = {kind: code for code, kind in enumerate(_KINDS)}
_COLUMNS = 15
_VERSION = 6  # the column of versions' numbers
_MODE = 10  # that of st_mode, which is never 0
_LOW, _HIGH = -(1 << 63), (1 << 63) - 1
_HASH = 32
_NO_HASH = bytes(_HASH)
_HASHED = (0, _HASH)
_NO_PRINT = Fingerprint(0, 0, 0, 0, 0, 0, 0)
"""Stands for no print: lstat gives no such one."""
_hashes = struct.Struct("32s").iter_unpack


UNREADABLE: Final = (
    *(ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError),
    *(struct.error, zstandard.ZstdError),
)
"""What `unpack` and `rows_of` raise for bytes that are no block."""


class Versions:
    """Numbers versions as they first appear; 0 is none."""

    def __init__(self) -> None:
        self._numbers: dict[Version | None, int] = {None: 0}
        self._fresh: list[Version] = []

    def number(self, version: Version | None) -> int:
        """Return the number of `version`."""
        number = self._numbers.get(version)
        if number is None:
            assert version is not None
            number = self._numbers[version] = len(self._numbers)
            self._fresh.append(version)
        return number

    def take(self) -> list[Version]:
        """Return the versions that appeared since the last call."""
        fresh, self._fresh = self._fresh, []
        return fresh


class Columns:
    """Rows by column: cut and joined without a look at each. `numbers` are as in a block, `rare` in order of rows."""

    def __init__(self) -> None:
        self.paths: list[bytes] = []
        self.numbers = [array("q") for _ in range(_COLUMNS)]
        self.hashes = bytearray()
        self.rare: dict[int, dict[str, Any]] = {}
        self._rare_rows: list[int] = []

    def __len__(self) -> int:
        return len(self.paths)

    def add(self, other: Columns, start: int, stop: int) -> None:
        """Append the rows of another from `start` to `stop`, whose versions are numbered alike."""
        shift = len(self.paths) - start
        if other.rare:
            self.rare |= {index + shift: other.rare[index] for index in other._rare_between(start, stop)}
        for mine, theirs in zip(self.numbers, other.numbers, strict=True):
            mine.extend(theirs[start:stop])
        self.hashes += other.hashes[start * _HASH : stop * _HASH]
        self.paths += other.paths[start:stop]

    def _rare_between(self, start: int, stop: int) -> list[int]:
        if len(self._rare_rows) != len(self.rare):
            self._rare_rows = sorted(self.rare)
        at = bisect_left(self._rare_rows, start)
        return self._rare_rows[at : bisect_left(self._rare_rows, stop, at)]

    def renumber(self, found: Sequence[Version | None], versions: Versions) -> None:
        """Number the versions, until now by their places in `found`, as `versions` does."""
        column = self.numbers[_VERSION]
        number = {old: versions.number(found[old]) for old in dict.fromkeys(column)}
        self.numbers[_VERSION] = array("q", map(number.__getitem__, column))
        for exception in self.rare.values():
            if "n" in exception:
                exception["n"][_VERSION] = versions.number(found[exception["n"][_VERSION]])


def columns_of(rows: Sequence[StateRow], versions: Versions) -> Columns:
    """Return rows by column."""
    columns = Columns()
    paths, nodes, found, stood, groups = zip(*rows, strict=True)
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
        *zip(*(item or _NO_PRINT for item in stood), strict=True),
    ]
    try:
        columns.numbers = [array("q", column) for column in numbers]
    except OverflowError:
        columns.numbers = [array("q", column) for column in _without_large(numbers, rare)]
    columns.hashes += b"".join([item if len(item) == _HASH else _NO_HASH for item in hashes])
    columns.paths, columns.rare = list(paths), rare
    return columns


def pack(columns: Columns, versions: Versions) -> bytes:
    """Return a block with at most `ROWS` rows, and with the versions that it is the first to need."""
    fresh = [[version.stamp, version.id] for version in versions.take()]
    rare = dict(sorted(columns.rare.items()))
    head = json.dumps({"rows": len(columns), "versions": fresh, "rare": rare}, separators=(",", ":")).encode()
    numbers = b"".join(map(_bytes, columns.numbers))
    parts = (len(head).to_bytes(4, "little"), head, numbers, columns.hashes, b"\0".join(columns.paths))
    return zstandard.ZstdCompressor(level=1).compress(b"".join(parts))


def unpack(block: bytes, versions: list[Version | None]) -> Columns:
    """Return the columns of a block; `versions` grows by those that first appear in it.

    Raises:
        UNREADABLE: it is none.
    """
    data = _decompressed(block)
    at = 4 + int.from_bytes(data[:4], "little")
    head = json.loads(data[4:at])
    count = head["rows"]
    versions.extend(Version(stamp, ident) for stamp, ident in head["versions"])
    columns = Columns()
    columns.rare = {int(key): exception for key, exception in head["rare"].items()}
    columns.numbers = [
        _column(data[at + 8 * count * place : at + 8 * count * (place + 1)]) for place in range(_COLUMNS)
    ]
    at += 8 * count * _COLUMNS
    columns.hashes += data[at : at + _HASH * count]
    columns.paths = data[at + _HASH * count :].split(b"\0") if count else []
    if any(len(column) != count for column in columns.numbers) or len(columns.paths) != count:
        raise ValueError("columns differ in length")
    return columns


def read_versions(block: bytes, versions: list[Version | None]) -> None:
    """Add the versions that first appear in a block, and read no more of it than that takes.

    Raises:
        UNREADABLE: it is none.
    """
    with zstandard.ZstdDecompressor().stream_reader(block) as reader:
        head = json.loads(reader.read(int.from_bytes(reader.read(4), "little")))
    versions.extend(Version(stamp, ident) for stamp, ident in head["versions"])


def _decompressed(block: bytes) -> bytes:
    """Return what a block holds. Memory that its header claims and nothing fills is claimed only."""
    if not 0 <= zstandard.frame_content_size(block) <= LARGEST:
        raise ValueError("a block is larger than any that is written, or does not say how large it is")
    return zstandard.ZstdDecompressor().decompress(block)


def rows_of(columns: Columns, versions: Sequence[Version | None]) -> Iterator[StateRow]:
    """Return the rows, in order. What every row needs is done by `map` and `zip`, which stay in C.

    Raises:
        UNREADABLE: they cannot be rows.
    """
    numbers = columns.numbers
    kinds = list(map(_KINDS.__getitem__, numbers[0]))
    prints: list[Fingerprint | None] = list(map(new_tuple, repeat(Fingerprint), zip(*numbers[8:], strict=True)))
    hashes = [b"" if item == _NO_HASH else item for (item,) in _hashes(columns.hashes)]
    nodes: list[Node] = list(
        map(
            new_tuple,
            repeat(Node),
            zip(kinds, *numbers[1:_VERSION], hashes, repeat(b""), repeat((0, 0)), repeat(()), strict=False),
        )
    )
    found = list(map(versions.__getitem__, numbers[_VERSION]))
    groups = list(numbers[7])
    for index, exception in columns.rare.items():
        if "n" in exception:
            large = exception["n"]
            nodes[index] = new_tuple(Node, (_KINDS[large[0]], *large[1:_VERSION], hashes[index], b"", (0, 0), ()))
            found[index], groups[index] = versions[large[_VERSION]], large[7]
            prints[index] = Fingerprint(*large[8:])
        nodes[index] = _restored(nodes[index], exception)
    if 0 in numbers[_MODE]:
        prints = [None if item == _NO_PRINT else item for item in prints]
    return map(new_tuple, repeat(StateRow), zip(columns.paths, nodes, found, prints, groups, strict=True))


def _without_large(columns: list[Sequence[int]], rare: dict[int, dict[str, Any]]) -> list[Sequence[int]]:
    """Move rows with a number beyond 64 bits to `rare`."""
    rows = [list(row) for row in zip(*columns, strict=True)]
    for index, numbers in enumerate(rows):
        if min(numbers) < _LOW or max(numbers) > _HIGH:
            rare.setdefault(index, {})["n"] = numbers
            rows[index] = [0] * _COLUMNS
    return list(zip(*rows, strict=True))


def _exception(node: Node) -> dict[str, Any]:
    """What the columns have no place for, as JSON."""
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
