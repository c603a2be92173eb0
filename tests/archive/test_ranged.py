"""Single entries by ranges: what is read, and that it is bound to the table of contents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.archive.layer.ranged import read_entries
from agent.archive.stream.compression import COMPRESSIONS, Compression
from agent.archive.stream.frames import Frame
from agent.archive.toc.toc import Toc
from agent.archive.toc.toc_writer import TocWriter
from agent.core.model.entry import Context, Write
from agent.errors import AgentError, IntegrityError
from tests.archive.packing import Packed, directory, file, pack, running, sample

CONTENTS = {
    b"f%02d" % number: bytes((number * at) % 251 for at in range(256)) * 3000 for number in range(30)
} | {b"large": bytes(range(256)) * 40_000}  # fmt: skip


class Blob:
    """A blob that is read by ranges, and remembers which."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []

    def __call__(self, start: int, length: int) -> Iterator[bytes]:
        self.asked.append((start, length))
        for at in range(start, start + length, 1 << 16):
            yield self.data[at : min(at + (1 << 16), start + length)]


@pytest.fixture(scope="module", params=COMPRESSIONS)
def packed(request: pytest.FixtureRequest) -> Packed:
    compression: Compression = request.param
    return pack([file(path) for path in CONTENTS], CONTENTS, (), compression)


def read(packed: Packed, wanted: list[int], blob: Blob | None = None) -> dict[bytes, bytes]:
    found = read_entries(packed.layer.toc, blob or Blob(packed.blob), wanted)
    return {entry.path: b"".join(content) for entry, content in found}


def offsets(packed: Packed) -> dict[bytes, int]:
    return {entry.path: entry.offset for entry in packed.written if isinstance(entry, Write | Context)}


def test_all_entries_are_one_request(packed: Packed) -> None:
    blob = Blob(packed.blob)
    assert read(packed, list(offsets(packed).values()), blob) == CONTENTS
    assert blob.asked == [(0, packed.layer.toc_offset)]


def test_one_entry_costs_its_frame_only(packed: Packed) -> None:
    blob = Blob(packed.blob)
    places = offsets(packed)
    assert read(packed, [places[b"f29"]], blob) == {b"f29": CONTENTS[b"f29"]}
    ((start, length),) = blob.asked
    frames = packed.layer.toc.frames
    ends = [sum(frame.length for frame in frames[: n + 1]) for n in range(len(frames))]
    assert start + length in ends
    assert length in [frame.length for frame in frames]


def test_entry_that_spans_frames_is_read_whole(packed: Packed) -> None:
    assert read(packed, [offsets(packed)[b"large"]]) == {b"large": CONTENTS[b"large"]}


@pytest.mark.parametrize("step", [1, 2, 3, 7, 11])
def test_any_choice_of_entries_is_read(packed: Packed, step: int) -> None:
    wanted = dict(list(offsets(packed).items())[::step])
    assert read(packed, list(wanted.values())) == {path: CONTENTS[path] for path in wanted}


def test_frames_far_apart_are_two_requests() -> None:
    packed = pack([file(path) for path in CONTENTS], CONTENTS, (), "none")
    blob = Blob(packed.blob)
    places = offsets(packed)
    read(packed, [places[b"f00"], places[b"large"]], blob)
    assert len(blob.asked) == 2


def test_nothing_wanted_is_no_request(packed: Packed) -> None:
    blob = Blob(packed.blob)
    assert read(packed, [], blob) == {}
    assert blob.asked == []


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_one_of_everything_is_read(compression: Compression) -> None:
    packed = sample(compression)
    entries = [entry for entry in packed.written if isinstance(entry, Write | Context)]
    found = list(read_entries(packed.layer.toc, Blob(packed.blob), [entry.offset for entry in entries]))
    assert {entry for entry, _ in found} == set(entries)


def test_hard_link_comes_with_the_content_of_its_group() -> None:
    packed = pack([file(b"a", group=1), file(b"b"), file(b"c", group=1)], {b"a": b"one", b"b": b"two"})
    places = offsets(packed)
    assert read(packed, [places[b"c"]]) == {b"c": b"one"}
    assert read(packed, list(places.values())) == {b"a": b"one", b"b": b"two", b"c": b"one"}


def test_contents_that_are_not_consumed_are_skipped(packed: Packed) -> None:
    entries = [entry.path for entry, _ in read_entries(packed.layer.toc, Blob(packed.blob), offsets(packed).values())]
    assert entries == sorted(CONTENTS)


def test_place_without_an_entry_is_an_integrity_error(packed: Packed) -> None:
    with pytest.raises(IntegrityError):
        read(packed, [512 * 7])


def test_changed_byte_of_a_frame_is_an_integrity_error(packed: Packed) -> None:
    changed = bytearray(packed.blob)
    changed[packed.layer.toc.frames[0].length // 2] ^= 1
    with pytest.raises(IntegrityError):
        read(packed, [0], Blob(bytes(changed)))


def test_swapped_frames_are_an_integrity_error() -> None:
    contents = {b"a": bytes(4 << 20), b"b": bytes(4 << 20)}
    packed = pack([file(b"a"), file(b"b")], contents, (), "none")
    length = packed.layer.toc.frames[0].length
    blob = packed.blob[length : 2 * length] + packed.blob[:length] + packed.blob[2 * length :]
    with pytest.raises(IntegrityError):
        read(packed, [0], Blob(blob))


def relabelled(packed: Packed, entries: list[Write], frames: tuple[Frame, ...] | None = None) -> Toc:
    toc = TocWriter((), packed.layer.toc.compression)
    for entry in entries:
        toc.add(entry)
    return Toc(toc.finish(frames or packed.layer.toc.frames).payload)


SMALL = {b"a": b"text", b"b": b"more"}


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(
    "change",
    [{"mode": 0o4644}, {"mtime": 5}, {"uid": 7}, {"sha256": bytes(32)}, {"size": 5}, {"xattrs": ((b"user.a", b""),)}],
    ids=str,
)
def test_header_and_content_are_those_of_the_table(compression: Compression, change: dict[str, object]) -> None:
    packed = pack([file(path) for path in SMALL], SMALL, (), compression)
    first, second = packed.written
    toc = relabelled(packed, [first._replace(node=first.node._replace(**change)), second])
    with pytest.raises(IntegrityError):
        list(read_entries(toc, Blob(packed.blob), [0]))


def test_large_content_is_compared_at_its_end_even_if_skipped() -> None:
    packed = pack([file(b"a"), file(b"b")], {b"a": bytes(9 << 20), b"b": b""})
    first, second = packed.written
    toc = relabelled(packed, [first._replace(node=first.node._replace(sha256=bytes(32))), second])
    entries = read_entries(toc, Blob(packed.blob), [0])
    next(entries)
    with pytest.raises(IntegrityError):
        next(entries)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_lies_about_frames_are_integrity_errors(compression: Compression) -> None:
    packed = pack([file(path) for path in SMALL], SMALL, (), compression)
    (frame,) = packed.layer.toc.frames
    for lie in (
        [frame._replace(length=frame.length - 1)],
        [frame._replace(length=frame.length + 1)],
        [frame._replace(size=frame.size + 512)],
        [frame._replace(size=frame.size - 512)],
        [frame._replace(sha256=bytes(32))],
        [frame._replace(length=1 << 40)],
        [frame._replace(size=1 << 40)],
    ):
        toc = relabelled(packed, packed.written, tuple(lie))
        with pytest.raises(AgentError) as caught:
            list(read_entries(toc, Blob(packed.blob), [0]))
        assert caught.value.exit_code in (30, 31)


def test_entries_that_overlap_are_an_integrity_error() -> None:
    """The table's own rules know least lengths of headers only."""
    packed = pack([file(b"a"), file(b"b")], {b"a": b"", b"b": b""})
    first, second = packed.written
    toc = relabelled(packed, [first, second._replace(offset=512)])
    with pytest.raises(IntegrityError):
        list(read_entries(toc, Blob(packed.blob), [0, 512]))


def test_range_that_ends_early_is_an_integrity_error(packed: Packed) -> None:
    with pytest.raises(IntegrityError):
        list(read_entries(packed.layer.toc, lambda start, length: iter([packed.blob[start : start + 5]]), [0]))


def test_iterator_closed_early_ends_all_threads(packed: Packed) -> None:
    entries = read_entries(packed.layer.toc, Blob(packed.blob), offsets(packed).values())
    next(entries)
    entries.close()
    assert running() == []


def test_directories_come_without_content() -> None:
    packed = pack([directory(b"d"), file(b"d/f")], {b"d/f": b"x"})
    assert read(packed, [0]) == {b"d": b""}
