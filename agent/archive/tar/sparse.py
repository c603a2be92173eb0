"""GNU tar's sparse files: four encodings of the place of the data; all are read as the content with its holes filled.

GNU tar manual, "Storing Sparse Files": the old header type `S`, and the pax formats 0.0, 0.1 and 1.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from agent.archive.stream.byte_source import ByteSource
from agent.archive.stream.limits import damaged, excessive
from agent.archive.tar.pax import parse_integer
from agent.archive.tar.tar_header import BLOCK

_SEGMENTS_MAX = 1 << 18
_HOLE = bytes(1 << 20)
_PREFIX = b"GNU.sparse."
_PLACE = (b"offset", b"numbytes")


class Segment(NamedTuple):
    """`length` bytes of data at `offset` of the file."""

    offset: int
    length: int


class Sparse(NamedTuple):
    """A sparse file: its real size and where its data lies; `segments` is None if they are before the data (1.0)."""

    size: int
    segments: tuple[Segment, ...] | None
    name: bytes | None = None


def parse_pax(records: list[tuple[bytes, bytes]]) -> Sparse | None:
    """Return the sparse file that the records of an extended header describe, None if they do not.

    Raises:
        IntegrityError: they contradict the format.
    """
    found = [(key[len(_PREFIX) :], value) for key, value in records if key.startswith(_PREFIX)]
    if not found:
        return None
    values = dict(found)
    version = (values.get(b"major", b"0"), values.get(b"minor", b"0"))
    sizes = {values[key] for key in (b"realsize", b"size") if key in values}
    if len(sizes) != 1 or version not in ((b"1", b"0"), (b"0", b"0"), (b"0", b"1")):
        raise damaged("a sparse file is in no known format")
    places = [(key, value) for key, value in found if key in _PLACE]
    if [key for key, _ in places] != list(_PLACE) * (len(places) // 2) or (places and b"map" in values):
        raise damaged("a sparse file's map is malformed")
    size, name = parse_integer(sizes.pop()), values.get(b"name")
    if version == (b"1", b"0"):
        if places or b"map" in values:
            raise damaged("a sparse file is in two formats")
        return Sparse(size, None, name)
    listed = values.get(b"map")
    numbers = listed.split(b",") if listed else [value for _, value in places]
    segments = _segments([parse_integer(number) for number in numbers])
    if parse_integer(values.get(b"numblocks", b"%d" % len(segments))) != len(segments):
        raise damaged("a sparse file's map is of another length than it says")
    return Sparse(size, segments, name)


def parse_old(block: bytes, more: ByteSource, number: Callable[[bytes], int]) -> Sparse:
    """Return the sparse file of a header of type `S`, reading its extension blocks from `more`.

    Raises:
        IntegrityError: it is damaged or truncated.
    """
    size = number(block[483:495])
    numbers: list[int] = []
    fields, extended = block[386:482], block[482]
    while True:
        for at in range(0, len(fields), 24):
            if fields[at + 12 : at + 24].strip(b" 0\0") or fields[at : at + 12].strip(b" 0\0"):
                numbers += number(fields[at : at + 12]), number(fields[at + 12 : at + 24])
        if not extended:
            return Sparse(size, _segments(numbers))
        if len(numbers) > 2 * _SEGMENTS_MAX:
            raise excessive("a sparse file has too many segments")
        block = more.take(BLOCK)
        fields, extended = block[:504], block[504]


def read_map(source: ByteSource) -> tuple[tuple[Segment, ...], int]:
    """Return the segments before the data (format 1.0), and the number of their bytes.

    Raises:
        IntegrityError: they are damaged or truncated.
    """
    numbers: list[int] = []
    data, taken = b"", 0
    wanted = 1
    while len(numbers) < wanted:
        line, newline, rest = data.partition(b"\n")
        if not newline:
            if len(data) > 20:
                raise damaged("a sparse file's map is malformed")
            data += source.take(BLOCK)
            taken += BLOCK
            continue
        data = rest
        numbers.append(parse_integer(line))
        wanted = 1 + 2 * numbers[0]
        if numbers[0] > _SEGMENTS_MAX:
            raise excessive("a sparse file has too many segments")
    return _segments(numbers[1:]), taken


def check(sparse: Sparse, segments: tuple[Segment, ...], stored: int) -> None:
    """Check that the segments lie in order within the file and hold the `stored` bytes.

    Raises:
        IntegrityError: they do not.
    """
    end = 0
    for offset, length in segments:
        if offset < end:
            raise damaged("a sparse file's segments overlap")
        end = offset + length
    if end > sparse.size or sum(segment.length for segment in segments) != stored:
        raise damaged("a sparse file's map does not fit its size")


def expand(size: int, segments: tuple[Segment, ...], data: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the file's content with its holes filled, in pieces of at most 1 MiB."""
    source = ByteSource(data, "a sparse file")
    at = 0
    for offset, length in segments:
        yield from _zeros(offset - at)
        yield from source.stream(length)
        at = offset + length
    yield from _zeros(size - at)


def _zeros(length: int) -> Iterator[bytes]:
    while length:
        step = min(length, len(_HOLE))
        yield _HOLE[:step]
        length -= step


def _segments(numbers: list[int]) -> tuple[Segment, ...]:
    if len(numbers) % 2:
        raise damaged("a sparse file's map is malformed")
    if len(numbers) > 2 * _SEGMENTS_MAX:
        raise excessive("a sparse file has too many segments")
    return tuple(Segment(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True))
