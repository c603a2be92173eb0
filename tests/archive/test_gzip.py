"""Members that are not compressed."""

from __future__ import annotations

import gzip

import pytest

from agent.archive.stream.byte_source import ByteSource
from agent.archive.stream.gzip import pack_stored, read_header, read_member

EDGE = 0xFFFF


@pytest.mark.parametrize("size", [0, 1, EDGE - 1, EDGE, EDGE + 1, 2 * EDGE, 2 * EDGE + 1])
def test_every_reader_reads_what_is_stored(size: int) -> None:
    data = bytes(index % 251 for index in range(size))
    packed = pack_stored(data)
    assert gzip.decompress(packed) == data
    source = ByteSource([packed], "it")
    assert read_header(source) == b""
    assert b"".join(read_member(source)) == data
    assert source.at_end()
    assert len(packed) == size + 18 + 5 * max(1, -(-size // EDGE))
