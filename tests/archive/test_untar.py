"""Tars of others: what GNU tar and Python's tarfile write in every format, and what nobody should."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from agent.archive.stream.limits import ArchiveLimits
from agent.archive.tar.pax import format_record
from agent.archive.tar.tar_header import END, encode_header
from agent.archive.tar.tar_reader import read_tar
from agent.core.model.entry import Kind, Node
from agent.core.model.tar_item import Linked, Opaque, Placed, TarItem, Whiteout
from agent.errors import AgentError, IntegrityError, UnsafeArchiveError

GNU_TAR = pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not installed")
TIME = 1_700_000_000_123_456_789
FILE = Node(Kind.FILE, 0o644)


def read(
    data: bytes, limits: ArchiveLimits | None = None, chunk: int = 1 << 20, **options: bool
) -> list[tuple[TarItem, bytes]]:
    chunks = (data[at : at + chunk] for at in range(0, len(data), chunk))
    return [(item, b"".join(content)) for item, content in read_tar(chunks, limits or ArchiveLimits(), **options)]


def names(data: bytes) -> list[bytes]:
    return [item.path for item, _ in read(data)]


def block(name: bytes, flag: bytes = b"0", size: int = 0, **fields: bytes) -> bytes:
    """A header with fields at will: `at_100=b"…"` lays bytes over offset 100."""
    header = bytearray(encode_header(b"x", FILE._replace(size=size)))
    header[:100] = name.ljust(100, b"\0")
    header[156:157] = flag
    for key, value in fields.items():
        at = int(key.removeprefix("at_"))
        header[at : at + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def extension(flag: bytes, data: bytes) -> bytes:
    return block(b"extension", flag, len(data)) + data + bytes(-len(data) % 512)


def pax(*records: tuple[bytes, bytes], flag: bytes = b"x") -> bytes:
    return extension(flag, b"".join(format_record(*record) for record in records))


def sparse(segments: bytes, size: int, stored: int) -> bytes:
    """A sparse file of format 0.1."""
    return (
        pax((b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.map", segments)) + block(b"a", size=stored) + bytes(512)
    )


def sparse_1_0(version: bytes, stored: int) -> bytes:
    """A sparse file of another format, without its data."""
    major, minor = version.split(b".")
    records = ((b"GNU.sparse.major", major), (b"GNU.sparse.minor", minor), (b"GNU.sparse.realsize", b"9"))
    return pax(*records) + block(b"a", size=stored)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with one of everything that an unprivileged user can make."""
    root = tmp_path / "tree"
    (root / "directory").mkdir(parents=True)
    (root / "directory" / "file").write_bytes(b"content" * 1000)
    (root / "empty").touch()
    os.link(root / "directory" / "file", root / "linked")
    (root / "symbolic").symlink_to("directory/file")
    os.mkfifo(root / "fifo", 0o640)
    with (root / "sparse").open("wb") as sparse:
        for at in range(40):
            sparse.seek(at * 100_003)
            sparse.write(b"data%d" % at)
        sparse.truncate(5_000_000)
    for path in ("directory/file", "empty", "symbolic", "fifo", "sparse", "directory"):
        os.utime(root / path, ns=(0, TIME), follow_symlinks=False)
    os.chmod(root / "directory" / "file", 0o4751)
    return root


def extras(tree: Path, form: str) -> None:
    if form in ("v7", "ustar"):
        return
    (tree / ("long" * 50)).mkdir()
    (tree / ("long" * 50) / ("name" * 50)).write_bytes(b"long")
    (tree / "long-target").symlink_to("t" * 300)
    with open(os.path.join(os.fsencode(tree), b"latin\xe4"), "wb") as latin:
        latin.write(b"latin")


def expected(tree: Path, exact_times: bool) -> dict[bytes, tuple[object, bytes]]:
    found: dict[bytes, tuple[object, bytes]] = {}
    kinds = {0o100000: Kind.FILE, 0o040000: Kind.DIR, 0o120000: Kind.LINK, 0o010000: Kind.FIFO}
    root = os.fsencode(tree)
    for above, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(above, name)
            about = os.lstat(path)
            kind = kinds[about.st_mode & 0o170000]
            mtime = about.st_mtime_ns if exact_times else about.st_mtime_ns // 10**9 * 10**9
            target = os.readlink(path) if kind is Kind.LINK else b""
            content = b""
            if kind is Kind.FILE:
                with open(path, "rb") as file:
                    content = file.read()
            node = Node(kind, about.st_mode & 0o7777, about.st_uid, about.st_gid, mtime, len(content), b"", target)
            found[path[len(root) + 1 :]] = node, content
    return found


@GNU_TAR
@pytest.mark.parametrize("chunk", [1 << 20, 777])
@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("v7", []),
        ("ustar", []),
        ("oldgnu", []),
        ("gnu", []),
        ("posix", []),
        ("gnu", ["--sparse"]),
        ("posix", ["--sparse", "--sparse-version=0.0"]),
        ("posix", ["--sparse", "--sparse-version=0.1"]),
        ("posix", ["--sparse", "--sparse-version=1.0"]),
        ("posix", ["--xattrs"]),
        ("gnu", ["--label=volume"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "".join(value) or "plain",
)
def test_reads_every_format_of_gnu_tar(tree: Path, form: str, options: list[str], chunk: int) -> None:
    extras(tree, form)
    if form == "v7":
        (tree / "fifo").unlink()
    data = subprocess.run(
        ["tar", "-C", tree, f"--format={form}", "--sort=name", *options, "-cf", "-", "."],
        capture_output=True,
        check=True,
    ).stdout
    found = dict(expected(tree, exact_times=form == "posix"))
    links = {b"linked": b"directory/file"}
    for item, content in read(data, chunk=chunk):
        if isinstance(item, Linked):
            assert item.to == links[item.path]
            assert found.pop(item.path)
        else:
            assert isinstance(item, Placed)
            assert (item.node, content) == found.pop(item.path), item.path
    assert found == {}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_every_format_of_tarfile(form: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, errors="surrogateescape") as tar:
        for number, name in enumerate(("a", "d/" + "p" * 90 + "/" + "n" * 60, "z")):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid, info.mode = number * 700, 1_700_000_000, number, 0o640
            tar.addfile(info, io.BytesIO(b"x" * info.size))
        for kind, target in ((tarfile.LNKTYPE, "a"), (tarfile.SYMTYPE, "d/é"), (tarfile.DIRTYPE, "")):
            info = tarfile.TarInfo("t" + kind.decode())
            info.type, info.linkname = kind, target
            tar.addfile(info)
        device = tarfile.TarInfo("device")
        device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 5, 600
        tar.addfile(device)
    found = read(buffer.getvalue())
    assert [item.path for item, _ in found] == [
        b"a",
        b"d/" + b"p" * 90 + b"/" + b"n" * 60,
        b"z",
        b"t1",
        b"t2",
        b"t5",
        b"device",
    ]
    assert [len(content) for _, content in found] == [0, 700, 1400, 0, 0, 0, 0]
    assert found[2][0].node == Node(Kind.FILE, 0o640, 2, 0, 1_700_000_000 * 10**9, 1400)
    assert found[3][0].to == b"a"
    assert found[4][0].node.target == "d/é".encode()
    assert found[6][0].node.device == (5, 600)


def test_base_256_numbers_are_read() -> None:
    size = (0x80 << 88 | 700).to_bytes(12, "big")
    before = (-5 % (1 << 96)).to_bytes(12, "big")
    owner = (0x80 << 56 | 3_000_000).to_bytes(8, "big")
    data = block(b"a", at_108=owner, at_124=size, at_136=before) + b"x" * 700 + bytes(324) + END
    ((item, content),) = read(data)
    assert item.node == Node(Kind.FILE, 0o644, 3_000_000, 0, -5 * 10**9, 700)
    assert content == b"x" * 700


def test_signed_checksum_of_old_writers_is_accepted() -> None:
    header = bytearray(block(b"\xff\xfe"))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(byte - 256 if byte > 127 else byte for byte in header)
    assert names(bytes(header) + END) == [b"\xff\xfe"]


def test_ustar_prefix_is_read_and_gnu_times_in_its_place_are_not() -> None:
    assert names(block(b"n", at_345=b"some/prefix") + END) == [b"some/prefix/n"]
    assert names(block(b"n", at_257=b"ustar  \0", at_345=b"14411456211") + END) == [b"n"]


def test_file_with_a_slash_behind_its_name_is_a_directory() -> None:
    ((item, _),) = read(block(b"d/", b"\0") + END)
    assert item.node.kind is Kind.DIR


def test_own_records_win_over_global_ones_and_those_over_the_header() -> None:
    data = pax((b"mtime", b"7.5"), (b"uid", b"9"), flag=b"g") + block(b"a") + pax((b"mtime", b"8")) + block(b"b") + END
    assert [(item.node.mtime, item.node.uid) for item, _ in read(data)] == [(7_500_000_000, 9), (8_000_000_000, 9)]


@pytest.mark.parametrize(
    ("text", "mtime"),
    [
        (b"1.5", 1_500_000_000),
        (b"1.", 1_000_000_000),
        (b"0.0000000019", 1),
        (b"-1.5", -1_500_000_000),
        (b"-0.0000000001", -1),
        (b"1700000000.123456789", TIME),
        (b"-62135596800", -62_135_596_800 * 10**9),
    ],
)
def test_time_is_exact(text: bytes, mtime: int) -> None:
    ((item, _),) = read(pax((b"mtime", text)) + block(b"a") + END)
    assert item.node.mtime == mtime


def test_attributes_of_other_namespaces_are_dropped() -> None:
    kept = [(b"security.capability", b"\1"), (b"user.a", b"1")]
    dropped = [
        (b"security.selinux", b"2"),
        (b"trusted.overlay.opaque", b"y"),
        (b"system.posix_acl_access", b""),
        (b"user.", b""),
    ]
    records = [(b"SCHILY.xattr." + key, value) for key, value in kept + dropped]
    ((item, _),) = read(pax(*records) + block(b"a") + END)
    assert item.node.xattrs == tuple(kept)


def test_single_record_that_is_an_attribute_is_read() -> None:
    ((item, _),) = read(pax((b"SCHILY.xattr.user.a", b"1")) + block(b"a") + END)
    assert item.node.xattrs == ((b"user.a", b"1"),)


def test_names_are_normalised_and_the_root_is_left_out() -> None:
    data = b"".join(block(name, b"5") for name in (b".", b"./", b"/", b"//", b"./a/", b"a//b/.", b"a/./c")) + END
    assert names(data) == [b"a", b"a/b", b"a/c"]


@pytest.mark.parametrize("name", [b"/d/x", b"//d/x", b"///d//x", b"/./d/x", b".//d/x", b"./d/x", b"d/x"])
def test_absolute_names_are_names_below_the_root(name: bytes) -> None:
    assert names(block(name) + END) == [b"d/x"]
    assert names(pax((b"path", name)) + block(b"a") + END) == [b"d/x"]
    assert names(extension(b"L", name + b"\0") + block(b"a") + END) == [b"d/x"]
    assert names(block(name + b"/", b"5") + END) == [b"d/x"]
    ((link, _),) = read(block(b"y", b"1", at_157=name) + END)
    assert link == Linked(b"y", b"d/x", 0)
    ((link, _),) = read(pax((b"linkpath", name)) + block(b"/y", b"1") + END)
    assert (link.path, link.to) == (b"y", b"d/x")


def test_absolute_whiteouts_are_of_what_lies_below_the_root() -> None:
    data = b"".join(block(name) for name in (b"/.wh.a", b"/d/.wh.b", b"//.wh..wh..opq", b"/d/.wh..wh..opq")) + END
    assert [item for item, _ in read(data)] == [
        Whiteout(b"a", 0),
        Whiteout(b"d/b", 512),
        Opaque(b"", 1024),
        Opaque(b"d", 1536),
    ]


def test_whiteouts_are_told_apart() -> None:
    data = (
        b"".join(block(name) for name in (b"./.wh.a", b"d/.wh.b", b".wh..wh..opq", b"d/.wh..wh..opq", b"d/a.wh.b"))
        + END
    )
    assert [item for item, _ in read(data)] == [
        Whiteout(b"a", 0),
        Whiteout(b"d/b", 512),
        Opaque(b"", 1024),
        Opaque(b"d", 1536),
        Placed(b"d/a.wh.b", FILE, 2048),
    ]


@pytest.mark.parametrize(
    "name",
    [
        b"..", b"../x", b"a/../../x", b"/..", b"/../x", b"//a/../x", b"a/..", b"n" * 99 + b"/..",
        b".wh.", b"d/.wh.", b".wh..", b".wh...", b"d/.wh...",
        b".wh..wh.", b".wh..wh.x", b".wh..wh.plnk/x", b".wh.d/x", b".wh.d/",
    ],
)  # fmt: skip
def test_paths_and_whiteouts_that_are_none_are_unsafe(name: bytes) -> None:
    with pytest.raises(UnsafeArchiveError):
        read((block(name) if len(name) <= 100 else pax((b"path", name)) + block(b"a")) + END)


@pytest.mark.parametrize("target", [b"../x", b"/../etc/passwd", b"/", b".", b"", b"a/../../b"])
def test_hard_link_out_of_the_root_is_unsafe(target: bytes) -> None:
    with pytest.raises(UnsafeArchiveError):
        read(block(b"a", b"1", at_157=target) + END)


def test_symbolic_link_out_of_the_root_is_kept_as_it_is() -> None:
    ((item, _),) = read(block(b"a", b"2", at_157=b"../../etc") + END)
    assert item.node.target == b"../../etc"


def test_name_above_255_bytes_or_with_nul_is_unsafe() -> None:
    for name in (b"n" * 256, b"a\0b"):
        with pytest.raises(UnsafeArchiveError):
            read(pax((b"path", name)) + block(b"a") + END)


A_FILE = block(b"a")
DAMAGED = {
    "wrong checksum": A_FILE[:10] + b"x" + A_FILE[11:] + END,
    "no tar at all": b"no tar" * 200,
    "unknown type": block(b"a", b"Z") + END,
    "number not octal": block(b"a", at_124=b"0000000009\0\0") + END,
    "number with sign": block(b"a", at_124=b"-0000000001\0") + END,
    "number with underscore": block(b"a", at_108=b"00_0000\0") + END,
    "negative size": block(b"a", at_124=(-1 % (1 << 96)).to_bytes(12, "big")) + END,
    "negative owner": block(b"a", at_108=(-1 % (1 << 64)).to_bytes(8, "big")) + END,
    "owner beyond 32 bits": pax((b"uid", b"4294967295")) + block(b"a") + END,
    "size beyond 62 bits": pax((b"size", b"9223372036854775807")) + block(b"a") + END,
    "time that is none": pax((b"mtime", b"1e9")) + block(b"a") + END,
    "time beyond 64 bits": pax((b"mtime", b"9223372036854775808")) + block(b"a") + END,
    "record too long": extension(b"x", b"99 path=a\n") + block(b"a") + END,
    "record without newline": extension(b"x", b"9 path=ab") + block(b"a") + END,
    "record without length": extension(b"x", b"path=a\n") + block(b"a") + END,
    "record without key": extension(b"x", b"5 =a\n") + block(b"a") + END,
    "record of no length": extension(b"x", b"0 path=a\n") + block(b"a") + END,
    "two extended headers": pax((b"uid", b"1")) * 2 + block(b"a") + END,
    "extended header and long name": pax((b"uid", b"1")) + extension(b"L", b"long\0") + block(b"a") + END,
    "two long names": extension(b"L", b"long\0") * 2 + block(b"a") + END,
    "long name that is empty": extension(b"L", b"") + block(b"a") + END,
    "long name that goes on in its padding": block(b"x", b"L", 5) + b"longer".ljust(512, b"\0") + block(b"a") + END,
    "volume's label with a long name": extension(b"L", b"long\0") + block(b"v", b"V") + block(b"a") + END,
    "volume's label with an extended header": pax((b"path", b"b")) + block(b"v", b"V") + block(b"a") + END,
    "directory that is sparse": pax((b"GNU.sparse.name", b"b"), (b"uid", b"1")) + block(b"d/", b"5") + END,
    "directory by its name with content": block(b"d/", size=5) + b"x" * 512 + END,
    "sparse map alone": pax((b"GNU.sparse.map", b"0,4")) + block(b"a", size=4) + b"x" * 512 + END,
    "sparse map and places": pax(
        *((b"GNU.sparse.size", b"9"), (b"GNU.sparse.map", b"0,4")),
        *((b"GNU.sparse.offset", b"0"), (b"GNU.sparse.numbytes", b"4")),
    ) + block(b"a", size=4) + b"x" * 512 + END,
    "sparse places without order": pax(
        *((b"GNU.sparse.size", b"9"), (b"GNU.sparse.numbytes", b"0"), (b"GNU.sparse.numbytes", b"4")),
    ) + block(b"a", size=4) + b"x" * 512 + END,
    "sparse map of another length than it says": pax(
        *((b"GNU.sparse.size", b"9"), (b"GNU.sparse.numblocks", b"2"), (b"GNU.sparse.map", b"0,4")),
    ) + block(b"a", size=4) + b"x" * 512 + END,
    "sparse file of two sizes": pax(
        *((b"GNU.sparse.size", b"9"), (b"GNU.sparse.realsize", b"8"), (b"GNU.sparse.map", b"0,4")),
    ) + block(b"a", size=4) + b"x" * 512 + END,
    "global header before its entry": pax((b"uid", b"1")) + pax((b"gid", b"1"), flag=b"g") + block(b"a") + END,
    "global path": pax((b"path", b"b"), flag=b"g") + block(b"a") + END,
    "global size": pax((b"size", b"1"), flag=b"g") + block(b"a") + END,
    "extended header at the end": pax((b"uid", b"1")) + END,
    "lone zero block": bytes(512) + block(b"a") + END,
    "symbolic link to nothing": block(b"a", b"2") + END,
    "symbolic link that no system takes": pax((b"linkpath", b"t" * 4096)) + block(b"a", b"2") + END,
    "directory with a content": block(b"d/", size=512) + block(b"a") + END,
    "sparse map beyond its size": sparse(b"0,4", 3, 4) + END,
    "sparse map that overlaps": sparse(b"0,4,2,4", 9, 8) + END,
    "sparse map of odd length": sparse(b"0,4,2", 9, 4) + END,
    "sparse map unlike the data": sparse(b"0,4", 9, 5) + END,
    "sparse map longer than the data": sparse_1_0(b"1.0", 3) + b"0\n".ljust(512, b"\0") + END,
    "sparse map without end": sparse_1_0(b"1.0", 512) + b"1" * 512 + END,
    "sparse of unknown version": sparse_1_0(b"2.0", 0) + END,
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGED)
def test_damage_is_noticed(what: str) -> None:
    with pytest.raises(IntegrityError):
        read(DAMAGED[what])


EXCESSIVE = {
    "entries": (block(b"a") + block(b"b") + END, ArchiveLimits(entries=1)),
    "bytes": (block(b"a", size=600) + bytes(1024) + END, ArchiveLimits(expanded=599)),
    "depth": (block(b"a/b/c") + END, ArchiveLimits(depth=2)),
    "header": (pax((b"comment", b"x" * 600)) + block(b"a") + END, ArchiveLimits(header=600)),
    "huge header": (block(b"x", b"x", 1 << 30), ArchiveLimits()),
    "long name": (extension(b"L", b"x" * 601) + block(b"a") + END, ArchiveLimits(header=600)),
    "globals": (
        b"".join(pax((b"k%d" % n, b"x" * 300), flag=b"g") for n in range(3)) + block(b"a") + END,
        ArchiveLimits(header=800),
    ),
    "global headers that nothing follows": (
        pax((b"k", b"x" * 9), flag=b"g") * 3 + block(b"a") + END,
        ArchiveLimits(toc=1500),
    ),
    "global headers before one entry": (
        pax((b"k", b"x" * 9), flag=b"g") * 40 + block(b"a") + END,
        ArchiveLimits(header=1200),
    ),
    "headers in all": (
        b"".join(pax((b"user.k", b"x" * 300)) + block(b"%d" % n) for n in range(3)) + END,
        ArchiveLimits(toc=800),
    ),
    "holes": (
        pax((b"GNU.sparse.size", b"5000"), (b"GNU.sparse.map", b"0,0")) + block(b"a") + END,
        ArchiveLimits(expanded=4999),
    ),
}


@pytest.mark.parametrize("what", EXCESSIVE)
def test_limits_hold(what: str) -> None:
    data, limits = EXCESSIVE[what]
    with pytest.raises(UnsafeArchiveError):
        read(data, limits)


def test_size_of_an_extended_header_wins_over_the_header() -> None:
    data = pax((b"size", b"3")) + block(b"a", size=1024) + b"abc" + bytes(509) + block(b"b") + END
    assert [(item.path, content) for item, content in read(data)] == [(b"a", b"abc"), (b"b", b"")]


def test_truncation_anywhere_is_an_integrity_error() -> None:
    node = FILE._replace(size=700, mtime=TIME)
    whole = encode_header(b"a", node) + b"x" * 700 + bytes(324) + encode_header(b"n" * 120, FILE) + END
    for length in range(0, len(whole), 7):
        with pytest.raises(IntegrityError):
            read(whole[:length])


def test_missing_end_is_accepted_where_the_caller_has_a_digest() -> None:
    whole = encode_header(b"a", FILE)
    assert len(read(whole, end_required=False)) == 1
    assert len(read(whole + bytes(512), end_required=False)) == 1
    assert read(b"", end_required=False) == []
    with pytest.raises(IntegrityError):
        read(whole[:-1], end_required=False)


def test_missing_padding_at_the_end_is_accepted_where_the_caller_has_a_digest() -> None:
    whole = encode_header(b"a", FILE._replace(size=5)) + b"12345"
    for rest in (b"", bytes(1), bytes(506), bytes(507)):
        assert len(read(whole + rest, end_required=False)) == 1
        with pytest.raises(IntegrityError):
            read(whole + rest)
    with pytest.raises(IntegrityError):
        read(whole[:-1], end_required=False)


def test_content_that_is_not_consumed_is_skipped() -> None:
    data = encode_header(b"a", FILE._replace(size=3000)) + bytes(3072) + block(b"b") + END
    for chunk in (100, 1 << 20):
        items = [item.path for item, _ in read_tar(data[at : at + chunk] for at in range(0, len(data), chunk))]
        assert items == [b"a", b"b"]


def test_content_of_an_earlier_entry_cannot_be_read_by_mistake() -> None:
    data = (encode_header(b"a", FILE._replace(size=3000)) + bytes(3072)) * 2 + END
    pieces = read_tar(data[at : at + 100] for at in range(0, len(data), 100))
    _, first = next(pieces)
    next(first)
    next(pieces)
    with pytest.raises(RuntimeError):
        next(first)


def test_any_bytes_raise_declared_errors_only() -> None:
    whole = bytearray(pax((b"path", b"some/name"), (b"mtime", b"1.5")) + block(b"a", size=5) + bytes(512) + END)
    for at in range(0, len(whole), 3):
        for value in (0x00, 0x31, 0x80, 0xFF):
            changed = bytes(whole[:at]) + bytes([value]) + bytes(whole[at + 1 :])
            try:
                read(changed)
            except AgentError as error:
                assert isinstance(error, IntegrityError | UnsafeArchiveError)
