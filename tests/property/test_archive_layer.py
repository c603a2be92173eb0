"""Laws of whole layers: written, read, damaged."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.archive.layer.ranged import read_entries
from agent.archive.stream.compression import COMPRESSIONS, Compression
from agent.archive.toc.toc import Toc
from agent.core.model.entry import Context, Delete, Kind, Touch, Write
from agent.core.model.tar_item import Linked, Placed, Whiteout
from agent.core.spelling.digest import digest_of
from agent.errors import AgentError, IntegrityError, UnsafeArchiveError
from tests.archive.packing import digest, pack, read
from tests.property.archive_values import layers

Layer = tuple[list[Write | Context | Delete | Touch], dict[bytes, bytes], list[bytes]]
compressions = st.sampled_from(COMPRESSIONS)


@settings(deadline=None, max_examples=60)
@given(layers(), compressions)
def test_written_layer_reads_back(layer: Layer, compression: Compression) -> None:
    entries, contents, whiteouts = layer
    packed = pack(entries, contents, whiteouts, compression, threads=1)
    found = read(packed.blob, packed.layer.media_type, packed.expected)
    count = len(whiteouts)
    assert [(type(item), item.path) for item, _ in found[:count]] == [(Whiteout, path) for path in whiteouts]
    written = [entry for entry in packed.written if isinstance(entry, Write | Context)]
    firsts: dict[int, bytes] = {}
    for (item, content), entry in zip(found[count:], written, strict=True):
        if entry.group in firsts:
            assert item == Linked(entry.path, firsts[entry.group], entry.offset)
            continue
        if entry.group:
            firsts[entry.group] = entry.path
        assert item == Placed(entry.path, entry.node._replace(sha256=b""), entry.offset)
        if entry.node.kind is Kind.FILE:
            assert content == contents[entry.path]
            assert digest(content) == entry.node.sha256
    assert list(Toc(packed.layer.toc.payload)) == packed.written
    assert list(packed.layer.toc.whiteouts()) == whiteouts


@settings(deadline=None, max_examples=30)
@given(layers(), compressions)
def test_equal_input_gives_equal_bytes(layer: Layer, compression: Compression) -> None:
    entries, contents, whiteouts = layer
    first, second = (pack(entries, contents, whiteouts, compression, threads) for threads in (1, 3))
    assert first.blob == second.blob
    assert first.layer.diff_id == second.layer.diff_id


@settings(deadline=None, max_examples=40)
@given(layers(), compressions, st.data())
def test_any_entries_are_read_by_ranges(layer: Layer, compression: Compression, data: st.DataObject) -> None:
    entries, contents, whiteouts = layer
    packed = pack(entries, contents, whiteouts, compression, threads=1)
    written = {entry.offset: entry for entry in packed.written if isinstance(entry, Write | Context)}
    wanted = data.draw(st.sets(st.sampled_from(sorted(written)))) if written else set()

    def fetch(start: int, length: int) -> list[bytes]:
        return [packed.blob[start : start + length]]

    found = {
        entry.offset: (entry, b"".join(content)) for entry, content in read_entries(packed.layer.toc, fetch, wanted)
    }
    assert found.keys() == wanted
    for offset, (entry, content) in found.items():
        assert entry == written[offset]
        if entry.node.kind is Kind.FILE:
            assert digest(content) == entry.node.sha256


@settings(deadline=None, max_examples=60)
@given(layers(), compressions, st.integers(0, 10**9), st.integers(1, 255), st.booleans())
def test_damage_is_an_integrity_error_even_with_a_right_blob_digest(
    layer: Layer, compression: Compression, at: int, flip: int, forged: bool
) -> None:
    entries, contents, whiteouts = layer
    packed = pack(entries, contents, whiteouts, compression, threads=1)
    changed = bytearray(packed.blob)
    changed[at % len(changed)] ^= flip
    blob = bytes(changed)
    expected = replace(packed.expected, digest=digest_of(blob)) if forged else packed.expected
    try:
        found = read(blob, packed.layer.media_type, expected)
    except AgentError as error:
        assert isinstance(error, IntegrityError | UnsafeArchiveError)
    else:
        # A byte that says nothing (a gzip header's system, a block's encoding): tar and table are the promised ones.
        assert forged
        assert found == read(packed.blob, packed.layer.media_type, packed.expected)


@settings(deadline=None, max_examples=30)
@given(layers(), compressions, st.integers(0, 10**9))
def test_truncation_is_an_integrity_error(layer: Layer, compression: Compression, at: int) -> None:
    entries, contents, whiteouts = layer
    packed = pack(entries, contents, whiteouts, compression, threads=1)
    blob = packed.blob[: at % len(packed.blob)]
    for expected in (packed.expected, replace(packed.expected, digest=digest_of(blob), size=len(blob))):
        try:
            read(blob, packed.layer.media_type, expected)
        except IntegrityError:
            continue
        raise AssertionError("a truncated layer was accepted")
