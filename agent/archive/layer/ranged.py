"""Read parts of a layer of ours by ranges of its blob: its table of contents, and single entries.

Digests lead from the manifest over the table of contents and the frames to each header and content. The digest of the
blob is not checked, because the blob is not read as a whole (design, "Trust").
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from hashlib import sha256
from itertools import accumulate
from typing import NamedTuple, TypeAlias

from agent.archive.layer.checks import Hashing, check_content
from agent.archive.stream.byte_source import ByteSource
from agent.archive.stream.compression import Compression
from agent.archive.stream.decode import read_frame
from agent.archive.stream.limits import DEFAULT_LIMITS, ArchiveLimits, damaged, excessive
from agent.archive.stream.readahead import read_ahead
from agent.archive.tar.tar_header import encode_header
from agent.archive.toc import trailer
from agent.archive.toc.toc import Toc
from agent.archive.toc.toc_rules import InTar
from agent.core.model.entry import Kind
from agent.core.spelling.path import show

_AHEAD = 4
_GAP = 256 << 10
"""Unneeded bytes that are read rather than make one more request."""

Fetch: TypeAlias = Callable[[int, int], Iterator[bytes]]
"""Yields `length` bytes of a blob from `start`."""


def read_toc(
    fetch: Callable[[int, int], bytes],
    size: int,
    compression: Compression,
    *,
    sha256: str,
    place: tuple[int, int, str] | None = None,
    limits: ArchiveLimits = DEFAULT_LIMITS,
) -> Toc:
    """Read a layer's table of contents by ranges of its blob: one request if its place is known, else two at most.

    Args:
        fetch: returns `length` bytes of the blob from `start`.
        size: of the blob, in bytes.
        compression: of the layer.
        sha256: of the entry part, in hex, from the change's record.
        place: of the table of contents in the blob, from the manifest: offset, length, sha256 of the payload in hex.
        limits: what to refuse.

    Raises:
        MissingTocError: the blob has none.
        IntegrityError: it is malformed, or not the promised one.
        UnsafeArchiveError: it exceeds a limit.
    """
    if place is not None:
        offset, length, digest = place
    else:
        offset, length, digest = *_find(fetch, size, compression, limits), None
    if not 0 <= offset <= size - length or length < 0:
        raise damaged("its table of contents lies outside of the blob")
    if length > limits.toc:
        raise excessive(f"its table of contents is larger than {limits.toc} bytes", limit="toc")
    data = fetch(offset, length)
    toc = Toc(trailer.unwrap(compression, data), limits)
    if digest not in (None, toc.payload_sha256) or toc.sha256 != sha256:
        raise damaged("its table of contents is not the one that the change names")
    if toc.compression != compression or toc.offset != offset or offset + length != size:
        raise damaged("its frames and table of contents do not tile the blob")
    return toc


def _find(
    fetch: Callable[[int, int], bytes], size: int, compression: Compression, limits: ArchiveLimits
) -> tuple[int, int]:
    start = max(size - trailer.TAIL_SIZE, 0)
    footer = trailer.find_footer(compression, fetch(start, size - start))
    length = trailer.wrapped_length(compression, footer.payload_length)
    return size - length, length


class _Part(NamedTuple):
    """An entry to read, and the place of its content: its own, or that of its group's first name.

    `offset` and `end` are those of the first name's header and content, which has `size` bytes.
    """

    offset: int
    first: InTar
    entry: InTar
    size: int
    end: int


def read_entries(
    toc: Toc, fetch: Fetch, wanted: Iterable[int], limits: ArchiveLimits = DEFAULT_LIMITS
) -> Iterator[tuple[InTar, Iterable[bytes]]]:
    """Yield entries with their contents, reading no more of the blob than the frames that hold them.

    Neighbouring frames are one request. The entries come in the tar's order. A hard link comes with the content of its
    group; ask for one name of a group only, since each costs the content. A small content is checked before it is
    yielded, a large one at its end, whether it was consumed or skipped.

    Args:
        toc: the layer's.
        fetch: yields ranges of the blob, in one thread at a time but not the caller's.
        wanted: `offset`s of entries.
        limits: what to refuse.

    Raises:
        IntegrityError: there is no such entry, or a frame, header or content is not what the table of contents says.
    """
    parts = _find_parts(toc, frozenset(wanted))
    while parts:
        now: list[_Part] = []
        later: list[_Part] = []
        last = -1
        for part in parts:
            (later if part.offset == last else now).append(part)
            last = part.offset
        yield from _read_parts(toc, fetch, now, limits)
        parts = later


def _find_parts(toc: Toc, wanted: frozenset[int]) -> list[_Part]:
    found = [pair for pair in toc.placed() if pair[0].offset in wanted]
    if missing := wanted.difference(entry.offset for entry, _ in found):
        raise damaged(f"its table of contents has no entry at {min(missing)}")
    linked = {link_to for _, link_to in found if link_to is not None}
    firsts = {entry.path: entry for entry, _ in toc.placed() if entry.path in linked} if linked else {}
    parts = []
    for entry, link_to in found:
        first = entry if link_to is None else firsts[link_to]
        size = first.node.size if first.node.kind is Kind.FILE else 0
        end = first.offset + len(encode_header(first.path, first.node)) + size
        parts.append(_Part(first.offset, first, entry, size, end))
    return sorted(parts, key=lambda part: part.offset)


def _read_parts(
    toc: Toc, fetch: Fetch, parts: list[_Part], limits: ArchiveLimits
) -> Iterator[tuple[InTar, Iterable[bytes]]]:
    starts = list(accumulate((frame.size for frame in toc.frames), initial=0))
    needed: list[int] = []
    places = []
    end = 0
    for part in parts:
        if part.offset < end:
            raise damaged("its entries overlap", show(part.entry.path))
        end = part.end
        first = bisect_right(starts, part.offset) - 1
        last = bisect_right(starts, end - 1) - 1
        if last >= len(toc.frames):
            raise damaged("an entry lies beyond the frames", show(part.entry.path))
        needed += range(max(first, needed[-1] + 1 if needed else 0), last + 1)
        # The place of the entry in the concatenation of the needed frames.
        before = len(needed) - 1 - (last - first)
        places.append((before, part.offset - starts[first]))
    sizes = list(accumulate((toc.frames[index].size for index in needed), initial=0))
    with closing(read_ahead(_tar_pieces(toc, fetch, needed, limits), _AHEAD)) as pieces:
        source = ByteSource(pieces, "the tar")
        for part, (before, within) in zip(parts, places, strict=True):
            source.skip(sizes[before] + within - source.offset)
            header = encode_header(part.first.path, part.first.node)
            if source.take(len(header)) != header:
                raise damaged("its header is not the one that the table of contents describes", show(part.entry.path))
            yield from _read_content(part, source)


def _read_content(part: _Part, source: ByteSource) -> Iterator[tuple[InTar, Iterable[bytes]]]:
    entry, size = part.entry, part.size
    if entry.node.kind is not Kind.FILE:
        yield entry, ()
        return
    if size <= len(source.chunk) - source.at:
        data = source.take(size)
        check_content(entry.node.sha256, sha256(data).digest(), entry.path)
        yield entry, (data,) if data else ()
        return
    content = Hashing(source.stream(size), sha256(), entry.node.sha256, entry.path)
    yield entry, content
    for _ in content:
        pass


def _tar_pieces(toc: Toc, fetch: Fetch, needed: list[int], limits: ArchiveLimits) -> Generator[bytes, None, None]:
    """Yield the content of the needed frames."""
    frames = toc.frames
    offsets = list(accumulate((frame.length for frame in frames), initial=0))
    for run in _runs(needed, offsets):
        start, end = offsets[run[0]], offsets[run[-1] + 1]
        source = ByteSource(fetch(start, end - start), "a range of the blob")
        for index in run:
            source.skip(offsets[index] - start - source.offset)
            yield read_frame(toc.compression, source, frames[index], limits)


def _runs(needed: list[int], offsets: list[int]) -> Iterator[list[int]]:
    """Group frames that are worth one request."""
    run: list[int] = []
    for index in needed:
        if run and offsets[index] - offsets[run[-1] + 1] > _GAP:
            yield run
            run = []
        run.append(index)
    if run:
        yield run
