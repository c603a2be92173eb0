"""Whole layers, ours and others': everything that is promised is checked, and nothing else is raised."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256, sha512

import pytest
import zstandard

from agent.archive.layer.checks import Expected
from agent.archive.layer.whole import read_whole
from agent.archive.stream.compression import COMPRESSIONS, Compression, media_type_of
from agent.archive.stream.frames import Frame
from agent.archive.stream.gzip import pack_extra, pack_member
from agent.archive.stream.limits import ArchiveLimits
from agent.archive.tar.tar_header import END
from agent.archive.toc import trailer
from agent.archive.toc.toc_writer import TocWriter
from agent.core.model.entry import Context, Kind, Node, Write
from agent.core.model.tar_item import Linked, Opaque, Placed, Whiteout
from agent.core.spelling.digest import Digest, digest_of
from agent.errors import IntegrityError, UnsafeArchiveError, UnsupportedError
from tests.archive.forging import DATA, LIES, honest, lying, member
from tests.archive.packing import Promised, digest, file, pack, read, read_layer, sample

ZSTD, GZIP, NONE = (media_type_of(compression) for compression in COMPRESSIONS)
PLAIN = Node(Kind.FILE, 0o644)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("chunk", [1, 1000, 1 << 20])
def test_layer_reads_back_as_it_was_written(compression: Compression, chunk: int) -> None:
    packed = sample(compression)
    found = read(packed.blob, packed.layer.media_type, packed.expected, chunk=chunk)
    assert [item for item, _ in found[:2]] == [Whiteout(b"d/dead", 0), Whiteout(b"z", 512)]
    written = [entry for entry in packed.written if isinstance(entry, Write | Context)]
    for (item, content), entry in zip(found[2:], written, strict=True):
        assert (item.path, item.offset) == (entry.path, entry.offset)
        if isinstance(item, Placed):
            assert item.node == entry.node._replace(sha256=b"")
            assert not entry.node.sha256 or digest(content) == entry.node.sha256
    assert found[-4][0] == Linked(b"e/linked", b"d/linked", written[-4].offset)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_layer_of_ours_reads_as_anyones_when_no_table_is_promised(compression: Compression) -> None:
    packed = sample(compression)
    expected = replace(packed.expected, toc=None)
    assert read(packed.blob, packed.layer.media_type, expected) == read(
        packed.blob, packed.layer.media_type, packed.expected
    )


def test_large_contents_are_checked_whether_consumed_or_skipped() -> None:
    data = bytes(range(256)) * 20_000
    packed = pack([file(b"a"), file(b"b")], {b"a": data, b"b": data[::-1]})
    assert [content for _, content in read(packed.blob, ZSTD, packed.expected)] == [data, data[::-1]]
    toc, places = packed.layer.toc, [entry.offset for entry in packed.layer.toc if isinstance(entry, Write)]
    assert [entry.path for entry, _ in read_whole(toc, [packed.blob], packed.expected, places)] == [b"a", b"b"]
    half = [next(iter(content)) for _, content in read_whole(toc, [packed.blob], packed.expected, places)]
    assert len(half) == 2
    assert list(read_whole(toc, [packed.blob], packed.expected, ())) == []


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_any_changed_byte_is_an_integrity_error(compression: Compression) -> None:
    packed = sample(compression)
    for position in range(0, len(packed.blob), max(1, len(packed.blob) // 500)):
        changed = bytearray(packed.blob)
        changed[position] ^= 0x41
        with pytest.raises((IntegrityError, UnsafeArchiveError)):
            read(bytes(changed), packed.layer.media_type, packed.expected)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_truncation_anywhere_is_an_integrity_error(compression: Compression) -> None:
    packed = sample(compression)
    for expected in (packed.expected, Promised(toc=packed.layer.toc.sha256)):
        for length in range(0, len(packed.blob), max(1, len(packed.blob) // 150)):
            with pytest.raises(IntegrityError):
                read(packed.blob[:length], packed.layer.media_type, expected)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_truncated_layer_of_others_is_an_integrity_error(compression: Compression) -> None:
    packed = sample(compression)
    blob = packed.blob[: packed.layer.toc_offset]
    for length in range(0, len(blob), max(1, len(blob) // 150)):
        with pytest.raises(IntegrityError):
            read(blob[:length], packed.layer.media_type)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("field", ["digest", "size", "diff_id", "toc"])
def test_each_broken_promise_is_an_integrity_error(compression: Compression, field: str) -> None:
    packed = sample(compression)
    wrong = {"digest": digest_of(b""), "size": 5, "diff_id": digest_of(b""), "toc": "0" * 64}
    with pytest.raises(IntegrityError):
        read(packed.blob, packed.layer.media_type, replace(packed.expected, **{field: wrong[field]}))


def test_blob_larger_than_promised_is_noticed_without_reading_it_all() -> None:
    packed = sample()
    given = 0

    def endless() -> Iterator[bytes]:
        nonlocal given
        yield packed.blob
        while True:
            given += 1
            yield bytes(1 << 20)

    with pytest.raises(IntegrityError, match="larger"):
        list(read_layer(endless(), ZSTD, replace(packed.expected, toc=None)))
    assert given < 3


def test_sha512_digests_are_checked_too() -> None:
    packed = sample()
    digest_512 = Digest("sha512:" + sha512(packed.blob).hexdigest())
    read(packed.blob, ZSTD, replace(packed.expected, digest=digest_512))
    with pytest.raises(IntegrityError):
        read(packed.blob, ZSTD, replace(packed.expected, digest=Digest("sha512:" + "0" * 128)))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("what", LIES)
def test_table_unlike_the_tar_is_an_integrity_error_even_with_right_digests(
    what: str, compression: Compression
) -> None:
    packed = lying(what, compression)
    with pytest.raises(IntegrityError):
        read(packed.blob, media_type_of(compression), packed.expected)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_forged_layer_without_a_lie_is_valid(compression: Compression) -> None:
    packed = honest(compression)
    assert len(read(packed.blob, media_type_of(compression), packed.expected)) == 2


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_lies_about_frames_are_integrity_errors(compression: Compression) -> None:
    (frame,) = honest(compression).layer.toc.frames
    for lie in (
        [frame._replace(sha256=bytes(32))],
        [frame._replace(length=frame.length - 1)],
        [frame._replace(size=frame.size + 512)],
        [frame, frame],
        [frame._replace(size=512), frame._replace(size=frame.size - 512)],
    ):
        packed = honest(compression, frames=lie)
        with pytest.raises(IntegrityError):
            read(packed.blob, media_type_of(compression), packed.expected)


def skippable(data: bytes, magic: int = 0x184D2A50) -> bytes:
    return magic.to_bytes(4, "little") + len(data).to_bytes(4, "little") + data


def reshaped(change: Callable[[bytes, bytes], bytes], compression: Compression = "zstd") -> tuple[bytes, Promised]:
    """Our layer, its frames and trailer rearranged, its digest right."""
    packed = honest(compression)
    end = packed.layer.toc.offset
    blob = change(packed.blob[:end], packed.blob[end:])
    return blob, replace(packed.expected, digest=digest_of(blob), size=len(blob))


@pytest.mark.parametrize(
    "change",
    [
        lambda frames, toc: toc + frames,
        lambda frames, toc: frames + toc + toc,
        lambda frames, toc: frames + toc + frames,
        lambda frames, toc: skippable(b"") + frames + toc,
        lambda frames, toc: frames + skippable(b"x") + toc,
        lambda frames, toc: frames + toc + skippable(b"x"),
        lambda frames, toc: frames,
        lambda frames, toc: frames + zstandard.compress(b"") + toc,
        lambda frames, toc: frames + toc[:4] + (len(toc) - 9).to_bytes(4, "little") + toc[8:-1],
    ],
    ids=["first", "twice", "middle", "leading", "between", "behind", "none", "empty frame", "short"],
)
def test_shape_of_our_zstd_layer_is_exact(change: Callable[[bytes, bytes], bytes]) -> None:
    blob, expected = reshaped(change)
    with pytest.raises(IntegrityError):
        read(blob, ZSTD, expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda frames, toc: frames + toc + toc,
        lambda frames, toc: frames + toc + frames,
        lambda frames, toc: frames + pack_extra(b"XX", b"") + toc,
        lambda frames, toc: frames,
        lambda frames, toc: frames + pack_member(b"", 1) + toc,
        lambda frames, toc: frames + toc[:-74],
    ],
    ids=["twice", "middle", "foreign", "none", "empty member", "no footer"],
)
def test_shape_of_our_gzip_layer_is_exact(change: Callable[[bytes, bytes], bytes]) -> None:
    blob, expected = reshaped(change, "gzip")
    with pytest.raises(IntegrityError):
        read(blob, GZIP, expected)


TAR = b"".join([member(b"a"), member(b"b"), END])


def one_frame(**options: int) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(TAR)


@pytest.mark.parametrize(
    ("blob", "media_type"),
    [
        (TAR, NONE),
        (TAR + bytes(10240), NONE),
        (one_frame(), ZSTD),
        (one_frame(write_checksum=True), ZSTD),
        (one_frame(write_content_size=False), ZSTD),
        (zstandard.ZstdCompressor().compress(TAR[:700]) + zstandard.ZstdCompressor().compress(TAR[700:]), ZSTD),
        (skippable(b"x" * 99) + one_frame() + skippable(b"") + skippable(b"y", 0x184D2A5B), ZSTD),
        (zstandard.compress(b"") + one_frame(), ZSTD),
        (gzip.compress(TAR), GZIP),
        (gzip.compress(TAR[:700]) + gzip.compress(b"") + gzip.compress(TAR[700:]), GZIP),
        (gzip.compress(TAR), "application/vnd.docker.image.rootfs.diff.tar.gzip"),
        (gzip.compress(TAR), "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
        # Labels that do not say what is there.
        (gzip.compress(TAR), NONE),
        (gzip.compress(TAR), ZSTD),
        (one_frame(), GZIP),
        (one_frame(), NONE),
        (skippable(b"x" * 99) + one_frame(), GZIP),
        (skippable(b"", 0x184D2A5F) + one_frame(), NONE),
        (TAR, GZIP),
        (TAR, ZSTD),
        (gzip.compress(TAR), "application/vnd.docker.image.rootfs.diff.tar"),
        (one_frame(), "application/vnd.oci.image.layer.v1.tar.gzip"),
        (gzip.compress(TAR), "application/vnd.oci.image.layer.v1.tar+xz"),
        (gzip.compress(TAR), "application/octet-stream"),
        (TAR, "application/x-tar"),
    ],
)
def test_layers_of_others_are_read(blob: bytes, media_type: str) -> None:
    expected = Expected(digest_of(blob), len(blob))
    found = read(blob, media_type, expected)
    assert [(item.path, content) for item, content in found] == [(b"a", DATA), (b"b", DATA)]
    assert read(blob, media_type, expected, chunk=1) == found


def test_gzip_with_name_comment_and_header_checksum_is_read() -> None:
    inner = gzip.compress(TAR)[10:]
    flags = 2 | 4 | 8 | 16
    header = b"\x1f\x8b\x08" + bytes([flags]) + bytes(6) + b"\x02\x00ab" + b"name\0" + b"comment\0"
    crc = (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little")
    assert len(read(header + crc + inner, GZIP)) == 2


def test_large_foreign_frames_are_streamed() -> None:
    content = bytes(range(256)) * 70_000
    tar = member(b"a", PLAIN._replace(size=len(content)), content) + END
    for options in ({"write_content_size": False}, {"write_checksum": True}):
        blob = zstandard.ZstdCompressor(**options).compress(tar)
        ((_, found),) = read(blob, ZSTD)
        assert found == content


def test_opaque_directories_of_others_are_told() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("d/.wh..wh..opq"))
    assert [item for item, _ in read(gzip.compress(buffer.getvalue()), GZIP)] == [Opaque(b"d")]


@pytest.mark.parametrize("tar", [b"", bytes(512), bytes(1024)])
def test_empty_layers_of_others_are_empty(tar: bytes) -> None:
    blob = gzip.compress(tar)
    assert read(blob, GZIP, Expected(digest_of(blob))) == []


@pytest.mark.parametrize(
    ("blob", "media_type"),
    [
        (b"not zstd at all", ZSTD),
        (b"not gzip at all", GZIP),
        (one_frame() + b"garbage", ZSTD),
        (gzip.compress(TAR) + b"garbage garbage", GZIP),
        (one_frame()[:4] + b"\xff" + one_frame()[5:], ZSTD),
        (gzip.compress(TAR)[:-8] + bytes(8), GZIP),
        (one_frame(write_checksum=True)[:-4] + bytes(4), ZSTD),
        (zstandard.ZstdCompressor(dict_data=zstandard.ZstdCompressionDict(TAR * 3)).compress(TAR), ZSTD),
        (b"\x28\xb5\x2f\xfd\x00\x58\x07\x00\x00", ZSTD),
        (lzma.compress(TAR)[:4] + TAR[4:], GZIP),
        (b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * 70_000, GZIP),
        (b"\x1f\x8b\x08\xe0" + bytes(20), GZIP),
    ],
)
def test_damaged_layers_of_others_are_integrity_errors(blob: bytes, media_type: str) -> None:
    with pytest.raises(IntegrityError):
        read(blob, media_type)


@pytest.mark.parametrize(
    ("media_type", "said"),
    [
        ("", "no media type"),
        ("application/vnd.oci.image.config.v1+json", "no image of files"),
        ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", "helm"),
        ("application/vnd.dev.cosign.simplesigning.v1+json", "cosign"),
        ("application/json", "json"),
        (NONE + "+encrypted", "encrypted"),
        (GZIP + "+encrypted", "encrypted"),
        (ZSTD + "+encrypted", "encrypted"),
    ],
)
def test_what_says_that_it_is_no_readable_layer_is_refused_in_words(media_type: str, said: str) -> None:
    with pytest.raises(UnsupportedError, match=said) as caught:
        read(TAR, media_type)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("chunk", [1, 3, 1 << 16])
@pytest.mark.parametrize(("blob", "said"), [(lzma.compress(TAR), "xz"), (bz2.compress(TAR), "bzip2")])
def test_other_compressions_are_named(blob: bytes, said: str, chunk: int) -> None:
    with pytest.raises(UnsupportedError, match=said) as caught:
        read(blob, GZIP, Expected(digest_of(blob), len(blob)), chunk=chunk)
    assert caught.value.exit_code == 2


def test_a_name_that_begins_like_a_magic_number_is_a_name() -> None:
    tar = member(b"BZh9") + END
    ((item, _),) = read(tar, NONE)
    assert item.path == b"BZh9"


def test_window_of_2_gib_is_refused() -> None:
    descriptor = (31 - 10) << 3
    blob = b"\x28\xb5\x2f\xfd\x00" + bytes([descriptor]) + b"\x01\x00\x00"
    with pytest.raises(UnsafeArchiveError, match="window"):
        read(blob, ZSTD)


def framed(blob: bytes, size: int, compression: Compression = "zstd") -> tuple[bytes, Promised]:
    """A layer of one frame, its table right."""
    toc = TocWriter((), compression).finish([Frame(len(blob), size, sha256(blob).digest())])
    return blob + b"".join(trailer.wrap(compression, toc.payload)), Promised(toc=toc.sha256)


def test_window_above_8_mib_is_refused_in_ours() -> None:
    header = zstandard.ZstdCompressionParameters(window_log=24)
    compressor = zstandard.ZstdCompressor(compression_params=header).compressobj(size=9 << 20)
    frame = compressor.compress(bytes(9 << 20)) + compressor.flush()
    assert zstandard.get_frame_parameters(frame).window_size > 8 << 20
    blob, expected = framed(frame, 9 << 20)
    with pytest.raises(IntegrityError, match="memory"):
        read(blob, ZSTD, expected)


def test_frame_larger_than_allowed_is_refused_in_ours() -> None:
    for blob, expected in (
        framed(zstandard.compress(bytes(17 << 20)), 17 << 20),
        framed(zstandard.ZstdCompressor(write_content_size=False).compress(TAR), len(TAR)),
    ):
        with pytest.raises((IntegrityError, UnsafeArchiveError), match="frame"):
            read(blob, ZSTD, expected)
    blob, expected = framed(gzip.compress(bytes(17 << 20)), 17 << 20, "gzip")
    with pytest.raises(UnsafeArchiveError, match="frame"):
        read(blob, GZIP, expected)


@pytest.mark.parametrize("behind", [zstandard.compress(b""), b"\x5b\x2a\x4d\x18\0\0\0\0", b"x"])
def test_bytes_behind_a_frame_that_its_length_counts_are_refused(behind: bytes) -> None:
    for blob, expected in (
        framed(zstandard.compress(END) + behind, len(END)),
        framed(gzip.compress(END) + behind, len(END), "gzip"),
    ):
        with pytest.raises(IntegrityError, match=r"longer|gzip"):
            read(blob, ZSTD if blob.startswith(b"(") else GZIP, expected)


def test_frame_that_lies_about_its_size_is_refused() -> None:
    honest_frame = zstandard.compress(TAR)
    size = zstandard.get_frame_parameters(honest_frame).content_size
    at = honest_frame.index((size - 256).to_bytes(2, "little"), 4)
    for lie in (size - 1, size + 1, 65_000):
        blob = honest_frame[:at] + (lie - 256).to_bytes(2, "little") + honest_frame[at + 2 :]
        with pytest.raises(IntegrityError):
            read(blob, ZSTD)


@pytest.mark.parametrize("compress", [zstandard.compress, gzip.compress])
def test_bombs_of_others_are_refused(compress: Callable[[bytes], bytes]) -> None:
    media_type = ZSTD if compress is zstandard.compress else GZIP
    zeros = compress(END + bytes(64 << 20))
    with pytest.raises(UnsafeArchiveError, match="end of archive"):
        read(zeros, media_type, limits=ArchiveLimits(padding=1 << 20))
    with pytest.raises(UnsafeArchiveError, match="expands"):
        read(zeros, media_type, limits=ArchiveLimits(expanded=32 << 20))
    with pytest.raises(UnsafeArchiveError, match="times"):
        read(zeros, media_type, limits=ArchiveLimits(free=1 << 20, ratio=100))


def test_endless_frame_of_empty_blocks_is_refused() -> None:
    blob = b"\x28\xb5\x2f\xfd\x60\x00\x00" + b"\x00\x00\x00" * 100_000
    with pytest.raises(IntegrityError, match="longer"):
        read(blob, ZSTD)


def test_huge_table_of_contents_is_refused() -> None:
    packed = honest()
    with pytest.raises(UnsafeArchiveError):
        read(packed.blob, ZSTD, packed.expected, ArchiveLimits(toc=100))
