"""Tables of contents: one spelling for each, and nothing but IntegrityError for anything else."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from hashlib import sha256

import pytest
import zstandard

from agent.archive.layer.ranged import read_toc
from agent.archive.stream.compression import COMPRESSIONS, Compression
from agent.archive.stream.frames import Frame
from agent.archive.stream.limits import ArchiveLimits
from agent.archive.toc import trailer
from agent.archive.toc.toc import Toc
from agent.archive.toc.toc_line import format_entry, format_whiteout, parse_line
from agent.archive.toc.toc_writer import TocWriter
from agent.archive.toc.trailer import MissingTocError
from agent.core.model.entry import Context, Delete, Kind, Node, TocEntry, Touch, Write
from agent.core.spelling.canonical import canonical
from agent.errors import AgentError, IntegrityError, UnsafeArchiveError
from tests.archive.packing import BASE, OTHER, TIME, directory, file, link, sample

DIGEST = bytes(range(32))
FILE = Node(Kind.FILE, 0o644, 1, 2, TIME, 10, DIGEST)
SIZE = 1 << 20
FRAMES = [Frame(1000, SIZE, DIGEST)]

ENTRIES: dict[str, TocEntry] = {
    "file": Write(b"a", FILE, BASE, 512),
    "file without a past": Write(b"a/b", FILE._replace(mtime=0, size=0, uid=0, gid=0)),
    "file of a sparse writer": Write(b"a", FILE, "unpulled"),
    "file before the epoch": Write(b"a", FILE._replace(mtime=-1)),
    "file of a link group": Write(b"a", FILE, None, 0, 1),
    "file with attributes": Write(b"a", FILE._replace(xattrs=((b"user.\xff", b"\xff"), (b"user.\xffa", "ü".encode())))),
    "name to escape": Write(b'quote" back\\slash \n\x7f tab\t', FILE),
    "name in UTF-8": Write("größe/😀".encode(), FILE),
    "name not in UTF-8": Write(b"\xff/x", FILE),
    "directory": Write(b"d", Node(Kind.DIR, 0o1777, mtime=TIME), OTHER),
    "symbolic link": Write(b"l", Node(Kind.LINK, 0o777, target=b"\xff/../x")),
    "device": Write(b"c", Node(Kind.CHAR, 0o600, device=(1, 0))),
    "device 0:0": Write(b"c", Node(Kind.CHAR, 0)),
    "block device": Write(b"c", Node(Kind.BLOCK, 0o600, device=(0, 7))),
    "fifo": Write(b"f", Node(Kind.FIFO, 0o600)),
    "deletion": Delete(b"a", Kind.DIR, BASE),
    "touch": Touch(b"a", OTHER, -TIME),
    "touch to the epoch": Touch(b"a", OTHER, 0),
    "context": Context(b"d", Node(Kind.DIR, 0o755)),
    "context of a link group": Context(b"d", FILE, BASE, 1024, 3),
}


@pytest.mark.parametrize("what", ENTRIES)
def test_line_is_canonical_json_and_reads_back(what: str) -> None:
    line = format_entry(ENTRIES[what])
    assert canonical(json.loads(line)) + b"\n" == line
    assert parse_line(line[:-1]) == ENTRIES[what]


def test_line_of_an_ordinary_file_is_what_the_format_says() -> None:
    assert format_entry(ENTRIES["file"]) == (
        b'{"gid":2,"kind":"file","mode":420,"mtime":1700000000123456789,"offset":512,"op":"write","path":"a",'
        b'"seen":[1700000000000000000,"sha256:' + b"ab" * 32 + b'"],"sha256":"' + DIGEST.hex().encode() + b'",'
        b'"size":10,"uid":1}\n'
    )


def test_line_of_a_whiteout_reads_back_as_its_path() -> None:
    assert format_whiteout(b"d/\xff") == b'{"op":"whiteout","path":{"b64":"ZC//"}}\n'
    assert parse_line(format_whiteout(b"d/\xff")[:-1]) == b"d/\xff"


HEX = '"' + "0" * 64 + '"'
V = '[5,"' + "0" * 64 + '"]'
WRITE = '{"kind":"file","mode":420,"op":"write","path":"a","sha256":' + HEX + "}"
MALFORMED = {
    "nothing": "",
    "no object": "[1]",
    "a number": "5",
    "a text": '"op"',
    "null": "null",
    "unknown operation": '{"op":"rename","path":"a"}',
    "no operation": '{"path":"a"}',
    "no path": '{"op":"whiteout"}',
    "empty path": '{"op":"whiteout","path":""}',
    "absolute path": '{"op":"whiteout","path":"/a"}',
    "parent": '{"op":"whiteout","path":"a/../b"}',
    "dot": '{"op":"whiteout","path":"./a"}',
    "slash behind": '{"op":"whiteout","path":"a/"}',
    "NUL": '{"op":"whiteout","path":"a\\u0000"}',
    "surrogate": '{"op":"whiteout","path":"\\ud800"}',
    "needless base64": '{"op":"whiteout","path":{"b64":"YQ=="}}',
    "bad base64": '{"op":"whiteout","path":{"b64":"/"}}',
    "needless escape": '{"op":"whiteout","path":"\\u0061"}',
    "escaped non-ASCII": '{"op":"whiteout","path":"\\u00fc"}',
    "name of a whiteout": '{"op":"whiteout","path":".wh.a"}',
    "directory of a whiteout's name": '{"op":"whiteout","path":"a/.wh.b/c"}',
    "long name": '{"op":"whiteout","path":"' + "n" * 256 + '"}',
    "space": '{"op": "whiteout","path":"a"}',
    "keys not sorted": '{"path":"a","op":"whiteout"}',
    "key twice": '{"op":"whiteout","op":"whiteout","path":"a"}',
    "unknown key": '{"op":"whiteout","path":"a","x":1}',
    "bytes behind": '{"op":"whiteout","path":"a"} ',
    "deep": "[" * 100_000,
    "deep path": '{"op":"whiteout","path":' + '{"b64":' * 50_000,
    "not JSON": "{",
    "NaN": '{"mtime":NaN,"op":"touch","path":"a","version":' + V + "}",
    "default said": '{"mtime":0,"op":"touch","path":"a","version":' + V + "}",
    "null said": WRITE.replace(',"sha256"', ',"seen":null,"sha256"'),
    "other word for unpulled": WRITE.replace(',"sha256"', ',"seen":"none","sha256"'),
    "boolean number": WRITE.replace("420", "true"),
    "fraction": WRITE.replace("420", "420.0"),
    "exponent": WRITE.replace("420", "4e2"),
    "leading zero": WRITE.replace("420", "0420"),
    "huge mode": WRITE.replace("420", "4096"),
    "negative mode": WRITE.replace("420", "-1"),
    "text for a number": WRITE.replace("420", '"420"'),
    "huge number": WRITE.replace("420", "9" * 5000),
    "huge owner": WRITE[:-1] + ',"uid":4294967295}',
    "huge time": WRITE.replace("420", '420,"mtime":' + str(2**63 * 10**9)),
    "huge size": WRITE[:-1] + f',"size":{2**62 + 1}' + "}",
    "negative size": WRITE[:-1] + ',"size":-1}',
    "crooked offset": WRITE.replace("420", '420,"offset":513'),
    "negative offset": WRITE.replace("420", '420,"offset":-512'),
    "negative group": WRITE.replace("{", '{"group":-1,'),
    "unknown kind": WRITE.replace('"file"', '"socket"'),
    "kind in a list": WRITE.replace('"file"', '["file"]'),
    "no kind": WRITE.replace('"kind":"file",', ""),
    "no mode": WRITE.replace('"mode":420,', ""),
    "file without sha256": WRITE.replace(',"sha256":' + HEX, ""),
    "short sha256": WRITE.replace("00", "", 1),
    "sha256 in capitals": WRITE.replace("00", "AA", 1),
    "directory with sha256": WRITE.replace('"file"', '"dir"'),
    "directory with size": '{"kind":"dir","mode":0,"op":"write","path":"a","size":1}',
    "link without target": '{"kind":"link","mode":511,"op":"write","path":"a"}',
    "link of another mode": '{"kind":"link","mode":420,"op":"write","path":"a","target":"b"}',
    "link with NUL": '{"kind":"link","mode":511,"op":"write","path":"a","target":"\\u0000"}',
    "file with target": WRITE[:-1] + ',"target":"b"}',
    "file with device": WRITE.replace("{", '{"device":[1,2],'),
    "device too large": '{"device":[2097152,0],"kind":"char","mode":0,"op":"write","path":"a"}',
    "device of three": '{"device":[1,2,3],"kind":"char","mode":0,"op":"write","path":"a"}',
    "version of one": WRITE.replace(',"sha256"', ',"seen":[5],"sha256"'),
    "version reversed": WRITE.replace(',"sha256"', f',"seen":[{HEX},5],"sha256"'),
    "version with a space": WRITE.replace(',"sha256"', ',"seen":' + V.replace(",", ", ") + ',"sha256"'),
    "version without id": WRITE.replace(',"sha256"', ',"seen":[5,"x"],"sha256"'),
    "version of negative stamp": WRITE.replace(',"sha256"', ',"seen":' + V.replace("5", "-5") + ',"sha256"'),
    "version of leading zero": WRITE.replace(',"sha256"', ',"seen":' + V.replace("5", "05") + ',"sha256"'),
    "deletion of nothing": '{"kind":"file","op":"delete","path":"a"}',
    "deletion of the unknown": '{"kind":"file","op":"delete","path":"a","seen":"unpulled"}',
    "attributes unsorted": WRITE[:-1] + ',"xattrs":[["user.b",""],["user.a",""]]}',
    "attribute twice": WRITE[:-1] + ',"xattrs":[["user.a",""],["user.a",""]]}',
    "attribute of another namespace": WRITE[:-1] + ',"xattrs":[["trusted.a",""]]}',
    "attributes as object": WRITE[:-1] + ',"xattrs":{"user.a":""}}',
    "attributes of three": WRITE[:-1] + ',"xattrs":[["user.a","",""]]}',
    "attributes empty": WRITE[:-1] + ',"xattrs":[]}',
    "UTF-16": '{"op":"whiteout","path":"a"}'.encode("utf-16").decode("latin-1"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_line_is_an_integrity_error(what: str) -> None:
    with pytest.raises(IntegrityError):
        parse_line(MALFORMED[what].encode("utf-8" if what != "UTF-16" else "latin-1"))


def test_line_that_the_malformed_ones_were_made_of_is_valid() -> None:
    assert parse_line(WRITE.encode()) == Write(b"a", Node(Kind.FILE, 0o644, sha256=bytes(32)))


def test_line_that_is_not_utf_8_is_an_integrity_error() -> None:
    for line in (b'{"op":"whiteout","path":"\xff"}', WRITE.encode().replace(b'"a"', b'"\xff"')):
        with pytest.raises(IntegrityError):
            parse_line(line)


def written(
    entries: Iterable[TocEntry],
    whiteouts: tuple[bytes, ...] = (),
    compression: Compression = "zstd",
    frames: Iterable[Frame] = FRAMES,
) -> Toc:
    writer = TocWriter(whiteouts, compression)
    for entry in entries:
        writer.add(entry)
    return Toc(writer.finish(frames).payload)


def at(entry: Write | Context, offset: int) -> TocEntry:
    node = entry.node
    return entry._replace(offset=offset, node=node._replace(sha256=DIGEST) if node.kind is Kind.FILE else node)


def test_table_of_files_is_small() -> None:
    """Who pulls one directory reads the table of all: it is packed better than zstd does by itself in that time."""
    chance, entries, offset = random.Random(1), [], 0
    for number in range(3000):
        node = Node(Kind.FILE, 0o644, mtime=TIME + chance.randrange(10**9), size=chance.randrange(20_000))
        path = b"collection_part%02d_module_%04d.py" % (number // 50, number)
        entries.append(Write(path, node._replace(sha256=chance.randbytes(32)), offset=offset))
        offset += 1024 + (node.size + 511 & -512)
    text = b"".join(map(format_entry, entries))
    toc = written(entries, frames=[Frame(1000, offset + 1024, DIGEST)])
    assert list(toc) == entries
    assert len(toc.payload) < 0.94 * len(zstandard.ZstdCompressor(level=3).compress(text))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_table_reads_back_any_number_of_times(compression: Compression) -> None:
    entries = [
        Delete(b"a", Kind.FILE, BASE, True),
        at(directory(b"d"), 1536),
        Delete(b"d/x", Kind.FILE, BASE),
        at(file(b"d/y"), 3072),
    ]
    toc = written(entries, (b"a", b"b"), compression)
    assert list(toc) == list(toc) == entries
    assert list(toc.whiteouts()) == [b"a", b"b"]
    assert (toc.compression, toc.frames, toc.size, toc.offset) == (compression, tuple(FRAMES), SIZE, 1000)


def test_sha256_is_that_of_the_entry_part_in_every_encoding() -> None:
    entries = [at(file(b"f%05d" % number), 2048 * number) for number in range(300)]
    text = b'{"format":1}\n' + b"".join(format_entry(entry) for entry in entries)
    assert {written(entries, (), compression).sha256 for compression in COMPRESSIONS} == {sha256(text).hexdigest()}


RULES: dict[str, tuple[list[TocEntry], tuple[bytes, ...]]] = {
    "out of order": ([at(file(b"b"), 0), at(file(b"a"), 2048)], ()),
    "write twice": ([at(file(b"a"), 0), at(file(b"a"), 2048)], ()),
    "context and write": ([Context(b"a", Node(Kind.DIR, 0)), at(directory(b"a"), 2048)], ()),
    "write before deletion": ([at(file(b"a"), 0), Delete(b"a", Kind.DIR, BASE)], ()),
    "deletion twice": ([Delete(b"a", Kind.DIR, BASE), Delete(b"a", Kind.FILE, BASE)], ()),
    "touch twice": ([Touch(b"a", BASE, 1), Touch(b"a", BASE, 2)], ()),
    "no directory above": ([at(file(b"d/a"), 0)], ()),
    "file above": ([at(file(b"d"), 0), at(file(b"d/a"), 2048)], ()),
    "neighbour above": ([at(directory(b"d"), 0), at(directory(b"d-x"), 512), at(file(b"d-y/a"), 1024)], ()),
    "directory above has ended": ([at(directory(b"d"), 0), at(file(b"d0"), 512), at(file(b"e/a"), 2048)], ()),
    "whiteout of an entry": ([at(directory(b"d"), 0)], (b"d",)),
    "whiteouts out of order": ([], (b"b", b"a")),
    "whiteout twice": ([], (b"a", b"a")),
    "places out of order": ([at(file(b"a"), 2048), at(file(b"b"), 0)], ()),
    "places that overlap": ([at(file(b"a", size=513), 0), at(file(b"b"), 1024)], ()),
    "place beyond the tar": ([at(file(b"a"), SIZE - 1024)], ()),
    "group not numbered in order": ([at(file(b"a", group=2), 0)], ()),
    "group with a gap": ([at(file(b"a", group=1), 0), at(file(b"b", group=3), 2048)], ()),
    "group of two contents": ([at(file(b"a", group=1), 0), at(file(b"b", group=1, size=1), 2048)], ()),
    "group of two modes": ([at(file(b"a", group=1), 0), at(file(b"b", group=1, mode=0), 2048)], ()),
    "group with a directory": ([Write(b"a", Node(Kind.DIR, 0), group=1)], ()),
}


@pytest.mark.parametrize("what", RULES)
def test_table_that_breaks_a_rule_is_an_integrity_error(what: str) -> None:
    entries, whiteouts = RULES[what]
    lines = [format_whiteout(path) for path in whiteouts] + [format_entry(entry) for entry in entries]
    with pytest.raises(IntegrityError):
        list(forged(b"".join([b'{"format":1}\n', *lines])))


def test_names_between_a_directory_and_its_children_are_in_order() -> None:
    paths = [b"d", b"d!", b"d-x", b"d-x/y", b"d-x/y/z", b"d/a", b"d/a/b", b"d/a-", b"d/b", b"d0"]
    paths.sort()
    entries = [at(directory(path), 512 * number) for number, path in enumerate(paths)]
    assert list(written(entries)) == entries


def forged(lines: bytes, frames: bytes | None = None, method: int = trailer.STORED) -> Toc:
    """A table of contents of any text."""
    if frames is None:
        frames = b'{"compression":"zstd","format":1}\n' + canonical(
            {"length": 1000, "sha256": DIGEST.hex(), "size": SIZE}
        ) + b"\n"  # fmt: skip
    parts = [lines, frames]
    if method == trailer.ZSTD:
        parts = [zstandard.compress(part) for part in parts]
    footer = trailer.Footer(len(parts[0]), len(lines), len(parts[1]), len(frames), method)
    return Toc(b"".join((*parts, trailer.format_footer(footer))))


H = b'{"format":1}\n'
F = b'{"compression":"zstd","format":1}\n'
FRAME = b'{"length":1,"sha256":"' + b"0" * 64 + b'","size":1}\n'
TEXTS = {
    "no header": (b"", None),
    "newer format": (b'{"format":2}\n', None),
    "no newline at the end": (H + b'{"op":"whiteout","path":"a"}', None),
    "empty line": (H + b"\n", None),
    "whiteout behind an entry": (H + WRITE.encode() + b"\n" + b'{"op":"whiteout","path":"b"}\n', None),
    "no frames": (H, F),
    "no list of frames": (H, b""),
    "frames of another format": (H, b'{"compression":"zstd","format":2}\n' + FRAME),
    "frames of another compression": (H, b'{"compression":"xz","format":1}\n' + FRAME),
    "frame of no length": (H, F + FRAME.replace(b'"length":1', b'"length":0')),
    "frame of negative size": (H, F + FRAME.replace(b'"size":1', b'"size":-1')),
    "frame of a fraction": (H, F + FRAME.replace(b'"size":1', b'"size":1.0')),
    "frame of a boolean": (H, F + FRAME.replace(b'"size":1', b'"size":true')),
    "frame of a short digest": (H, F + FRAME.replace(b"00", b"", 1)),
    "frames that are deep": (H, F + b"[" * 100_000 + b"\n"),
    "frames as list": (H, b"[]\n"),
}


@pytest.mark.parametrize("method", [trailer.STORED, trailer.ZSTD])
@pytest.mark.parametrize("what", TEXTS)
def test_malformed_text_is_an_integrity_error(what: str, method: int) -> None:
    with pytest.raises(IntegrityError):
        list(forged(*TEXTS[what], method))


def test_forged_table_without_a_fault_is_valid() -> None:
    for method in (trailer.STORED, trailer.ZSTD):
        assert len(list(forged(H + WRITE.encode() + b"\n", None, method))) == 1


def test_bomb_in_the_table_is_stopped_at_the_announced_size() -> None:
    part = zstandard.compress(bytes(100 << 20))
    footer = trailer.Footer(len(part), 1000, 0, 0, trailer.ZSTD)
    with pytest.raises(IntegrityError):
        list(Toc(part + trailer.format_footer(footer))._entry_pieces())
    honest = trailer.Footer(len(part), 100 << 20, 0, 0, trailer.ZSTD)
    with pytest.raises(UnsafeArchiveError):
        Toc(part + trailer.format_footer(honest), ArchiveLimits(toc=99 << 20))


def test_endless_line_is_an_integrity_error() -> None:
    with pytest.raises(IntegrityError):
        list(forged(H + bytes(9 << 20), None, trailer.ZSTD))


def test_more_entries_than_the_limit_are_unsafe() -> None:
    payload = written([Touch(b"%d" % number, BASE, 0) for number in range(9)]).payload
    assert len(list(Toc(payload, ArchiveLimits(entries=10)))) == 9
    with pytest.raises(UnsafeArchiveError):
        list(Toc(payload, ArchiveLimits(entries=5)))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_any_changed_byte_of_a_payload_is_noticed_or_harmless(compression: Compression) -> None:
    toc = sample(compression).layer.toc
    payload, entries, digest = toc.payload, list(toc), toc.sha256
    step = max(1, len(payload) // 400)
    for position in range(0, len(payload), step):
        changed = payload[:position] + bytes([payload[position] ^ 0x11]) + payload[position + 1 :]
        try:
            read = Toc(changed)
            same = read.sha256 == digest
            found, _ = list(read), read.frames
        except AgentError as error:
            assert isinstance(error, IntegrityError | UnsafeArchiveError)
        else:
            assert not same or found == entries


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("size", [0, 1, 65530, 65531, 65532, 200_000])
def test_trailer_is_found_from_the_end_of_the_blob(compression: Compression, size: int) -> None:
    footer = trailer.format_footer(trailer.Footer(size, size, 0, 0, trailer.STORED))
    payload = bytes(number % 251 for number in range(size)) + footer
    wrapped = b"".join(trailer.wrap(compression, payload))
    assert len(wrapped) == trailer.wrapped_length(compression, len(payload))
    assert trailer.unwrap(compression, wrapped) == payload
    blob = b"frames" * 100 + wrapped
    assert trailer.find_footer(compression, blob[-trailer.TAIL_SIZE :]).payload_length == len(payload)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_table_is_read_by_ranges(compression: Compression) -> None:
    packed = sample(compression)
    layer, blob = packed.layer, packed.blob
    asked: list[tuple[int, int]] = []

    def fetch(start: int, length: int) -> bytes:
        asked.append((start, length))
        return blob[start : start + length]

    place = (layer.toc_offset, layer.toc_length, layer.toc.payload_sha256)
    toc = read_toc(fetch, len(blob), compression, sha256=layer.toc.sha256, place=place)
    assert list(toc) == packed.written
    assert asked == [place[:2]]
    asked.clear()
    assert list(read_toc(fetch, len(blob), compression, sha256=layer.toc.sha256)) == packed.written
    assert len(asked) == 2


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_table_that_is_not_the_promised_one_is_an_integrity_error(compression: Compression) -> None:
    packed = sample(compression)
    layer, blob = packed.layer, packed.blob

    def fetch(start: int, length: int) -> bytes:
        return blob[start : start + length]

    digest, offset, length, payload = (
        layer.toc.sha256, layer.toc_offset, layer.toc_length, layer.toc.payload_sha256,
    )  # fmt: skip
    for sha, place in (
        ("0" * 64, (offset, length, payload)),
        (digest, (offset, length, "0" * 64)),
        (digest, (offset + 1, length - 1, payload)),
        (digest, (offset, length - 1, payload)),
        (digest, (offset, length + 1, payload)),
        (digest, (-1, length, payload)),
        (digest, (offset, -1, payload)),
    ):
        with pytest.raises(IntegrityError):
            read_toc(fetch, len(blob), compression, sha256=sha, place=place)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_blob_without_a_table_says_so(compression: Compression) -> None:
    for blob in (b"", b"x", b"something else" * 100):
        with pytest.raises(MissingTocError):
            read_toc(lambda start, length, blob=blob: blob[start : start + length], len(blob), compression, sha256="")


def test_link_is_written_once_for_each_name() -> None:
    assert [entry.group for entry in sample().written if isinstance(entry, Write | Context) and entry.group] == [1, 1]
    assert link(b"l", b"t").node.mode == 0o777
