import os
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.model.entry import Kind, Node
from agent.errors import FileChangedError, IntegrityError, UnsafeArchiveError, WorkspaceError
from agent.workspace.filesystem.root import Root, open_root
from agent.workspace.scan.tree_walk import TreeWalk
from agent.workspace.write.tree_writer import TreeWriter
from tests.workspace.materials import ME, MTIME, dir_of, file_of, leftovers, link_to, place, write_all, write_one

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


EVERY_KIND = {
    b"dir": (dir_of(0o2750, xattrs=((b"user.d", b"1"),)), b""),
    b"dir/read-only": (dir_of(0o555), b""),
    b"dir/read-only/file": (file_of(b"inside", 0o400), b"inside"),
    b"dir/read-only/\xff\xfe not utf-8": (file_of(b""), b""),
    b"dir/sticky": (dir_of(0o1777), b""),
    b"empty": (file_of(b"", 0o400), b""),
    b"fifo": (Node(Kind.FIFO, 0o622, mtime=MTIME, **ME), b""),
    b"link": (link_to(b"/dangling/\xff"), b""),
    b"new\nline": (file_of(b"n"), b"n"),
    b"old": (file_of(b"1969")._replace(mtime=-1_000_000_001), b"1969"),
    b"setgid": (file_of(b"x", 0o2755), b"x"),
    b"setuid": (file_of(b"x", 0o4555), b"x"),
    b"sticky": (file_of(b"x", 0o1666), b"x"),
    b"x" * 255: (file_of(b"long name"), b"long name"),
    b"xattrs": (file_of(b"x", 0o444, xattrs=((b"user.a", b""), (b"user.b", b"\0\xff"))), b"x"),
}


def test_every_kind_comes_back_as_it_was(root: Root, read_tree: Callable[[Root], dict[bytes, Node]]) -> None:
    writer = write_all(root, EVERY_KIND)
    assert read_tree(root) == {path: node for path, (node, _) in EVERY_KIND.items()}
    assert writer.notices == []


@needs_root
def test_owners_capabilities_and_devices_come_back_for_root(
    root: Root, read_tree: Callable[[Root], dict[bytes, Node]]
) -> None:
    other = {"uid": 4_000_000_000, "gid": 12345}
    tree = {
        b"block": (Node(Kind.BLOCK, 0o660, mtime=MTIME, device=(250, 300), **other), b""),
        b"capable": (file_of(b"x", 0o755, xattrs=((b"security.capability", CAPABILITY),), **other), b"x"),
        b"dir": (dir_of(0o6755, **other), b""),
        b"link": (link_to(b"x", **other), b""),
        b"null": (Node(Kind.CHAR, 0o666, mtime=MTIME, device=(1, 3), **other), b""),
        b"setuid": (file_of(b"x", 0o6755, **other), b"x"),
        b"wire": (Node(Kind.FIFO, 0o622, mtime=MTIME, **other), b""),
    }
    writer = write_all(root, tree)
    assert read_tree(root) == {path: node for path, (node, _) in tree.items()}
    assert writer.notices == []


def test_without_privilege_modes_and_times_are_kept_and_the_rest_is_said_once(
    strangers_directory: str,
    as_stranger: Callable[..., Any],
    read_tree: Callable[[Root], dict[bytes, Node]],
) -> None:
    tree = {
        **{path: (node._replace(uid=0, gid=0), data) for path, (node, data) in EVERY_KIND.items()},
        b"capable": (file_of(b"x", 0o755, xattrs=((b"security.capability", CAPABILITY),)), b"x"),
    }

    def act() -> list[str]:
        os.umask(0o077)
        with open_root(strangers_directory) as root:
            return write_all(root, tree).notices

    notices = as_stranger(act)
    assert [notice.partition(":")[0] for notice in notices] == ["owners are not kept", "file capabilities are not kept"]
    with open_root(strangers_directory) as root:
        found = read_tree(root)
        assert {node.uid for node in found.values()} == {61234}
        wanted = {path: node._replace(uid=61234, gid=61234) for path, (node, _) in tree.items()}
        wanted[b"capable"] = wanted[b"capable"]._replace(xattrs=())
        assert found == wanted


def test_devices_need_privilege(strangers_directory: str, as_stranger: Callable[..., Any]) -> None:
    def act() -> None:
        with open_root(strangers_directory) as root:
            TreeWriter(root).make_device(b"dev", Node(Kind.CHAR, 0o666, device=(1, 3)))

    with pytest.raises(UnsafeArchiveError) as caught:
        as_stranger(act)
    assert caught.value.subject == "dev"
    assert os.listdir(strangers_directory) == []


def test_read_only_directories_of_ours_can_be_worked_in(
    strangers_directory: str, as_stranger: Callable[..., Any], read_tree: Callable[[Root], dict[bytes, Node]]
) -> None:
    tree = {
        b"d": (dir_of(0o555), b""),
        b"d/e": (dir_of(0o555), b""),
        b"d/e/gone": (file_of(b""), b""),
        b"d/e/old": (file_of(b"old"), b"old"),
        b"d/kept": (dir_of(0o500), b""),
        b"d/kept/f": (file_of(b""), b""),
    }

    def act() -> None:
        with open_root(strangers_directory) as root:
            write_all(root, tree)
            writer = TreeWriter(root)
            writer.remove(b"d/kept/f", Kind.FILE)
            writer.remove(b"d/kept", Kind.DIR)
            writer.remove(b"d/e/gone", Kind.FILE)
            writer.write_file(b"d/e/old", file_of(b"new"), (b"new",))
            writer.hard_link(b"d/linked", b"d/e/old")
            writer.make_dir(b"d/fresh", dir_of(0o700))
            writer.make_dir(b"d", dir_of(0o511))
            writer.finish()

    as_stranger(act)
    with open_root(strangers_directory) as root:
        found = read_tree(root)
        assert list(found) == [b"d", b"d/e", b"d/e/old", b"d/fresh", b"d/linked"]
        assert [found[path].mode for path in (b"d", b"d/e", b"d/fresh")] == [0o511, 0o555, 0o700]
        assert found[b"d/e/old"].sha256 == sha256(b"new").digest()


def test_fingerprints_are_what_a_scan_finds(root: Root) -> None:
    writer = TreeWriter(root)
    writer.make_dir(b"d", dir_of(0o755))
    prints = {
        b"d/f": writer.write_file(b"d/f", file_of(b"1"), (b"1",)),
        b"d/l": writer.make_link(b"d/l", link_to(b"f")),
        b"d/p": writer.make_fifo(b"d/p", Node(Kind.FIFO, 0o600, mtime=MTIME, **ME)),
        b"d/g": writer.hard_link(b"d/g", b"d/f"),
    }
    replaced = writer.write_file(b"d/l", file_of(b"22"), (b"22",))
    touched = writer.set_attributes(b"d/p", Node(Kind.FIFO, 0o640, mtime=MTIME + 1, **ME))
    assert replaced and touched
    prints |= {b"d/l": replaced, b"d/p": touched} | dict(writer.finish())
    assert prints == {found.path: found.fingerprint for found in TreeWalk(root, lambda path, why: None)}


PARTS = st.sampled_from([b"a", b"a-b", b"b", b"\xff", b"c d", b"\n", b"x" * 255])
PATHS = st.lists(PARTS, min_size=1, max_size=3).map(b"/".join)
TIMES = st.integers(-(10**18), 4 * 10**18)
XATTRS = st.dictionaries(st.sampled_from([b"user.a", b"user.b"]), st.binary(max_size=8), max_size=2).map(
    lambda found: tuple(sorted(found.items()))
)
FILES = st.builds(
    lambda data, mode, mtime, xattrs: (file_of(data, mode, xattrs=xattrs)._replace(mtime=mtime), data),
    *(st.binary(max_size=64), st.integers(0, 0o7777), TIMES, XATTRS),
)
LINKS = st.builds(
    lambda target, mtime: (link_to(target)._replace(mtime=mtime), b""),
    st.binary(min_size=1, max_size=20).filter(lambda target: b"\0" not in target),
    TIMES,
)
DIRS = st.builds(
    lambda mode, mtime, xattrs: (dir_of(mode, xattrs=xattrs)._replace(mtime=mtime), b""),
    *(st.integers(0, 0o7777), TIMES, XATTRS),
)
FIFOS = st.builds(lambda mode, mtime: (Node(Kind.FIFO, mode, mtime=mtime, **ME), b""), st.integers(0, 0o7777), TIMES)


@st.composite
def trees(draw: Any) -> dict[bytes, tuple[Node, bytes]]:
    tree: dict[bytes, tuple[Node, bytes]] = dict(draw(st.dictionaries(PATHS, FILES | LINKS | FIFOS | DIRS, max_size=8)))
    for path in list(tree):
        above = path.rpartition(b"/")[0]
        while above:
            if above not in tree or tree[above][0].kind is not Kind.DIR:
                tree[above] = draw(DIRS)
            above = above.rpartition(b"/")[0]
    return tree


@needs_root  # any mode can be read back
@settings(max_examples=60, deadline=None)
@given(before=trees(), after=trees())
def test_a_directory_becomes_any_tree_from_any_other(
    tmp_path_factory: pytest.TempPathFactory,
    read_tree: Callable[[Root], dict[bytes, Node]],
    before: dict[bytes, tuple[Node, bytes]],
    after: dict[bytes, tuple[Node, bytes]],
) -> None:
    with open_root(tmp_path_factory.mktemp("tree")) as root:
        write_all(root, before)
        assert read_tree(root) == {path: before[path][0] for path in sorted(before)}
        writer = TreeWriter(root)
        for path in sorted(before, reverse=True):
            kind = before[path][0].kind
            if path not in after or (kind is Kind.DIR) != (after[path][0].kind is Kind.DIR):
                writer.remove(path, kind)
        for path, (node, data) in sorted(after.items()):
            write_one(writer, path, node, data)
        writer.finish()
        assert read_tree(root) == {path: after[path][0] for path in sorted(after)}
        assert leftovers(root) == []


def test_hard_links_share_one_file(root: Root) -> None:
    writer = TreeWriter(root)
    writer.write_file(b"a", file_of(b"1"), (b"1",))
    writer.write_file(b"b", file_of(b"2"), (b"2",))
    writer.make_dir(b"d", dir_of())
    writer.hard_link(b"d/c", b"a")
    writer.hard_link(b"b", b"d/c")
    writer.hard_link(b"b", b"a")  # again: nothing to do, nothing left behind
    assert len({os.stat(place(root, path)).st_ino for path in (b"a", b"b", b"d/c")}) == 1
    assert leftovers(root) == []


@pytest.mark.parametrize("kind", [Kind.FILE, Kind.LINK, Kind.FIFO])
def test_attributes_of_something_with_another_name_are_left_alone(root: Root, tmp_path: Path, kind: Kind) -> None:
    made = {Kind.FILE: file_of(b""), Kind.LINK: link_to(b"t"), Kind.FIFO: Node(Kind.FIFO, 0o600, mtime=MTIME, **ME)}
    write_all(root, {b"f": (made[kind], b"")})
    outside = tmp_path / "outside"
    os.link(place(root, b"f"), outside, follow_symlinks=False)
    before = os.lstat(outside)
    changed = made[kind]._replace(mtime=5, uid=ME["uid"] + 1)
    assert TreeWriter(root).set_attributes(b"f", changed) is None
    assert os.lstat(outside) == before


def test_a_link_to_a_symbolic_link_is_to_the_link_itself(root: Root) -> None:
    writer = TreeWriter(root)
    writer.make_link(b"l", link_to(b"/etc/passwd"))
    writer.hard_link(b"m", b"l")
    assert os.readlink(place(root, b"m")) == b"/etc/passwd"


def test_attributes_alone_leave_content_and_inode(root: Root, read_tree: Callable[[Root], dict[bytes, Node]]) -> None:
    writer = TreeWriter(root)
    old = file_of(b"x", 0o400, xattrs=((b"user.gone", b"1"), (b"user.new", b"1")))
    writer.write_file(b"f", old, (b"x",))
    writer.make_link(b"l", link_to(b"t"))
    inode = os.stat(place(root, b"f")).st_ino
    new = old._replace(mode=0o4711, mtime=5, xattrs=((b"user.new", b"2"),))
    writer.set_attributes(b"f", new)
    writer.set_attributes(b"l", link_to(b"t")._replace(mtime=7))
    assert read_tree(root) == {b"f": new, b"l": link_to(b"t")._replace(mtime=7)}
    assert os.stat(place(root, b"f")).st_ino == inode


def test_attributes_are_never_given_to_something_else(root: Root, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.touch(mode=0o600)
    os.symlink(victim, place(root, b"f"))
    with pytest.raises(FileChangedError):
        TreeWriter(root).set_attributes(b"f", file_of(b"", 0o666))
    with pytest.raises(FileChangedError):
        TreeWriter(root).set_attributes(b"missing", file_of(b""))
    assert victim.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize(
    ("chunks", "what"),
    [((b"12345",), "not what its sha256"), ((b"123",), "shorter"), ((b"1234", b"56"), "longer")],
)
def test_wrong_content_never_takes_its_place(root: Root, existing: bool, chunks: Iterable[bytes], what: str) -> None:
    writer = TreeWriter(root)
    if existing:
        writer.write_file(b"f", file_of(b"old"), (b"old",))
    with pytest.raises(IntegrityError, match=what):
        writer.write_file(b"f", file_of(b"abcde"), chunks)
    assert os.listdir(root.path) == ([b"f"] if existing else [])
    assert not existing or Path(os.fsdecode(place(root, b"f"))).read_bytes() == b"old"


def test_content_without_a_known_hash_is_taken(root: Root) -> None:
    TreeWriter(root).write_file(b"f", file_of(b"abc")._replace(sha256=b""), (b"x", b"yz"))
    assert Path(os.fsdecode(place(root, b"f"))).read_bytes() == b"xyz"


def test_a_source_that_fails_leaves_nothing(root: Root) -> None:
    def source() -> Iterator[bytes]:
        yield b"half"
        raise IntegrityError("broken", subject="blob", remedy="none")

    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(IntegrityError, match="broken"):
        TreeWriter(root).write_file(b"f", file_of(b"halfhalf"), source())
    assert os.listdir(root.path) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_runs_of_zeros_become_holes(root: Root) -> None:
    data = bytes(1 << 20) + b"x" + bytes(5 << 20) + b"y" * 70_000 + bytes(3 << 20)
    for size in (1 << 20, 100_000, 65536):
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        TreeWriter(root).write_file(b"f", file_of(data), chunks)
        about = os.stat(place(root, b"f"))
        assert about.st_size == len(data)
        assert Path(os.fsdecode(place(root, b"f"))).read_bytes() == data
        assert about.st_blocks * 512 < 1 << 20 or size == 100_000


def test_a_file_above_eight_gibibytes_of_nothing_is_cheap(root: Root) -> None:
    size = (8 << 30) + 12345
    zeros = bytes(1 << 20)
    chunks = [zeros] * (size >> 20) + [zeros[:12345]]
    TreeWriter(root).write_file(b"f", Node(Kind.FILE, 0o644, size=size, **ME), chunks)
    assert os.stat(place(root, b"f")).st_size == size
    assert os.stat(place(root, b"f")).st_blocks < 64


@pytest.mark.parametrize("kind", [Kind.FILE, Kind.LINK, Kind.FIFO, Kind.DIR])
@pytest.mark.parametrize("obstacle", ["link", "file"])
def test_what_is_in_the_way_of_a_path_is_not_followed(root: Root, tmp_path: Path, kind: Kind, obstacle: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    if obstacle == "link":
        os.symlink(outside, place(root, b"d"))
    else:
        os.mknod(place(root, b"d"))
    node = {Kind.FILE: file_of(b""), Kind.LINK: link_to(b"x"), Kind.FIFO: Node(Kind.FIFO, 0o600), Kind.DIR: dir_of()}
    with pytest.raises(UnsafeArchiveError) as caught:
        write_one(TreeWriter(root), b"d/x", node[kind])
    assert caught.value.subject == "d"
    with pytest.raises(UnsafeArchiveError):
        TreeWriter(root).remove(b"d/x", Kind.FILE)
    with pytest.raises(UnsafeArchiveError):
        TreeWriter(root).set_attributes(b"d/x", file_of(b""))
    assert list(outside.iterdir()) == []


def test_a_link_at_a_files_own_place_is_replaced_not_written_through(root: Root, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    os.symlink(victim, place(root, b"f"))
    TreeWriter(root).write_file(b"f", file_of(b"new"), (b"new",))
    assert victim.read_text() == "precious"
    assert not os.path.islink(place(root, b"f"))


def test_nothing_is_written_outside_while_directories_are_swapped_for_links(root: Root, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    os.mkdir(place(root, b"d"))
    swapper = os.fork()
    if swapper == 0:
        real, aside = place(root, b"d"), place(root, b"aside")
        try:
            while True:
                os.rename(real, aside)
                os.symlink(outside, real)
                os.unlink(real)
                os.rename(aside, real)
        finally:
            os._exit(1)
    refused = written = 0
    try:
        # On a busy machine one of the two may not get its turn for long.
        for number in range(200_000):
            if number >= 3000 and written and refused:
                break
            root.close_directory(b"d")
            try:
                TreeWriter(root).write_file(b"d/%d" % number, file_of(b"x"), (b"x",))
                written += 1
            except (UnsafeArchiveError, WorkspaceError):
                refused += 1
    finally:
        os.kill(swapper, 9)
        os.waitpid(swapper, 0)
    assert list(outside.iterdir()) == []
    assert written and refused


def test_a_directory_that_holds_unknown_files_is_not_removed(root: Root) -> None:
    writer = TreeWriter(root)
    writer.make_dir(b"d", dir_of())
    writer.write_file(b"d/mine", file_of(b""), ())
    with pytest.raises(WorkspaceError, match="not empty"):
        writer.remove(b"d", Kind.DIR)
    with pytest.raises(WorkspaceError):
        writer.remove(b"d", Kind.FILE)
    with pytest.raises(UnsafeArchiveError):
        writer.remove(b"d/mine", Kind.DIR)
    assert os.listdir(place(root, b"d")) == [b"mine"]


def test_removing_what_is_not_there_is_fine(root: Root) -> None:
    for kind in (Kind.FILE, Kind.DIR):
        TreeWriter(root).remove(b"missing", kind)
        TreeWriter(root).remove(b"missing/below", kind)
