"""Read a whole layer of ours: every byte of its blob and tar is verified (design, "Trust").

The table of contents was read before. So nothing in the tar is interpreted: each header is encoded from its entry and
compared, which is safer and faster. Decompression and the digests of blob and tar run in a thread of their
own, unless the blob is small; headers and contents are checked in the consumer's.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from hashlib import sha256

from agent.archive.layer.checks import Expected, Hashing, check_content, hash_for, promised
from agent.archive.stream.byte_source import ByteSource
from agent.archive.stream.decode import read_frame
from agent.archive.stream.limits import DEFAULT_LIMITS, ArchiveLimits, damaged
from agent.archive.stream.readahead import read_ahead
from agent.archive.tar.tar_header import BLOCK, END, encode_header, whiteout_header
from agent.archive.toc import trailer
from agent.archive.toc.toc import Toc
from agent.archive.toc.toc_rules import InTar
from agent.core.model.entry import Kind
from agent.core.spelling.path import show

_AHEAD = 4
_SMALL = 256 << 10
"""Bytes of a blob that a thread of its own is not worth starting for."""
_FILE = Kind.FILE


def read_whole(
    toc: Toc, chunks: Iterable[bytes], expected: Expected, wanted: Iterable[int], limits: ArchiveLimits = DEFAULT_LIMITS
) -> Iterator[tuple[InTar, Iterable[bytes]]]:
    """Yield entries with their contents, in the tar's order.

    Use nothing before the iterator is exhausted without an error: some checks are possible only at the end.
    But each content is compared with its sha256 before the end of its iteration, consumed or skipped.

    Args:
        toc: the layer's; the digest of its entries was checked.
        chunks: the blob; iterated in another thread, if it is not small.
        expected: the digests of blob and tar.
        wanted: `offset`s of the entries to yield, in order; not of hard links, which have no content of their own.
        limits: what to refuse.

    Raises:
        IntegrityError: a digest or size differs, or something is damaged or truncated.
        UnsafeArchiveError: a limit is exceeded.
    """
    steps = _pieces(toc, chunks, expected, limits)
    is_small = expected.size is not None and expected.size <= _SMALL
    with closing(steps if is_small else read_ahead(steps, _AHEAD)) as pieces:
        source = ByteSource(pieces, "the tar")
        for path in toc.whiteouts():
            _compare(source, whiteout_header(path), path)
        yield from _entries(toc, source, wanted)
        if source.take(len(END)) != END or not source.at_end():
            raise _unlike()


def _entries(toc: Toc, source: ByteSource, wanted: Iterable[int]) -> Iterator[tuple[InTar, Iterable[bytes]]]:
    places = iter(wanted)
    place = next(places, -1)
    for entry, link_to in toc.placed():
        path, node, offset = entry.path, entry.node, entry.offset
        if offset != source.offset:
            raise _unlike(path)
        _compare(source, encode_header(path, node, link_to), path)
        if link_to is not None:
            continue
        content: Iterable[bytes] = ()
        size = node.size
        if node.kind is _FILE:
            if size <= len(source.chunk) - source.at:
                data = source.take(size)
                check_content(node.sha256, sha256(data).digest(), path)
                content = (data,) if data else ()
            else:
                content = Hashing(source.stream(size), sha256(), node.sha256, path)
        if offset == place:
            yield entry, content
            place = next(places, -1)
        for _ in content:
            pass
        source.skip(-size % BLOCK)
    if place >= 0:
        raise damaged(f"its table of contents has no entry at {place}")


def _compare(source: ByteSource, header: bytes, path: bytes) -> None:
    if source.take(len(header)) != header:
        raise _unlike(path)


def _pieces(
    toc: Toc, chunks: Iterable[bytes], expected: Expected, limits: ArchiveLimits
) -> Generator[bytes, None, None]:
    """Yield the tar, and check the digests of the tar and the blob at its end."""
    source, diff = ByteSource(promised(chunks, expected), "the blob"), hash_for(expected.diff_id)
    for frame in toc.frames:
        data = read_frame(toc.compression, source, frame, limits)
        diff.update(data)
        yield data
    # Nothing else may be in the blob: no other frame, no second table of contents.
    for piece in trailer.wrap(toc.compression, toc.payload):
        part = memoryview(piece)
        if toc.compression == "none":
            diff.update(part)
        while part:
            found = source.some(len(part))
            if part[: len(found)] != found:
                raise _untiled()
            part = part[len(found) :]
    if not source.at_end():
        raise _untiled()
    if expected.diff_id and not expected.diff_id.endswith(":" + diff.hexdigest()):
        raise damaged("its uncompressed content has another digest than promised", str(expected.diff_id))


def _unlike(path: bytes = b"") -> Exception:
    return damaged("its tar is not the one that its table of contents describes", show(path) if path else "layer")


def _untiled() -> Exception:
    return damaged("its frames and table of contents do not tile the blob")
