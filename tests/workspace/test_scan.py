import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.directory.state_row import ScannedPath
from agent.errors import FileChangedError, WorkspaceError
from agent.workspace.filesystem.root import Root, open_root
from agent.workspace.scan.tree_walk import TEMPORARY, TreeWalk


def quiet(path: bytes, why: str) -> None:
    raise AssertionError(f"{path!r}: {why}")


def paths(root: Root) -> list[bytes]:
    return [found.path for found in TreeWalk(root, quiet)]


def make(root: Root, *names: bytes) -> None:
    for name in names:
        full = os.path.join(root.path, name)
        if name.endswith(b"/"):
            os.makedirs(full)
        else:
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "wb") as file:
                file.write(name)


def test_order_is_that_of_the_bytes_of_whole_paths(root: Root) -> None:
    make(root, b"a/b", b"a-b", b"a.d/x", b"a0", b"B/\xff", b"B/\x01", b"a/c.c/d", b"a/c/d", b"a/c d")
    found = paths(root)
    assert found == sorted(found)
    assert found[2:6] == [b"B/\xff", b"a", b"a-b", b"a.d"]


NAMES = st.binary(min_size=1, max_size=4).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..", b".wh.")
)


@settings(max_examples=40, deadline=None)
@given(st.sets(st.lists(NAMES, min_size=1, max_size=4).map(b"/".join), max_size=12))
def test_every_directory_is_found_in_order(tmp_path_factory: pytest.TempPathFactory, wanted: set[bytes]) -> None:
    with open_root(tmp_path_factory.mktemp("scan")) as root:
        expected = set()
        for path in wanted:
            os.makedirs(os.path.join(root.path, path), exist_ok=True)
            parts = path.split(b"/")
            expected |= {b"/".join(parts[: end + 1]) for end in range(len(parts))}
        assert paths(root) == sorted(expected)


@settings(max_examples=60, deadline=None)
@given(
    st.sets(st.lists(NAMES, min_size=1, max_size=4).map(b"/".join), max_size=12),
    st.sets(st.lists(NAMES, min_size=1, max_size=4).map(b"/".join), max_size=4),
    st.data(),
)
def test_every_path_is_found_in_one_of_the_parts(
    tmp_path_factory: pytest.TempPathFactory, wanted: set[bytes], cuts: set[bytes], data: st.DataObject
) -> None:
    with open_root(tmp_path_factory.mktemp("scan")) as root:
        for path in wanted:
            os.makedirs(os.path.join(root.path, path), exist_ok=True)
        whole = list(TreeWalk(root, quiet))
        if whole:
            cuts = cuts | data.draw(st.sets(st.sampled_from([found.path for found in whole]), max_size=4))
        starts = [b"", *sorted(cuts)]
        parts = [
            list(TreeWalk(root, quiet, start=start, stop=stop))
            for start, stop in zip(starts, [*starts[1:], None], strict=True)
        ]
        assert [found for part in parts for found in part] == whole


def test_what_is_left_out_is_told_by_one_part_only(root: Root) -> None:
    make(root, b"d/.wh..instep-1", b"d/a", b"d/z")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.join(root.path, b"d/s"))
        told: list[bytes] = []
        left: list[bytes] = []
        for start, stop in ((b"", b"d/b"), (b"d/b", b"d/t"), (b"d/t", None)):
            part = TreeWalk(root, lambda path, why: told.append(path), start=start, stop=stop)
            list(part)
            left += part.leftovers
    assert told == [b"d/s"]
    assert left == [b"d/.wh..instep-1"]


def test_a_part_asks_for_nothing_that_lies_outside(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    make(root, b"d/a", b"d/m", b"d/z", b"e/x/")
    listed: list[int] = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda fd: (listed.append(fd), real(fd))[1])
    assert [found.path for found in TreeWalk(root, quiet, start=b"d/b", stop=b"d/n")] == [b"d/m"]
    assert len(listed) == 2


def test_what_is_found_is_what_lstat_says(root: Root) -> None:
    make(root, b"f")
    os.link(os.path.join(root.path, b"f"), os.path.join(root.path, b"g"))
    os.symlink(b"nowhere", os.path.join(root.path, b"l"))
    os.mkfifo(os.path.join(root.path, b"p"))
    found = list(TreeWalk(root, quiet))
    assert all(type(item) is ScannedPath and item == root.lstat(item.path) for item in found)
    assert [item.nlink for item in found] == [2, 2, 1, 1]
    assert found[0].fingerprint.ino == found[1].fingerprint.ino


def test_device_numbers_are_found(root: Root) -> None:
    try:
        os.mknod(os.path.join(root.path, b"null"), 0o20666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("needs the right to make devices")
    assert [found.device for found in TreeWalk(root, quiet)] == [(1, 3)]


def test_sockets_are_left_out_with_a_warning(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    make(root, b"d/f")
    monkeypatch.chdir(os.fsdecode(root.path))
    warned = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("d/s")
        found = [item.path for item in TreeWalk(root, lambda path, why: warned.append((path, why)))]
    assert found == [b"d", b"d/f"]
    assert [path for path, _ in warned] == [b"d/s"]


def test_whiteout_names_are_refused_by_name(root: Root) -> None:
    make(root, *(b"d/.wh.%02d" % number for number in range(12)))
    seen = []
    with pytest.raises(WorkspaceError) as caught:
        seen += paths(root)
    assert caught.value.subject.startswith("d/.wh.0")
    assert caught.value.subject.count(".wh.") == 10
    assert caught.value.subject.endswith("and 2 more")


def test_leftovers_of_a_killed_pull_are_no_part_of_the_tree(root: Root) -> None:
    make(root, b"d/f", b"d/" + TEMPORARY + b"77-1")
    walk = TreeWalk(root, quiet)
    assert [found.path for found in walk] == [b"d", b"d/f"]
    assert walk.leftovers == [b"d/" + TEMPORARY + b"77-1"]


def test_an_unreadable_directory_is_not_an_empty_one(strangers_directory: str, as_stranger: Callable[..., Any]) -> None:
    with open_root(strangers_directory) as root:
        make(root, b"a/f", b"b/f")
        os.chmod(os.path.join(root.path, b"b"), 0o700)
        with pytest.raises(WorkspaceError, match="Permission denied") as caught:
            as_stranger(lambda: paths(root))
        assert caught.value.subject == "b"


def test_entries_that_cannot_be_examined_stop_the_scan(
    strangers_directory: str, as_stranger: Callable[..., Any]
) -> None:
    with open_root(strangers_directory) as root:
        make(root, b"d/f")
        os.chmod(os.path.join(root.path, b"d"), 0o744)  # lists names, but lets no one through to them
        with pytest.raises(WorkspaceError, match="cannot be examined") as caught:
            as_stranger(lambda: paths(root))
        assert caught.value.subject == "d/f"


def test_what_vanishes_while_scanning_is_absent(root: Root) -> None:
    make(root, b"a/f", b"b/f", b"c")
    walk = iter(TreeWalk(root, quiet))
    first = next(walk).path
    os.unlink(os.path.join(root.path, b"b/f"))
    os.rmdir(os.path.join(root.path, b"b"))
    assert [first, *(found.path for found in walk)] == [b"a", b"a/f", b"b", b"c"]


def test_a_second_scan_sees_a_directory_that_was_replaced(root: Root) -> None:
    make(root, b"d/old")
    assert paths(root) == [b"d", b"d/old"]
    os.rename(os.path.join(root.path, b"d"), os.path.join(root.path, b"e"))
    make(root, b"d/new")
    assert paths(root) == [b"d", b"d/new", b"e", b"e/old"]


def test_a_directory_that_becomes_a_link_is_not_followed(root: Root, tmp_path: Path) -> None:
    make(root, b"a", b"b/f")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").touch()
    walk = iter(TreeWalk(root, quiet))
    next(walk)
    os.rename(os.path.join(root.path, b"b"), tmp_path / "b")
    os.symlink(tmp_path / "secret", os.path.join(root.path, b"b"))
    with pytest.raises(FileChangedError):
        list(walk)


def test_a_root_that_is_gone_is_no_empty_workspace(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    with open_root(tmp_path / "gone") as root:
        os.rmdir(tmp_path / "gone")
        with pytest.raises(FileChangedError, match="was removed"):
            paths(root)
