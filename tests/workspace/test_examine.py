import os
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from agent.core.directory.state_row import ScannedPath
from agent.core.model.entry import Kind
from agent.errors import FileChangedError, WorkspaceError
from agent.workspace.filesystem.root import Root, open_root
from agent.workspace.scan.path_reader import CHUNK, examine, hash_content, open_content


def place(root: Root, path: bytes) -> bytes:
    return os.path.join(root.path, path)


def write(root: Root, path: bytes, data: bytes) -> ScannedPath:
    with open(place(root, path), "wb") as file:
        file.write(data)
    return look(root, path)


def look(root: Root, path: bytes) -> ScannedPath:
    found = root.lstat(path)
    assert found is not None
    return found


def read(root: Root, found: ScannedPath) -> list[bytes]:
    data = open_content(root, found).data
    return [data] if isinstance(data, bytes) else list(data)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_node_has_everything_that_is_kept(root: Root) -> None:
    found = write(root, b"f", b"12345")
    os.chmod(place(root, b"f"), 0o6751)
    os.utime(place(root, b"f"), ns=(1, 1_234_567_890_123_456_789))
    os.setxattr(place(root, b"f"), "user.b", b"\0\xff")
    os.setxattr(place(root, b"f"), "user.a", b"")
    node = examine(root, look(root, b"f"))
    assert (node.kind, node.mode, node.size) == (Kind.FILE, 0o6751, 5)
    assert node.mtime == 1_234_567_890_123_456_789
    assert node.xattrs == ((b"user.a", b""), (b"user.b", b"\0\xff"))
    assert (node.uid, node.gid, node.sha256) == (found.fingerprint.uid, found.fingerprint.gid, b"")


def test_other_kinds(root: Root) -> None:
    os.mkdir(place(root, b"d"))
    os.setxattr(place(root, b"d"), "user.x", b"1")
    os.symlink(b"\xff/nowhere", place(root, b"l"))
    os.mkfifo(place(root, b"p"), 0o640)
    directory, link, fifo = (examine(root, look(root, path)) for path in (b"d", b"l", b"p"))
    assert (directory.kind, directory.size, directory.xattrs) == (Kind.DIR, 0, ((b"user.x", b"1"),))
    assert (link.kind, link.mode, link.target, link.size) == (Kind.LINK, 0o777, b"\xff/nowhere", 0)
    assert fifo.kind is Kind.FIFO


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to set what must be left out")
def test_attributes_of_the_machine_are_left_out(root: Root) -> None:
    write(root, b"f", b"")
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(place(root, b"f"), "trusted.x", b"1")
    os.setxattr(place(root, b"f"), "security.capability", capability)
    assert examine(root, look(root, b"f")).xattrs == ((b"security.capability", capability),)
    assert open_content(root, look(root, b"f")).xattrs == ((b"security.capability", capability),)


@pytest.mark.parametrize("size", [0, 1, 4095, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_content_is_whole_and_in_bounded_chunks(root: Root, size: int) -> None:
    data = os.urandom(size)
    found = write(root, b"f", data)
    chunks = read(root, found)
    assert b"".join(chunks) == data
    assert all(len(chunk) <= CHUNK for chunk in chunks)
    assert hash_content(root, found) == sha256(data).digest()


def test_descriptors_are_closed_however_far_reading_went(root: Root) -> None:
    found = write(root, b"f", bytes(3 * CHUNK))
    root.at(b"f")
    before = open_descriptors()
    open_content(root, found)
    half = iter(open_content(root, found).data)
    next(half)
    assert open_descriptors() == before + 1
    del half
    read(root, found)
    assert open_descriptors() == before


def test_holes_are_not_read(root: Root) -> None:
    size = 8 << 30
    write(root, b"f", b"begin")
    with open(place(root, b"f"), "r+b") as file:
        file.truncate(size)
        file.seek(5 << 30)
        file.write(b"middle")
    found = look(root, b"f")
    seen, total, buffers = [], 0, set()
    for chunk in open_content(root, found).data:
        if not chunk.startswith(b"\0"):
            seen.append((total, chunk.strip(b"\0")))
        elif len(chunk) == CHUNK:
            buffers.add(id(chunk))
        total += len(chunk)
    assert total == size
    assert seen == [(0, b"begin"), (5 << 30, b"middle")]
    assert len(buffers) == 1


@pytest.mark.parametrize("hole", [1, 4096, CHUNK, 2 * CHUNK + 5])
def test_a_hole_at_the_end_is_zeros(root: Root, hole: int) -> None:
    write(root, b"f", b"x" * CHUNK)
    os.truncate(place(root, b"f"), CHUNK + hole)
    assert b"".join(read(root, look(root, b"f"))) == b"x" * CHUNK + bytes(hole)


@pytest.mark.parametrize("size", [100, 2 * CHUNK])
def test_a_file_that_was_written_since_the_scan_is_noticed(root: Root, size: int) -> None:
    found = write(root, b"f", b"a" * size)
    write(root, b"f", b"b" * (size + 1))
    with pytest.raises(FileChangedError):
        open_content(root, found)
    with pytest.raises(FileChangedError):
        examine(root, found)


@pytest.mark.parametrize("change", [b"grow", b"shrink", b"write"])
def test_a_file_that_changes_while_it_is_read_is_noticed(root: Root, change: bytes) -> None:
    found = write(root, b"f", b"a" * (4 * CHUNK))
    with pytest.raises(FileChangedError) as caught:
        for number, _ in enumerate(open_content(root, found).data):
            if number == 1:
                with open(place(root, b"f"), "r+b") as file:
                    if change == b"shrink":
                        file.truncate(CHUNK)
                    else:
                        file.seek(0, os.SEEK_END if change == b"grow" else os.SEEK_SET)
                        file.write(b"b")
                os.utime(
                    place(root, b"f"), ns=(found.fingerprint.mtime, found.fingerprint.mtime + (change == b"write"))
                )
    assert caught.value.retryable
    assert caught.value.subject == "f"


@pytest.mark.parametrize("other", ["link", "fifo", "directory", "nothing", "file"])
def test_what_was_replaced_is_noticed_and_never_waited_for(root: Root, other: str, tmp_path: Any) -> None:
    found = write(root, b"f", b"secret")
    os.rename(place(root, b"f"), tmp_path / "aside")
    if other == "link":
        os.symlink(tmp_path / "aside", place(root, b"f"))
    elif other == "fifo":
        os.mkfifo(place(root, b"f"))
    elif other == "directory":
        os.mkdir(place(root, b"f"))
    elif other == "file":
        write(root, b"f", b"secret")
    for look_into in (examine, open_content, hash_content):
        with pytest.raises(FileChangedError):
            look_into(root, found)


def test_a_link_that_was_replaced_is_noticed(root: Root) -> None:
    os.symlink(b"a", place(root, b"l"))
    found = look(root, b"l")
    os.unlink(place(root, b"l"))
    os.symlink(b"b", place(root, b"l"))
    with pytest.raises(FileChangedError):
        examine(root, found)


def test_new_names_in_a_directory_are_no_change_of_it(root: Root) -> None:
    os.mkdir(place(root, b"d"))
    found = look(root, b"d")
    write(root, b"d/f", b"")
    assert examine(root, found).mtime == found.fingerprint.mtime


def test_a_file_that_may_not_be_read_is_named(strangers_directory: str, as_stranger: Callable[..., Any]) -> None:
    with open_root(strangers_directory) as root:
        found = write(root, b"f", b"x")
        os.chmod(place(root, b"f"), 0o600)
        found = look(root, b"f")
        with pytest.raises(WorkspaceError, match="Permission denied") as caught:
            as_stranger(lambda: read(root, found))
        assert caught.value.subject == "f"
