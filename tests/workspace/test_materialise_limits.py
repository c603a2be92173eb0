"""Writing a tree where something runs out: path length, descriptors, room, inodes, rights, time."""

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.core.model.entry import Kind, Node
from agent.errors import UnsafeArchiveError, WorkspaceError
from agent.workspace.filesystem.root import Root, open_root
from agent.workspace.scan.tree_walk import TEMPORARY
from agent.workspace.write.tree_writer import TreeWriter
from tests.workspace.materials import dir_of, file_of, leftovers, link_to, place, write_all

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_paths_beyond_path_max_and_the_limit_of_descriptors(
    root: Root, read_tree: Callable[[Root], dict[bytes, Node]]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    tree: dict[bytes, tuple[Node, bytes]] = {}
    for name, depth in ((b"long" * 50, 30), (b"d", 2000)):
        path = name
        for _ in range(depth):
            tree[path] = (dir_of(), b"")
            path += b"/" + name
        tree[path] = (file_of(b"deep"), b"deep")
    assert max(map(len, tree)) > 4096
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        write_all(root, tree)
        assert read_tree(root) == {path: node for path, (node, _) in tree.items()}
        writer = TreeWriter(root)
        for path in sorted(tree, reverse=True):
            writer.remove(path, tree[path][0].kind)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert os.listdir(root.path) == []


@pytest.fixture
def small_disk(root: Root) -> Iterator[Root]:
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=20", "tmpfs", root.path], capture_output=True
        ).returncode
    ):
        pytest.skip("needs the right to mount")
    try:
        with open_root(root.path) as mounted:
            yield mounted
    finally:
        subprocess.run(["umount", "-l", root.path], check=True)


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_leaves_no_half_file(small_disk: Root, existing: bool) -> None:
    writer = TreeWriter(small_disk)
    if existing:
        writer.write_file(b"f", file_of(b"old"), (b"old",))
    data = os.urandom(512 << 10)
    with pytest.raises(WorkspaceError, match="No space left") as caught:
        writer.write_file(b"f", file_of(data), (data[: 64 << 10], data[64 << 10 :]))
    assert caught.value.subject == "f"
    assert "free some space" in caught.value.remedy
    assert os.listdir(small_disk.path) == ([b"f"] if existing else [])
    assert not existing or Path(os.fsdecode(place(small_disk, b"f"))).read_bytes() == b"old"


def test_no_inodes_left_is_a_clear_error(small_disk: Root) -> None:
    writer = TreeWriter(small_disk)
    with pytest.raises(WorkspaceError, match="No space left") as caught:
        for number in range(30):
            writer.make_dir(b"%02d" % number, dir_of())
    assert caught.value.subject.isdigit()


@needs_root
def test_a_read_only_volume_is_a_clear_error(small_disk: Root) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk.path], check=True)
    with pytest.raises(WorkspaceError, match="Read-only"):
        TreeWriter(small_disk).make_link(b"l", link_to(b"x"))


def test_a_kill_while_replacing_leaves_the_old_or_the_new(root: Root) -> None:
    versions = {bytes([65 + number]) * 200_000 for number in range(4)}
    TreeWriter(root).write_file(b"f", file_of(b"A" * 200_000), (b"A" * 200_000,))
    for delay in range(12):
        child = os.fork()
        if child == 0:
            try:
                with root.duplicate() as own:
                    writer = TreeWriter(own)
                    while True:
                        for data in versions:
                            parts = (data[at : at + 1000] for at in range(0, len(data), 1000))
                            writer.write_file(b"f", file_of(data), parts)
            finally:
                os._exit(1)
        try:
            subprocess.run(["sleep", str(0.002 * delay)], check=True)
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
        assert Path(os.fsdecode(place(root, b"f"))).read_bytes() in versions
    for path in leftovers(root):
        assert path.startswith(TEMPORARY)
        TreeWriter(root).remove(path, Kind.FILE)
    assert os.listdir(root.path) == [b"f"]


def test_numbers_out_of_range_are_the_images_fault(root: Root) -> None:
    writer = TreeWriter(root, privileged=True)
    for node in (file_of(b"")._replace(mtime=1 << 100), file_of(b"", uid=1 << 40), file_of(b"", gid=-5)):
        with pytest.raises((UnsafeArchiveError, WorkspaceError)) as caught:
            writer.write_file(b"f", node, ())
        assert caught.value.subject == "f"
    for target in (b"", b"a\0b"):
        with pytest.raises(UnsafeArchiveError):
            writer.make_link(b"f", link_to(target))
    with pytest.raises((UnsafeArchiveError, WorkspaceError)):
        writer.make_link(b"f", link_to(b"x" * 5000))
    assert os.listdir(root.path) == []


def test_a_directory_in_the_place_of_a_file_is_not_replaced(root: Root) -> None:
    os.mkdir(place(root, b"d"))
    with pytest.raises(WorkspaceError):
        TreeWriter(root).write_file(b"d", file_of(b""), ())
    assert os.listdir(root.path) == [b"d"]
    os.mknod(place(root, b"f"))
    with pytest.raises(UnsafeArchiveError):
        TreeWriter(root).make_dir(b"f", dir_of())
