"""Headers as we write them, read by Python's tarfile and by GNU tar."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from agent.archive.tar.tar_header import END, encode_header, padded, whiteout_header
from agent.archive.tar.tar_reader import read_tar
from agent.core.model.entry import Kind, Node
from agent.core.model.tar_item import Linked, Placed, Whiteout
from agent.errors import IntegrityError, UnsafeArchiveError

GNU_TAR = pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not installed")
TIME = 1_700_000_000_123_456_789
LONG = b"/".join([b"x" * 200] * 30)

NODES = {
    b"plain": Node(Kind.FILE, 0o644, mtime=1_700_000_000_000_000_000),
    b"nanoseconds": Node(Kind.FILE, 0o4755, 1000, 1000, TIME),
    b"epoch": Node(Kind.FILE, 0o644, mtime=0),
    b"before-epoch": Node(Kind.FILE, 0o644, mtime=-1_500_000_000),
    b"just-before-epoch": Node(Kind.FILE, 0o644, mtime=-1),
    b"far-future": Node(Kind.FILE, 0o644, mtime=(8**11) * 10**9 + 1),
    b"old": Node(Kind.FILE, 0o644, mtime=999_999_999_999_999_999),
    b"n" * 100: Node(Kind.FILE, 0o644, mtime=TIME),
    b"n" * 101: Node(Kind.FILE, 0o644, mtime=TIME),
    b"d" * 99: Node(Kind.DIR, 0o1777, mtime=TIME),
    b"d" * 100: Node(Kind.DIR, 0o755, mtime=TIME),
    LONG: Node(Kind.FILE, 0o644, mtime=TIME),
    b"a name\nof two lines": Node(Kind.FILE, 0o644, mtime=TIME),
    b"trailing space ": Node(Kind.FILE, 0o644, mtime=TIME),
    "größe".encode(): Node(Kind.FILE, 0o644, mtime=TIME),
    b"latin\xe4": Node(Kind.FILE, 0o644, mtime=TIME),
    b"\xff" * 255: Node(Kind.DIR, 0o755, mtime=TIME),
    b"large-owner": Node(Kind.FILE, 0o644, 2_097_152, 4_294_967_294, TIME),
    b"small-owner": Node(Kind.FILE, 0o644, 2_097_151, 0, TIME),
    b"symbolic": Node(Kind.LINK, 0o777, mtime=TIME, target=b"../target"),
    b"symbolic-long": Node(Kind.LINK, 0o777, mtime=TIME, target=b"t" * 4000),
    b"symbolic-latin": Node(Kind.LINK, 0o777, mtime=TIME, target=b"\xe4"),
    b"symbolic-slash": Node(Kind.LINK, 0o777, mtime=TIME, target=b"/a/"),
    b"fifo": Node(Kind.FIFO, 0o600, mtime=TIME),
    b"char": Node(Kind.CHAR, 0o600, mtime=TIME, device=(1, 3)),
    b"block": Node(Kind.BLOCK, 0o600, mtime=TIME, device=(4095, 1_048_575)),
    b"attributes": Node(
        Kind.FILE, 0o644, mtime=TIME, xattrs=((b"user.=%3D", b""), (b"user.b", bytes(range(256)) * 10))
    ),
}
KINDS = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.DIR: tarfile.DIRTYPE,
    Kind.LINK: tarfile.SYMTYPE,
    Kind.FIFO: tarfile.FIFOTYPE,
    Kind.CHAR: tarfile.CHRTYPE,
    Kind.BLOCK: tarfile.BLKTYPE,
}


def archive(nodes: dict[bytes, Node]) -> bytes:
    return b"".join(encode_header(path, node) for path, node in nodes.items()) + END


@pytest.mark.parametrize("path", NODES, ids=lambda path: repr(path)[:40])
def test_tarfile_reads_what_was_written(path: bytes) -> None:
    node = NODES[path]
    with tarfile.open(fileobj=io.BytesIO(archive({path: node})), encoding="utf-8", errors="surrogateescape") as tar:
        (found,) = tar.getmembers()
    assert os.fsencode(found.name) == path
    assert found.type == KINDS[node.kind]
    assert (found.mode, found.uid, found.gid, found.size) == (node.mode, node.uid, node.gid, 0)
    assert os.fsencode(found.linkname) == node.target
    assert abs(found.mtime - node.mtime / 10**9) < 1e-5 * max(1, abs(found.mtime) / 1e9)
    assert (found.devmajor, found.devminor) == node.device
    assert (found.uname, found.gname) == ("", "")


@pytest.mark.parametrize("path", NODES, ids=lambda path: repr(path)[:40])
def test_reading_back_gives_the_same_node(path: bytes) -> None:
    ((item, content),) = read_tar([archive({path: NODES[path]})])
    assert item == Placed(path, NODES[path])
    assert list(content) == []


@GNU_TAR
def test_gnu_tar_extracts_what_was_written(tmp_path: Path) -> None:
    nodes = {
        path: node
        for path, node in NODES.items()
        if node.kind in (Kind.FILE, Kind.DIR, Kind.LINK, Kind.FIFO) and max(map(len, path.split(b"/"))) <= 255
    }
    del nodes[LONG]
    ours = {path: node._replace(uid=0, gid=0, xattrs=()) for path, node in nodes.items()}
    done = subprocess.run(
        ["tar", "-C", tmp_path, "--no-same-owner", "-xpf", "-"], input=archive(ours), capture_output=True, check=True
    )
    assert b"rror" not in done.stderr
    for path, node in ours.items():
        found = os.lstat(os.path.join(os.fsencode(tmp_path), path))
        assert stat.S_IMODE(found.st_mode) == node.mode, path
        if -(2**31) < node.mtime // 10**9 < 2**33:
            assert found.st_mtime_ns == node.mtime, path
        if node.kind is Kind.LINK:
            assert os.readlink(os.path.join(os.fsencode(tmp_path), path)) == node.target
    assert {os.fsencode(name) for name in os.listdir(os.fsencode(tmp_path))} == set(ours)


@GNU_TAR
def test_gnu_tar_lists_owners_devices_and_sizes_as_written() -> None:
    nodes = {path: NODES[path] for path in (b"large-owner", b"small-owner", b"char", b"block")}
    data = archive(nodes)
    listing = subprocess.run(
        ["tar", "--numeric-owner", "-tvf", "-"],
        input=data,
        capture_output=True,
        check=True,
        env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
    ).stdout.decode()
    assert "2097152/4294967294" in listing
    assert "2097151/0" in listing
    assert "1,3" in listing
    assert "4095,1048575" in listing


def test_size_beyond_8_gib_is_exact() -> None:
    size = 8**11 + 5
    header = encode_header(b"big", Node(Kind.FILE, 0o644, mtime=TIME, size=size))
    with tarfile.open(fileobj=io.BytesIO(header), mode="r|") as tar:
        assert tar.next().size == size
    pieces = read_tar([header])
    item, _ = next(pieces)
    assert item.node.size == size


def test_size_of_8_gib_less_one_needs_no_extended_header() -> None:
    assert len(encode_header(b"big", Node(Kind.FILE, 0o644, mtime=0, size=8**11 - 1))) == 512


def test_attributes_come_out_of_tarfile_as_written() -> None:
    with tarfile.open(fileobj=io.BytesIO(archive({b"a": NODES[b"attributes"]})), errors="surrogateescape") as tar:
        (found,) = tar.getmembers()
    value = found.pax_headers["SCHILY.xattr.user.b"].encode("utf-8", "surrogateescape")
    assert value == bytes(range(256)) * 10
    assert found.pax_headers["SCHILY.xattr.user.%3D%253D"] == ""


def test_ordinary_file_needs_one_block() -> None:
    assert len(encode_header(b"plain", NODES[b"plain"])) == 512


def test_nanoseconds_cost_two_more_blocks() -> None:
    assert len(encode_header(b"plain", NODES[b"nanoseconds"])) == 3 * 512


def test_records_are_in_bytes_order() -> None:
    header = encode_header(
        b"\xff" * 120,
        Node(Kind.LINK, 0o777, 2**31, 2**31, -1, target=b"\xfe" * 120, xattrs=((b"user.a", b"1"), (b"user.b", b"2"))),
    )
    keys = [line.split(b" ", 1)[1].split(b"=")[0] for line in header[512:-512].rstrip(b"\0").splitlines()]
    assert keys == sorted(keys)
    assert keys == [
        b"SCHILY.xattr.user.a", b"SCHILY.xattr.user.b", b"gid", b"hdrcharset", b"linkpath", b"mtime", b"path", b"uid",
    ]  # fmt: skip


def test_digest_has_no_part_in_a_header() -> None:
    node = NODES[b"plain"]
    assert encode_header(b"p", node) == encode_header(b"p", node._replace(sha256=b"x" * 32))


def test_symbolic_link_has_mode_0777_whatever_the_node_says() -> None:
    node = NODES[b"symbolic"]
    assert encode_header(b"p", node._replace(mode=0o644)) == encode_header(b"p", node)


def test_hard_link_has_no_content() -> None:
    node = Node(Kind.FILE, 0o644, mtime=TIME, size=1000)
    data = encode_header(b"a", node) + bytes(padded(1000)) + encode_header(b"b", node, b"a") + END
    assert [item for item, _ in read_tar([data])] == [Placed(b"a", node), Linked(b"b", b"a", 1536 + 1024)]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = tar.getmember("b")
    assert (found.type, found.linkname, found.size) == (tarfile.LNKTYPE, "a", 0)


def test_hard_link_to_a_long_name() -> None:
    node = Node(Kind.FILE, 0o644, mtime=TIME)
    data = encode_header(b"a" * 150, node) + encode_header(b"b", node, b"a" * 150) + END
    assert [item for item, _ in read_tar([data])][1] == Linked(b"b", b"a" * 150, 1536)


@pytest.mark.parametrize("path", [b"gone", b"d/gone", b"d/" + b"g" * 255, b"d/\xff"])
def test_whiteout_stands_beside_what_is_gone(path: bytes) -> None:
    data = whiteout_header(path) + END
    assert [item for item, _ in read_tar([data])] == [Whiteout(path)]
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
        (found,) = tar.getmembers()
    directory, name = os.path.split(os.fsencode(found.name))
    assert (directory, name) == (os.path.dirname(path), b".wh." + os.path.basename(path))
    assert (found.type, found.size, found.mtime) == (tarfile.REGTYPE, 0, 0)


def test_extended_header_above_1_mib_is_refused() -> None:
    attributes = tuple((b"user.%d" % number, bytes(65536)) for number in range(17))
    with pytest.raises(UnsafeArchiveError, match="1 MiB"):
        encode_header(b"p", Node(Kind.FILE, 0o644, xattrs=attributes))


def test_device_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(IntegrityError, match="device"):
        encode_header(b"p", Node(Kind.CHAR, 0o644, device=(8**7, 0)))
