"""A whole layer as a stream: threads, memory, and what is known when."""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import sha256

import pytest

from agent.archive.compression import COMPRESSIONS, Compression, media_type_of
from agent.archive.reader import Expected, LayerReader, read_layer
from agent.archive.tar import END, encode_header
from agent.archive.toc import Toc
from agent.core.entry import Delete, Kind, Node
from agent.errors import AgentError, IntegrityError
from tests.archive.packing import BASE, directory, file, pack, running, sample

ZSTD, GZIP, NONE = (media_type_of(compression) for compression in COMPRESSIONS)
PLAIN = Node(Kind.FILE, 0o644)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_iterator_closed_early_ends_all_threads(compression: Compression) -> None:
    noise = random.Random(1).randbytes(3_000_000)
    contents = {b"f%d" % number: noise for number in range(20)}
    packed = pack([file(path) for path in contents], contents, (), compression)
    chunks = (packed.blob[at : at + 1000] for at in range(0, len(packed.blob), 1000))
    items = read_layer(chunks, packed.layer.media_type, packed.expected)
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

    items = read_layer(chunks(), NONE, packed.expected)
    next(items)
    assert given <= 12
    items.close()


def test_size_of_the_tar_is_known_at_the_end() -> None:
    tar = encode_header(b"a", Node(Kind.FILE, 0o644)) + END
    reader = LayerReader([tar + bytes(512)], NONE, Expected())
    assert sum(1 for _ in reader) == 1
    assert reader.size == len(tar)


def test_table_of_contents_comes_from_the_blob_read() -> None:
    packed = pack([Delete(b"a", Kind.DIR, BASE, True), directory(b"b")], {}, (b"a",))
    reader = LayerReader([packed.blob], ZSTD, packed.expected)
    list(reader)
    assert isinstance(reader.toc, Toc)
    assert [entry.whiteout for entry in reader.toc if isinstance(entry, Delete)] == [True]


@pytest.mark.parametrize("size", [100, 3 << 20])
def test_content_that_is_not_the_promised_one_fails_before_its_end_is_told(size: int) -> None:
    packed = pack([file(b"a"), file(b"b")], {b"a": bytes(size), b"b": b"b"}, compression="none")
    at = next(entry.offset for entry in packed.written if entry.path == b"a")
    promised = {at: sha256(b"something else").digest()}
    given: list[bytes] = []
    with pytest.raises(IntegrityError, match="content is not the one"):
        for _, content in LayerReader([packed.blob], NONE, packed.expected, contents=promised):
            given.append(b"".join(content))
    assert given == []
