"""The layer writer: order, link groups, frames, determinism, threads."""

from __future__ import annotations

import gzip
import itertools
import random
import zlib
from collections.abc import Iterator

import pytest
import zstandard

from agent.archive.layer.writer import LayerWriter
from agent.archive.stream.compression import COMPRESSIONS, Compression, media_type_of
from agent.archive.stream.frames import FRAME, FRAME_FULL
from agent.archive.tar.tar_header import END
from agent.archive.tar.tar_reader import read_tar
from agent.core.model.entry import Context, Delete, Kind, Node, TocEntry, Touch, Write
from agent.core.model.tar_item import Linked, Placed, Whiteout
from agent.core.spelling.digest import digest_of
from agent.core.spelling.path import ancestors, parent
from agent.errors import AgentError, FileChangedError, IntegrityError
from tests.archive.packing import BASE, TIME, Packed, digest, directory, file, pack, running, sample


def tar_of(packed: Packed) -> bytes:
    """The layer's tar, by other means than ours."""
    if packed.layer.media_type.endswith("zstd"):
        return zstandard.ZstdDecompressor().stream_reader(packed.blob, read_across_frames=True).read()
    return gzip.decompress(packed.blob) if packed.layer.media_type.endswith("gzip") else packed.blob


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that compress a little."""
    block = b"".join(zlib.crc32(b"%d" % (seed * 1000 + number)).to_bytes(4, "big") for number in range(4096))
    return (block * (size // len(block) + 1))[:size]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_diff_id_is_the_digest_of_the_uncompressed_stream(compression: Compression) -> None:
    packed = sample(compression)
    assert digest_of(tar_of(packed)) == packed.layer.diff_id
    assert packed.layer.media_type == media_type_of(compression)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_tar_holds_whiteouts_first_and_then_everything_in_order(compression: Compression) -> None:
    packed = sample(compression)
    items = [item for item, _ in read_tar([tar_of(packed)])]
    assert [item.path for item in items if isinstance(item, Whiteout)] == [b"d/dead", b"z"]
    assert all(isinstance(item, Whiteout) for item in items[:2])
    placed = [item.path for item in items[2:]]
    assert placed == sorted(placed)
    assert placed == [entry.path for entry in packed.written if isinstance(entry, Write | Context)]
    assert [item.offset for item in items[2:]] == [
        entry.offset for entry in packed.written if isinstance(entry, Write | Context)
    ]
    assert tar_of(packed)[: packed.layer.size].endswith(END)


def test_first_name_of_a_group_holds_the_content_and_its_attributes() -> None:
    packed = pack(
        [file(b"a", group=9, mode=0o600), file(b"b", group=4), file(b"c", group=9, mode=0o777), file(b"d", group=4)],
        {b"a": b"one", b"b": b"two"},
    )
    items = [item for item, _ in read_tar([tar_of(packed)])]
    assert [type(item) for item in items] == [Placed, Placed, Linked, Linked]
    assert [(item.path, item.to) for item in items[2:]] == [(b"c", b"a"), (b"d", b"b")]
    nodes = {entry.path: entry.node for entry in packed.written}
    assert nodes[b"c"] == nodes[b"a"]
    assert nodes[b"a"].sha256 == digest(b"one")
    assert [entry.group for entry in packed.written] == [1, 2, 1, 2]


def test_context_of_a_group_holds_the_content_if_it_comes_first() -> None:
    context = Context(b"a", Node(Kind.FILE, 0o644, mtime=TIME), BASE, group=3)
    packed = pack([context, file(b"b", group=3)], {b"a": b"text"})
    assert [content for _, content in [(i, b"".join(c)) for i, c in read_tar([tar_of(packed)])]] == [b"text", b""]


def test_link_group_of_symbolic_links_is_kept() -> None:
    node = Node(Kind.LINK, 0o777, mtime=TIME, target=b"t")
    packed = pack([Write(b"a", node, group=1), Write(b"b", node, group=1)], {})
    assert [type(item) for item, _ in read_tar([tar_of(packed)])] == [Placed, Linked]


def test_written_entries_carry_size_and_sha256_as_read() -> None:
    packed = pack([file(b"a")], {b"a": b"text"})
    (entry,) = packed.written
    assert (entry.node.size, entry.node.sha256) == (4, digest(b"text"))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_change_without_tar_entries_is_an_empty_tar(compression: Compression) -> None:
    packed = pack([Touch(b"a", BASE, 5), Delete(b"b", Kind.FILE, BASE)], {}, (), compression)
    assert tar_of(packed)[: packed.layer.size] == END
    assert len(packed.layer.toc.frames) == 1
    assert len(list(packed.layer.toc)) == 2


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_equal_input_gives_equal_bytes_whatever_the_threads(compression: Compression) -> None:
    contents = {b"f%d" % number: noise(1_500_000, number) for number in range(6)}
    entries = [file(path) for path in contents]
    one, two = (pack(entries, contents, (), compression, threads) for threads in (1, 4))
    assert one.blob == two.blob
    assert one.layer.diff_id == two.layer.diff_id
    assert one.layer.toc.sha256 == two.layer.toc.sha256


def test_tar_and_entry_part_do_not_depend_on_the_compression() -> None:
    layers = [sample(compression) for compression in COMPRESSIONS]
    assert len({packed.layer.toc.sha256 for packed in layers}) == 1
    assert len({tar_of(packed)[: packed.layer.size] for packed in layers}) == 1
    assert layers[0].layer.diff_id == layers[1].layer.diff_id != layers[2].layer.diff_id


def test_numbers_of_link_groups_do_not_matter() -> None:
    first, second = (
        pack([file(b"a", group=group), file(b"b", group=group)], {b"a": b"x"}) for group in (1, 123_456_789)
    )
    assert first.blob == second.blob


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_frames_are_of_bounded_size_and_begin_at_entries(compression: Compression) -> None:
    contents = {b"f%02d" % number: noise(900_000, number) for number in range(20)} | {b"large": noise(10_000_000)}
    packed = pack([file(path) for path in contents], contents, (), compression)
    frames = packed.layer.toc.frames
    assert all(frame.size <= FRAME for frame in frames)
    assert sum(frame.size for frame in frames) == packed.layer.size
    starts = {sum(frame.size for frame in frames[:count]) for count in range(len(frames))}
    offsets = {entry.offset for entry in packed.written}
    large = next(entry.offset for entry in packed.written if entry.path == b"large")
    assert all(start in offsets or start > large for start in starts)
    position = 0
    for frame in frames:
        piece = packed.blob[position : position + frame.length]
        assert digest(piece) == frame.sha256
        position += frame.length
    assert position == packed.layer.toc_offset
    assert position + packed.layer.toc_length == len(packed.blob)


@pytest.mark.parametrize("seed", range(6))
def test_a_full_frame_ends_where_the_fewest_directories_go_on(seed: int) -> None:
    """The rule of docs/reference/format.md, "Frames", applied to the tar: a directory lies in few frames."""
    rng = random.Random(seed)
    directories = {b""}
    for name in range(60):
        above = rng.choice(sorted(directories))
        directories.add(above + b"%s%c%d" % (b"/" if above else b"", rng.choice(b"-a~"), name))
    contents = {
        (above + b"/" if above else b"") + b"f%d" % number: bytes(int(4 ** rng.uniform(0, 11.3)))
        for above in directories
        for number in range(rng.choice((0, 2, 9)))
    }
    packed = pack([*map(directory, directories - {b""}), *map(file, contents)], contents, (), "none")
    places = [(entry.offset, entry.path) for entry in packed.written if isinstance(entry, Write | Context)]
    borders = [
        (at, 1000 if parent(one) == parent(other) else len({one, *ancestors(one)} & set(ancestors(other))))
        for (_, one), (at, other) in itertools.pairwise(places)
    ]
    end = packed.layer.size - len(END)
    starts = [0]
    while end - (start := starts[-1]) > FRAME:
        near = [(shared, -at) for at, shared in borders if start + FRAME_FULL <= at <= start + FRAME]
        starts.append(-min(near)[1] if near else start + FRAME)
    if end + len(END) - start > FRAME:
        starts.append(end)
    assert len(starts) > 5
    assert list(itertools.accumulate((frame.size for frame in packed.layer.toc.frames[:-1]), initial=0)) == starts


def test_every_zstd_frame_says_its_size_and_needs_little_memory() -> None:
    packed = pack([file(b"large")], {b"large": noise(10_000_000)})
    position = 0
    for frame in packed.layer.toc.frames:
        about = zstandard.get_frame_parameters(packed.blob[position : position + frame.length])
        assert about.content_size == frame.size
        assert about.window_size <= 8 << 20
        assert about.dict_id == 0
        position += frame.length


def changing(claimed: int, chunks: list[bytes], kind: Kind = Kind.FILE) -> LayerWriter:
    def contents(entry: Write | Context) -> tuple[Node, Iterator[bytes]]:
        return entry.node._replace(size=claimed, kind=kind), iter(chunks)

    return LayerWriter([file(b"a")], (), contents)


@pytest.mark.parametrize("chunks", [[], [b"ab"], [b"abcd"], [b"abc", b"d"], [b"abc" * FRAME]], ids=len)
def test_file_of_another_length_than_it_said_has_changed(chunks: list[bytes]) -> None:
    with pytest.raises(FileChangedError, match="a:"):
        list(changing(3, chunks))


def test_file_that_is_no_file_any_more_has_changed() -> None:
    with pytest.raises(FileChangedError):
        list(changing(0, [], Kind.DIR))


def test_error_of_the_reader_comes_through_and_ends_all_threads() -> None:
    def contents(entry: Write | Context) -> tuple[Node, Iterator[bytes]]:
        if entry.path == b"f3":
            raise OSError(5, "broken disk")
        return entry.node._replace(size=3_000_000), iter([noise(3_000_000)])

    with pytest.raises(OSError, match="broken disk"):
        list(LayerWriter([file(b"f%d" % number) for number in range(5)], (), contents))
    assert running() == []


def test_error_behind_many_entries_ends_the_thread_that_packs_their_table() -> None:
    def contents(entry: Write | Context) -> tuple[Node, bytes]:
        if entry.path == b"f9999":
            assert any(name.startswith("toc") for name in running())
            raise OSError(5, "broken disk")
        return entry.node, b""

    with pytest.raises(OSError, match="broken disk"):
        list(LayerWriter([file(b"f%d" % number) for number in range(7000, 10000)], (), contents))
    assert running() == []


def test_iterator_closed_early_ends_all_threads() -> None:
    contents = {b"f%d" % number: noise(3_000_000, number) for number in range(9)}
    opened: list[bytes] = []

    def open_content(entry: Write | Context) -> tuple[Node, Iterator[bytes]]:
        opened.append(entry.path)
        data = contents[entry.path]
        return entry.node._replace(size=len(data)), iter([data])

    writer = LayerWriter([file(path) for path in contents], (), open_content, threads=2)
    chunks = iter(writer)
    next(chunks)
    assert len(opened) < len(contents)
    chunks.close()
    assert running() == []
    with pytest.raises(AgentError):
        _ = writer.result


@pytest.mark.parametrize(
    ("entries", "whiteouts"),
    [
        ([file(b"b"), file(b"a")], ()),
        ([file(b"d/a")], ()),
        ([file(b"a")], (b"a",)),
        ([], (b"b", b"a")),
        ([Delete(b"a", Kind.FILE, BASE, True)], ()),
        ([Delete(b"a", Kind.FILE, BASE, False)], (b"a",)),
        ([Write(b"a", Node(Kind.DIR, 0o755), group=1)], ()),
    ],
)
def test_entries_that_cannot_stand_in_a_layer_are_refused(
    entries: list[TocEntry], whiteouts: tuple[bytes, ...]
) -> None:
    def contents(entry: Write | Context) -> tuple[Node, Iterator[bytes]]:
        return entry.node, iter(())

    with pytest.raises(IntegrityError):
        list(LayerWriter(entries, whiteouts, contents))


def test_writer_reads_lazily_and_keeps_few_frames() -> None:
    """Memory does not grow with the tree: a frame comes out before much more than the pool's depth was read."""
    read = 0

    def contents(entry: Write | Context) -> tuple[Node, Iterator[bytes]]:
        nonlocal read
        read += 1 << 20
        return entry.node._replace(size=1 << 20), iter([bytes(1 << 20)])

    given = most = 0
    writer = LayerWriter([file(b"f%03d" % number) for number in range(100)], (), contents, "none", threads=2)
    for chunk in writer:
        most = max(most, read - given)
        given += len(chunk)
    assert most <= 8 * FRAME


def test_directory_and_file_replace_each_other_in_one_layer() -> None:
    packed = pack([Delete(b"d", Kind.FILE, BASE), directory(b"d"), file(b"d/f")], {b"d/f": b""})
    assert [entry.path for entry in packed.layer.toc] == [b"d", b"d", b"d/f"]


@pytest.mark.parametrize("room", [0, 512, 1024])
def test_end_of_archive_is_not_cut_in_two(room: int) -> None:
    size = FRAME - room - 3 * 512
    packed = pack([file(b"a")], {b"a": bytes(size)}, (), "none")
    sizes = [frame.size for frame in packed.layer.toc.frames]
    assert sizes == ([FRAME] if room == 1024 else [FRAME - room, 1024])
