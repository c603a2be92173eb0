"""Layers in tests: packed from literals, read back as lists."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from agent.archive.compression import Compression
from agent.archive.limits import DEFAULT_LIMITS, Limits
from agent.archive.reader import Expected, LayerReader
from agent.archive.writer import LayerWriter, PackedLayer
from agent.core.digest import digest_of
from agent.core.entry import Context, Delete, Kind, Node, TocEntry, Touch, Version, Write, toc_order
from agent.core.item import Item

BASE = Version(1_700_000_000_000_000_000, "sha256:" + "ab" * 32)
OTHER = Version(1_700_000_000_000_000_001, "cd" * 32)
TIME = 1_700_000_000_123_456_789


class Packed(NamedTuple):
    """A layer in memory."""

    blob: bytes
    layer: PackedLayer
    written: list[TocEntry]

    @property
    def expected(self) -> Expected:
        return Expected(digest_of(self.blob), len(self.blob), self.layer.diff_id, self.layer.toc_sha256)


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
    limits: Limits = DEFAULT_LIMITS,
    chunk: int = 1 << 16,
) -> list[tuple[Item, bytes]]:
    chunks = (blob[at : at + chunk] for at in range(0, len(blob), chunk))
    reader = LayerReader(chunks, media_type, expected or Expected(), limits)
    return [(item, b"".join(content)) for item, content in reader]


def digest(data: bytes) -> bytes:
    return sha256(data).digest()


def running() -> list[str]:
    """The threads of writers and readers that are still there."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("frame", "ahead"))]
