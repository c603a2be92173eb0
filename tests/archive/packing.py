"""Layers in tests: packed from literals, read back as lists."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from agent.archive.layer.checks import Expected
from agent.archive.layer.ranged import read_toc
from agent.archive.layer.reader import LayerReader
from agent.archive.layer.whole import read_whole
from agent.archive.layer.writer import LayerWriter, PackedLayer
from agent.archive.stream.compression import Compression, compression_of
from agent.archive.stream.limits import DEFAULT_LIMITS, ArchiveLimits
from agent.archive.tar.tar_header import whiteout_header
from agent.archive.toc.toc import Toc
from agent.core.model.entry import Context, Delete, Kind, Node, TocEntry, Touch, Version, Write, toc_order
from agent.core.model.tar_item import Linked, Placed, TarItem, Whiteout
from agent.core.spelling.digest import digest_of

BASE = Version(1_700_000_000_000_000_000, "sha256:" + "ab" * 32)
OTHER = Version(1_700_000_000_000_000_001, "cd" * 32)
TIME = 1_700_000_000_123_456_789


@dataclass(frozen=True, slots=True)
class Promised(Expected):
    """What a layer of ours is promised to be; `toc` is the sha256 (hex) of the entries in its table of contents."""

    toc: str | None = None


class Packed(NamedTuple):
    """A layer in memory."""

    blob: bytes
    layer: PackedLayer
    written: list[TocEntry]

    @property
    def expected(self) -> Promised:
        return Promised(digest_of(self.blob), len(self.blob), self.layer.diff_id, self.layer.toc.sha256)


def directory(path: bytes, **attributes: object) -> Write:
    return Write(path, Node(Kind.DIR, 0o755, mtime=TIME)._replace(**attributes))


def file(path: bytes, group: int = 0, **attributes: object) -> Write:
    return Write(path, Node(Kind.FILE, 0o644, mtime=TIME)._replace(**attributes), group=group)


def link(path: bytes, target: bytes) -> Write:
    return Write(path, Node(Kind.LINK, 0o777, mtime=TIME, target=target))


def pack(
    entries: Iterable[TocEntry],
    contents: Mapping[bytes, bytes],
    whiteouts: Sequence[bytes] = (),
    compression: Compression = "zstd",
    threads: int | None = 2,
) -> Packed:
    def opened(entry: Write | Context) -> tuple[Node, Iterator[bytes]]:
        data = contents[entry.path]
        pieces = (data[at : at + (1 << 20)] for at in range(0, len(data), 1 << 20))
        return entry.node._replace(size=len(data)), pieces

    written: list[TocEntry] = []
    ordered = sorted(entries, key=toc_order)
    writer = LayerWriter(ordered, whiteouts, opened, compression, written=written.append, threads=threads)
    return Packed(b"".join(writer), writer.result, written)


def sample(compression: Compression = "zstd") -> Packed:
    """A layer with one of everything."""
    entries: list[TocEntry] = [
        Context(b"d", Node(Kind.DIR, 0o755, mtime=5)),
        Delete(b"d/dead", Kind.FILE, BASE, True),
        Write(b"d/empty", Node(Kind.FILE, 0o600, mtime=TIME), seen=BASE),
        file(b"d/file"),
        Context(b"d/linked", Node(Kind.FILE, 0o644, 3, 4, TIME), BASE, group=7),
        link(b"d/symbolic", b"../elsewhere"),
        directory(b"d-x"),
        Delete(b"e", Kind.FILE, OTHER),
        directory(b"e"),
        file(b"e/linked", group=7),
        Write(b"fifo", Node(Kind.FIFO, 0o4644, mtime=TIME), seen="unpulled"),
        file(b"h", xattrs=((b"security.capability", b"\1\0\0\2"), (b"user.a", b"\xff\n="))),
        file(b"n\xff\n\xc3\xbc"),
        Touch(b"touched", OTHER, -1),
    ]
    contents = {
        b"d/empty": b"",
        b"d/file": b"content\n" * 300,
        b"d/linked": b"one",
        b"h": b"x" * 512,
        b"n\xff\n\xc3\xbc": b"n",
    }
    return pack(entries, contents, (b"d/dead", b"z"), compression)


def read(
    blob: bytes,
    media_type: str,
    expected: Expected | None = None,
    limits: ArchiveLimits = DEFAULT_LIMITS,
    chunk: int = 1 << 16,
) -> list[tuple[TarItem, bytes]]:
    chunks = (blob[at : at + chunk] for at in range(0, len(blob), chunk))
    if isinstance(expected, Promised) and expected.toc is not None:
        toc = toc_of(blob, media_type, expected.toc, limits)
        return list(_sealed(toc, chunks, expected, limits))
    reader = LayerReader(chunks, media_type, expected or Expected(), limits)
    return [(item, b"".join(content)) for item, content in reader]


def toc_of(blob: bytes, media_type: str, entries: str, limits: ArchiveLimits = DEFAULT_LIMITS) -> Toc:
    compression = compression_of(media_type)
    return read_toc(
        lambda start, length: blob[start : start + length], len(blob), compression, sha256=entries, limits=limits
    )


def _sealed(
    toc: Toc, chunks: Iterable[bytes], expected: Expected, limits: ArchiveLimits
) -> Iterator[tuple[TarItem, bytes]]:
    """Read a layer of ours whole, and tell it as the items of its tar."""
    placed = list(toc.placed())
    contents = read_whole(toc, chunks, expected, [entry.offset for entry, to in placed if to is None], limits)
    found = {entry.offset: b"".join(content) for entry, content in contents}
    at = 0
    for path in toc.whiteouts():
        yield Whiteout(path, at), b""
        at += len(whiteout_header(path))
    for entry, to in placed:
        if to is None:
            yield Placed(entry.path, entry.node._replace(sha256=b""), entry.offset), found.pop(entry.offset)
        else:
            yield Linked(entry.path, to, entry.offset), b""
    assert not found


def digest(data: bytes) -> bytes:
    return sha256(data).digest()


def running() -> list[str]:
    """The threads of writers and readers that are still there."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("frame", "ahead", "toc"))]


def read_layer(
    chunks: Iterable[bytes], media_type: str, expected: Expected, limits: ArchiveLimits = DEFAULT_LIMITS
) -> Iterator[tuple[TarItem, Iterator[bytes]]]:
    """The items of a layer of another tool with their contents."""
    return iter(LayerReader(chunks, media_type, expected, limits))
