"""Laws of the tar codec, and its agreement with Python's tarfile and GNU tar both ways."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.archive.tar.pax import format_record, format_time, parse_records, parse_time
from agent.archive.tar.tar_header import END, encode_header, padded, whiteout_header
from agent.archive.tar.tar_reader import read_tar
from agent.core.model.entry import Kind, Node
from agent.core.model.tar_item import Linked, Placed, Whiteout
from agent.errors import AgentError, IntegrityError, UnsafeArchiveError
from tests.property.archive_values import files, names, nodes, paths, sizes, targets, times

FLAGS = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.DIR: tarfile.DIRTYPE,
    Kind.LINK: tarfile.SYMTYPE,
    Kind.FIFO: tarfile.FIFOTYPE,
    Kind.CHAR: tarfile.CHRTYPE,
    Kind.BLOCK: tarfile.BLKTYPE,
}


@given(paths, nodes())
def test_reading_a_header_gives_its_node_and_encoding_that_the_header(path: bytes, node: Node) -> None:
    header = encode_header(path, node)
    ((item, _),) = read_tar([header + END])
    assert item == Placed(path, node)
    assert encode_header(item.path, item.node) == header


@given(paths, files, sizes)
def test_size_is_exact(path: bytes, node: Node, size: int) -> None:
    item, _ = next(read_tar([encode_header(path, node._replace(size=size))]))
    assert item == Placed(path, node._replace(size=size))


@given(paths, paths, nodes())
def test_hard_link_gives_its_target(path: bytes, to: bytes, node: Node) -> None:
    if node.kind is Kind.DIR:
        return
    ((item, _),) = read_tar([encode_header(path, node, to) + END])
    assert item == Linked(path, to)


@given(paths)
def test_whiteout_gives_its_path(path: bytes) -> None:
    ((item, _),) = read_tar([whiteout_header(path) + END])
    assert item == Whiteout(path)


@given(times)
def test_time_is_exact(mtime: int) -> None:
    assert parse_time(format_time(mtime)) == mtime


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.binary(max_size=1200)), max_size=5))
def test_records_read_back(records: list[tuple[bytes, bytes]]) -> None:
    records = [(key.replace(b"=", b"-"), value) for key, value in records]
    assert parse_records(b"".join(format_record(*record) for record in records)) == records


@given(st.lists(st.tuples(paths, nodes(), st.binary(max_size=1500)), max_size=5), st.integers(1, 2000))
def test_tarfile_reads_what_we_write(members: list[tuple[bytes, Node, bytes]], chunk: int) -> None:
    data = b""
    for path, node, content in members:
        content = content if node.kind is Kind.FILE else b""
        header = encode_header(path, node._replace(size=len(content)))
        data += header + content.ljust(padded(len(content)), b"\0")
    data += END
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as tar:
        theirs = [(os.fsencode(found.name), found) for found in tar.getmembers()]
        contents = [tar.extractfile(found).read() if found.isreg() else b"" for _, found in theirs]
    ours = read_tar(data[at : at + chunk] for at in range(0, len(data), chunk))
    for (path, node, _), (name, found), content, (item, pieces) in zip(members, theirs, contents, ours, strict=True):
        assert name == path == item.path
        assert found.type == FLAGS[node.kind]
        assert (found.mode, found.uid, found.gid) == (node.mode, node.uid, node.gid)
        assert os.fsencode(found.linkname) == node.target
        assert (found.devmajor, found.devminor) == node.device
        assert content == b"".join(pieces)


@given(
    st.lists(st.tuples(paths, st.binary(max_size=1500), st.integers(0, 8**7 - 1), st.integers(0, 2**33)), max_size=5),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.lists(st.tuples(paths, targets), max_size=3),
)
def test_we_read_what_tarfile_writes(
    members: list[tuple[bytes, bytes, int, int]], form: int, links: list[tuple[bytes, bytes]]
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as tar:
        for path, content, owner, mtime in members:
            info = tarfile.TarInfo(os.fsdecode(path))
            info.size, info.uid, info.mtime = len(content), owner, mtime
            tar.addfile(info, io.BytesIO(content))
        for path, target in links:
            info = tarfile.TarInfo(os.fsdecode(path))
            info.type, info.linkname = tarfile.SYMTYPE, os.fsdecode(target)
            tar.addfile(info)
    found = [(item, b"".join(content)) for item, content in read_tar([buffer.getvalue()])]
    for (item, content), (path, written, owner, mtime) in zip(found, members, strict=False):
        node = Node(Kind.FILE, 0o644, owner, 0, mtime * 10**9, len(written))
        assert (item, content) == (Placed(path, node, item.offset), written)
    assert [(item.path, item.node.target) for item, _ in found[len(members) :]] == links


@pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not installed")
@settings(max_examples=15, deadline=None)
@given(
    st.dictionaries(names.filter(lambda name: len(name) < 200), st.binary(max_size=800), max_size=6),
    st.sampled_from(["gnu", "posix", "oldgnu"]),
)
def test_we_agree_with_gnu_tar_both_ways(tree: dict[bytes, bytes], form: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = os.fsencode(directory)
        for name, content in tree.items():
            with open(os.path.join(root, name), "wb") as file:
                file.write(content)
        theirs = subprocess.run(
            ["tar", "-C", root, f"--format={form}", "-cf", "-", "."], capture_output=True, check=True
        )
        found = {item.path: (item, b"".join(content)) for item, content in read_tar([theirs.stdout])}
        assert {path: content for path, (_, content) in found.items()} == tree
        ours = b"".join(
            encode_header(path, item.node) + content.ljust(padded(len(content)), b"\0")
            for path, (item, content) in found.items()
        )
        other = os.path.join(root, b"extracted")
        os.mkdir(other)
        subprocess.run(["tar", "-C", other, "-xf", "-"], input=ours + END, capture_output=True, check=True)
        extracted = {}
        for name in os.listdir(other):
            with open(os.path.join(other, name), "rb") as file:
                extracted[name] = file.read()
        assert extracted == tree


@given(st.binary(max_size=1600))
def test_any_bytes_raise_declared_errors_only(data: bytes) -> None:
    try:
        list(read_tar([data]))
    except AgentError as error:
        assert isinstance(error, IntegrityError | UnsafeArchiveError)


@given(paths, nodes(), st.integers(0, 10**6), st.binary(min_size=1, max_size=12))
def test_overwritten_headers_raise_declared_errors_only(path: bytes, node: Node, at: int, junk: bytes) -> None:
    """The checksum is made right again, so that what is behind it is reached."""
    data = bytearray(encode_header(path, node))
    at %= len(data)
    data[at : at + len(junk)] = junk
    data = data[: len(data) // 512 * 512]
    for start in {0, len(data) - 512}:
        data[start + 148 : start + 156] = b" " * 8
        data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    try:
        list(read_tar([bytes(data) + END]))
    except AgentError as error:
        assert isinstance(error, IntegrityError | UnsafeArchiveError)
