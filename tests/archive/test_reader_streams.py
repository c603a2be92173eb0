"""A whole layer as a stream: threads, memory, and what is known when."""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import sha256

import pytest

from agent.archive.layer.checks import Expected
from agent.archive.layer.reader import LayerReader
from agent.archive.layer.whole import read_whole
from agent.archive.stream.compression import COMPRESSIONS, Compression, media_type_of
from agent.archive.tar.tar_header import END, encode_header
from agent.archive.toc.toc_writer import TocWriter
from agent.core.model.entry import Kind, Node, Write
from agent.errors import AgentError, IntegrityError
from tests.archive.packing import file, pack, read_layer, running, sample

ZSTD, GZIP, NONE = (media_type_of(compression) for compression in COMPRESSIONS)
PLAIN = Node(Kind.FILE, 0o644)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_iterator_closed_early_ends_all_threads(compression: Compression) -> None:
    noise = random.Random(1).randbytes(3_000_000)
    contents = {b"f%d" % number: noise for number in range(20)}
    packed = pack([file(path) for path in contents], contents, (), compression)

    def chunks() -> Iterator[bytes]:
        for at in range(0, len(packed.blob), 1000):
            yield packed.blob[at : at + 1000]

    ours = read_whole(packed.layer.toc, chunks(), packed.expected, {0})
    for items in (ours, read_layer(chunks(), packed.layer.media_type, Expected())):
        next(items)
        assert len(running()) == 1
        items.close()
        assert running() == []


def test_error_of_the_store_comes_through_and_ends_all_threads() -> None:
    def broken() -> Iterator[bytes]:
        yield sample().blob[:100]
        raise AgentError("gone", subject="registry", remedy="wait")

    with pytest.raises(AgentError, match="registry"):
        list(read_layer(broken(), ZSTD, Expected()))
    assert running() == []


def test_reader_keeps_few_frames_when_the_consumer_is_slow() -> None:
    contents = {b"f%03d" % number: bytes(1 << 20) for number in range(100)}
    packed = pack([file(path) for path in contents], contents, (), "none")
    given = 0

    def chunks() -> Iterator[bytes]:
        nonlocal given
        for at in range(0, len(packed.blob), 1 << 20):
            given += 1
            yield packed.blob[at : at + (1 << 20)]

    items = read_whole(packed.layer.toc, chunks(), packed.expected, {0})
    next(items)
    assert given <= 12
    items.close()


def test_size_of_the_tar_is_known_at_the_end() -> None:
    tar = encode_header(b"a", Node(Kind.FILE, 0o644)) + END
    reader = LayerReader([tar + bytes(512)], NONE, Expected())
    assert sum(1 for _ in reader) == 1
    assert reader.size == len(tar)


@pytest.mark.parametrize("size", [100, 3 << 20])
@pytest.mark.parametrize("wanted", [{0}, set()])
def test_content_that_is_not_the_promised_one_fails_before_its_end_is_told(size: int, wanted: set[int]) -> None:
    packed = pack([file(b"a"), file(b"b")], {b"a": bytes(size), b"b": b"b"}, compression="none")
    toc = TocWriter((), "none")
    for entry in packed.written:
        assert isinstance(entry, Write)
        wrong = sha256(b"something else").digest() if entry.path == b"a" else entry.node.sha256
        toc.add(entry._replace(node=entry.node._replace(sha256=wrong)))
    given: list[bytes] = []
    with pytest.raises(IntegrityError, match="content is not the one"):
        for _, content in read_whole(toc.finish(packed.layer.toc.frames), [packed.blob], Expected(), wanted):
            given.append(b"".join(content))
    assert given == []
