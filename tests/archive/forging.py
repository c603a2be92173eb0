"""Layers that lie: each digest is right, but the table of contents describes another tar."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from agent.archive.layer.writer import PackedLayer
from agent.archive.stream.compression import Compression, media_type_of
from agent.archive.stream.frames import Frame, FramePacker
from agent.archive.tar.tar_header import END, encode_header, padded, whiteout_header
from agent.archive.toc import trailer
from agent.archive.toc.toc_writer import TocWriter
from agent.core.model.entry import Kind, Node, TocEntry, Write
from agent.core.spelling.digest import digest_of
from tests.archive.packing import TIME, Packed


def forge(tar: bytes, toc: TocWriter, compression: Compression = "zstd", frames: list[Frame] | None = None) -> Packed:
    """Return a layer of any tar and table, all digests right."""
    packer = FramePacker(compression, threads=1)
    blob = b"".join([*packer.add(tar), *packer.finish()])
    packer.close()
    table = toc.finish(frames or packer.frames)
    end = b"".join(trailer.wrap(compression, table.payload))
    diff = digest_of(tar + (table.payload if compression == "none" else b""))
    layer = PackedLayer(diff, media_type_of(compression), len(tar), table, len(blob), len(end))
    return Packed(blob + end, layer, [])


DATA = b"content of the file"
NODE = Node(Kind.FILE, 0o644)._replace(size=len(DATA), sha256=sha256(DATA).digest(), mtime=TIME)


def member(path: bytes, node: Node = NODE, data: bytes = DATA) -> bytes:
    return encode_header(path, node) + data + bytes(padded(len(data)) - len(data))


LENGTH = len(member(b"a"))
LINK = Node(Kind.LINK, 0o777, mtime=TIME, target=b"a")
DIRECTORY = Node(Kind.DIR, 0o755, mtime=TIME)
HONEST = [Write(b"a", NODE, None, 0), Write(b"b", NODE, None, LENGTH)]
LIES: dict[str, tuple[bytes, list[TocEntry], tuple[bytes, ...]]] = {
    "missing from the table": (member(b"a") + member(b"b") + END, HONEST[:1], ()),
    "missing from the tar": (member(b"a") + END, HONEST, ()),
    "link missing from the tar": (member(b"a") + END, [HONEST[0], Write(b"l", LINK, None, LENGTH)], ()),
    "directory missing from the tar": (member(b"a") + END, [HONEST[0], Write(b"d", DIRECTORY, None, LENGTH)], ()),
    "other target": (
        member(b"a") + encode_header(b"l", LINK._replace(target=b"b")) + END,
        [HONEST[0], Write(b"l", LINK, None, LENGTH)],
        (),
    ),
    "other digest": (
        member(b"a") + member(b"b") + END, [HONEST[0], HONEST[1]._replace(node=NODE._replace(sha256=bytes(32)))], (),
    ),
    "reordered in the tar": (member(b"b") + member(b"a") + END, HONEST, ()),
    "other content": (member(b"a") + member(b"b", data=DATA[::-1]) + END, HONEST, ()),
    "other mode": (member(b"a", NODE._replace(mode=0o4755)) + member(b"b") + END, HONEST, ()),
    "other time": (member(b"a", NODE._replace(mtime=TIME + 1)) + member(b"b") + END, HONEST, ()),
    "other path": (member(b"a") + member(b"c") + END, HONEST, ()),
    "twice in the tar": (member(b"a") + member(b"a") + member(b"b") + END, HONEST, ()),
    "whiteout not in the table": (whiteout_header(b"z") + member(b"a") + END, [HONEST[0]._replace(offset=512)], ()),
    "whiteout not in the tar": (member(b"a") + END, HONEST[:1], (b"z",)),
    "whiteout of another name": (
        whiteout_header(b"y") + member(b"a") + END, [HONEST[0]._replace(offset=512)], (b"z",),
    ),
    "hidden extended header": (
        member(b"a", NODE._replace(xattrs=((b"trusted.a", b"1"),))) + END, HONEST[:1], (),
    ),
    "hidden root": (encode_header(b".", Node(Kind.DIR, 0o755))[:512] + member(b"a") + END, HONEST[:1], ()),
    "other end": (member(b"a") + member(b"b") + END + END, HONEST, ()),
    "link instead of content": (
        member(b"a") + encode_header(b"b", NODE, b"a") + END, HONEST, (),
    ),
    "content instead of link": (
        member(b"a") + member(b"b") + END,
        [HONEST[0]._replace(group=1), HONEST[1]._replace(group=1)],
        (),
    ),
    "link to another": (
        member(b"a") + member(b"b") + encode_header(b"c", NODE, b"b") + END,
        [
            HONEST[0]._replace(group=1),
            HONEST[1],
            Write(b"c", NODE, None, 2 * LENGTH, 1),
        ],
        (),
    ),
    "place moved": (member(b"a") + member(b"b") + END, [HONEST[0], HONEST[1]._replace(offset=LENGTH + 512)], ()),
}  # fmt: skip


def table(
    entries: Iterable[TocEntry], whiteouts: tuple[bytes, ...] = (), compression: Compression = "zstd"
) -> TocWriter:
    """Return a table of contents that says what it is told."""
    toc = TocWriter(whiteouts, compression)
    for entry in entries:
        toc.add(entry)
    return toc


def lying(what: str, compression: Compression = "zstd") -> Packed:
    """Return the layer of a lie."""
    tar, entries, whiteouts = LIES[what]
    return forge(tar, table(entries, whiteouts, compression), compression)


def honest(compression: Compression = "zstd", **options: list[Frame]) -> Packed:
    """Return a layer that does not lie, but for its frames if `frames` are given."""
    return forge(member(b"a") + member(b"b") + END, table(HONEST, (), compression), compression, **options)
