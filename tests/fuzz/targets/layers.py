"""Whole layers, ours and of others; parts of ours by ranges; tables of contents."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from functools import cache
from random import Random

import zstandard

from agent.archive.layer.checks import Expected
from agent.archive.layer.ranged import read_entries, read_toc
from agent.archive.layer.reader import LayerReader
from agent.archive.stream.compression import COMPRESSIONS, Compression, media_type_of
from agent.archive.stream.gzip import pack_member, pack_stored
from agent.archive.tar.tar_reader import read_tar
from agent.archive.toc import trailer
from agent.archive.toc.toc import Toc
from agent.archive.toc.toc_writer import TocWriter
from agent.archive.toc.trailer import FOOTER_SIZE, Footer, find_footer, format_footer, wrap, wrapped_length
from agent.core.model.change import Claim, Grouped, Kept, Listed, SquashEntry, Tombstone, Touched
from agent.core.model.entry import Context, Delete, Kind, Node, Write
from agent.core.spelling.digest import digest_of
from agent.errors import IntegrityError
from tests.archive.packing import BASE, OTHER, TIME, Packed, Promised, directory, file, pack, read, sample
from tests.fuzz.mutate import bytewise, jsonwise
from tests.fuzz.search import Target
from tests.fuzz.targets.tars import LIMITS, REFUSALS, Read, mutate_tar
from tests.fuzz.targets.tars import seeds as tars

_MAGIC = {b"\x28\xb5": "zstd", b"\x1f\x8b": "gzip"}
_plain = bytewise(
    b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08", b"\x5b\x2a\x4d\x18", b"\x50\x2a\x4d\x18\x04\0\0\0abcd", b"instep.toc.1"
)
_line = jsonwise(b"path", b"..", b"a/b", b".wh.a", b"write", b"delete", b"whiteout", b"unpulled", b"group", b"xattrs")


def compression_of(blob: bytes) -> Compression:
    """Return what a blob looks like."""
    found = _MAGIC.get(blob[:2], "none")
    return next(name for name in COMPRESSIONS if name == found)


def run_foreign(data: bytes) -> None:
    """A layer of others holds what other decompressors find in it, however it arrives."""
    compression = compression_of(data)
    expected = Expected(digest_of(data), len(data))
    found = _whole(data, compression, expected)
    assert _whole(data, compression, expected, 77) == found, "chunks make a difference"
    tar = _decompressed(data, compression)
    again = [(item, b"".join(content)) for item, content in read_tar([tar], LIMITS, end_required=False)]
    assert again == found, "another decompressor finds something else"


def _whole(data: bytes, compression: Compression, expected: Expected, chunk: int = 1 << 20) -> Read:
    chunks = (data[at : at + chunk] for at in range(0, len(data), chunk))
    reader = LayerReader(chunks, media_type_of(compression), expected, LIMITS)
    return [(item, b"".join(content)) for item, content in reader]


def _decompressed(data: bytes, compression: Compression, most: int = -1) -> bytes:
    if compression == "gzip":
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            return file.read(most)
    if compression == "zstd":
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            return reader.read(most)
    return data[:most] if most >= 0 else data


def foreign_seeds() -> list[bytes]:
    """Return tars as others compress them."""
    found = []
    for tar in tars()[:3]:
        frames = [
            zstandard.ZstdCompressor(level=1, write_content_size=bool(at)).compress(tar[at : at + 2048])
            for at in range(0, len(tar), 2048)
        ]
        checked = zstandard.ZstdCompressor(level=1, write_checksum=True).compressobj()
        found += [tar, b"".join(frames), checked.compress(tar) + checked.flush(), gzip.compress(tar, mtime=0)]
        found += [pack_member(tar[:1024], 6) + pack_stored(tar[1024:]), b"\x50\x2a\x4d\x18\x02\0\0\0hi" + frames[0]]
    return [blob for blob in found if _taken(blob)]


def _taken(blob: bytes) -> bool:
    try:
        run_foreign(blob)
    except REFUSALS:
        return False
    return True


def mutate_blob(data: bytes, chance: Random) -> bytes:
    """Change a blob, or the tar in it."""
    if chance.randrange(3):
        return _plain(data, chance)
    compression = compression_of(data)
    try:
        tar = mutate_tar(_decompressed(data, compression, 1 << 16), chance)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError):
        return _plain(data, chance)
    if compression == "zstd":
        return zstandard.ZstdCompressor(level=1).compress(tar)
    return gzip.compress(tar, mtime=0) if compression == "gzip" else tar


@cache
def own(compression: Compression) -> tuple[Packed, Read]:
    """Return a layer of ours, and what it holds."""
    packed = sample(compression)
    return packed, read(packed.blob, media_type_of(compression), packed.expected, LIMITS)


def run_own(data: bytes) -> None:
    """Of a layer of ours, nothing is taken whole but what its table of contents promises; by ranges, no entry."""
    compression = compression_of(data)
    packed, promised = own(compression)
    refused = None
    try:
        expected = Promised(size=len(data), toc=packed.layer.toc.sha256)
        found = read(data, media_type_of(compression), expected, LIMITS)
        assert found == promised, "another content than promised is taken"
    except REFUSALS as error:
        refused = error
    toc = read_toc(
        lambda start, length: data[start : start + length],
        len(data),
        compression,
        sha256=packed.layer.toc.sha256,
        limits=LIMITS,
    )
    contents = {entry.path: content for entry, (_, content) in zip(_placed(packed), _files(promised), strict=True)}
    for entry, content in read_entries(
        toc, lambda *span: _range(data, *span), [e.offset for e, _ in toc.placed()], LIMITS
    ):
        assert b"".join(content) == contents.get(entry.path, b""), "another content than promised is taken by ranges"
    if refused:
        raise refused


def _placed(packed: Packed) -> list[Write | Context]:
    return [e for e in packed.written if isinstance(e, Write | Context) and e.node.kind is Kind.FILE]


def _files(promised: Read) -> Read:
    firsts = {item.path: content for item, content in promised}
    found = []
    for item, content in promised:
        if hasattr(item, "to"):
            found.append((item, firsts[item.to]))
        elif hasattr(item, "node") and item.node.kind is Kind.FILE:
            found.append((item, content))
    return found


def _range(data: bytes, start: int, length: int) -> Iterator[bytes]:
    for at in range(start, start + length, 1000):
        yield data[at : min(at + 1000, start + length)]


def own_seeds() -> list[bytes]:
    """Return a layer of ours in every encoding."""
    return [own(compression)[0].blob for compression in COMPRESSIONS]


def mutate_own(data: bytes, chance: Random) -> bytes:
    """Change a layer's bytes, or its table of contents and what leads to it."""
    if chance.randrange(2):
        return _plain(data, chance)
    compression = compression_of(data)
    try:
        footer = find_footer(compression, data)
        length = wrapped_length(compression, footer.payload_length)
        payload = trailer.unwrap(compression, data[-length:])
        return data[:-length] + b"".join(wrap(compression, mutate_toc(payload, chance)))
    except IntegrityError:
        return _plain(data, chance)


def run_toc(data: bytes) -> None:
    """What a table of contents says is the same whenever it is read, and reads back when it is written again."""
    toc = Toc(data, LIMITS)
    whiteouts, compression, frames = list(toc.whiteouts()), toc.compression, toc.frames
    entries = list(toc.squashed() if toc.is_squash else toc)
    placed = list(toc.placed())
    writer = TocWriter(whiteouts, compression, squash=toc.is_squash)
    for entry in entries:
        writer.add_squashed(entry) if toc.is_squash else writer.add(entry)  # type: ignore[arg-type]
    again = writer.finish(frames)
    assert again.sha256 == toc.sha256, "two spellings of one table of contents"
    assert (list(again.placed()), again.frames, again.compression) == (placed, frames, compression)
    assert len({(type(entry), entry.path, *_more(entry)) for entry in entries}) == len(entries), "an entry stands twice"


def _more(entry: object) -> tuple[object, ...]:
    """Return what tells entries of one path and type apart."""
    match entry:
        case Tombstone(version=version) | Grouped(version=version) | Touched(version=version) | Kept(version=version):
            return (version, getattr(entry, "by", getattr(entry, "of", None)))
        case Claim(of=of):
            return (of,)
        case Listed(by=by):
            return (by,)
        case _:
            return ()


def toc_seeds() -> list[bytes]:
    """Return tables of contents of changes and of a squash."""
    made = [own(compression)[0].layer.toc.payload for compression in COMPRESSIONS]
    squash = TocWriter([b"d/dead"], "none", squash=True)
    for entry in _squashed():
        squash.add_squashed(entry)
    linked = pack(
        [directory(b"d"), file(b"d/a", group=1), file(b"d/b", group=1), Delete(b"x", Kind.DIR, BASE)],
        {b"d/a": b"1", b"d/b": b"1"},
        (),
        "none",
    )
    return [*made, squash.finish(linked.layer.toc.frames).payload, linked.layer.toc.payload]


def _squashed() -> list[SquashEntry]:
    node = Node(Kind.FILE, 0o644, mtime=TIME, size=3, sha256=b"h" * 32)
    return [
        Listed(b"d", Node(Kind.DIR, 0o755, mtime=5), BASE, 512, True),
        Tombstone(b"d/dead", Kind.FILE, BASE),
        Kept(b"d/f", node, OTHER, 1024),
        Touched(b"d/f", OTHER, 7, BASE),
        Claim(b"d/f", BASE.id, None, OTHER),
    ]


def mutate_toc(data: bytes, chance: Random) -> bytes:
    """Change a table of contents line by line, and put its footer right; sometimes its bytes."""
    try:
        footer = trailer.parse_footer(data[-FOOTER_SIZE:])
        parts = [data[: footer.entries_length], data[footer.entries_length : -FOOTER_SIZE]]
        if footer.method == trailer.ZSTD:
            parts = [zstandard.ZstdDecompressor().decompress(part, max_output_size=1 << 20) for part in parts]
    except (IntegrityError, zstandard.ZstdError):
        return _plain(data, chance)
    if not chance.randrange(6):
        return _plain(data, chance)
    which = chance.choice((0, 0, 0, 1))
    parts[which] = _mutate_lines(parts[which], chance)
    packed = [zstandard.ZstdCompressor(level=1).compress(part) for part in parts] if footer.method else parts
    made = Footer(len(packed[0]), len(parts[0]), len(packed[1]), len(parts[1]), footer.method)
    return b"".join((*packed, format_footer(made)))


def _mutate_lines(part: bytes, chance: Random) -> bytes:
    lines = part.splitlines(keepends=True) or [b""]
    at = chance.randrange(len(lines))
    how = chance.randrange(8)
    if how == 0:
        del lines[at]
    elif how == 1:
        lines.insert(chance.randrange(len(lines)), lines[at])
    elif how == 2:
        chance.shuffle(lines)
    elif how == 3:
        lines.sort(key=_path)
    else:
        lines[at] = _line(lines[at].rstrip(b"\n"), chance) + b"\n"
    return b"".join(lines)


def _path(line: bytes) -> str:
    try:
        return str(json.loads(line)["path"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


TARGETS = (
    Target("foreign-layer", run_foreign, foreign_seeds, mutate_blob, REFUSALS, tries=1200),
    Target("own-layer", run_own, own_seeds, mutate_own, REFUSALS, tries=1000),
    Target("toc", run_toc, toc_seeds, mutate_toc, REFUSALS, tries=1200),
)
