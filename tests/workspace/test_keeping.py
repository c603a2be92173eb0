"""A writer that keeps what others put into the directory."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.core.directory.state_row import PREEXISTING_FINGERPRINT
from agent.core.model.entry import Kind, Node
from agent.errors import DivergedError
from agent.workspace.filesystem.root import Root, open_root
from agent.workspace.scan.tree_walk import TreeWalk
from agent.workspace.write.tree_writer import TreeWriter
from tests.fakes.contents import write

SECOND = 10**9


def a_file(data: bytes) -> Node:
    return Node(Kind.FILE, 0o640, os.geteuid(), os.getegid(), SECOND, len(data))


@pytest.fixture(params=["links", "no links"])
def keeping(request: pytest.FixtureRequest, root: Root, monkeypatch: pytest.MonkeyPatch) -> TreeWriter:
    """A writer, on a file system with hard links and on one without."""
    if request.param == "no links":

        def refuse(*_: Any, **__: Any) -> None:
            raise OSError(errno.EPERM, "no hard links here")

        monkeypatch.setattr(os, "link", refuse)
    return TreeWriter(root, keep=True)


def test_what_is_free_is_written_and_leaves_nothing_beside(keeping: TreeWriter, root: Root) -> None:
    stands = keeping.write_file(b"new", a_file(b"data"), [b"data"])
    keeping.make_link(b"link", Node(Kind.LINK, 0o777, os.geteuid(), os.getegid(), target=b"new"))
    found = root.lstat(b"new")
    assert found is not None and found.fingerprint == stands
    assert (found.nlink, stands.mtime, stands.mode & 0o7777) == (1, SECOND, 0o640)
    assert sorted(os.listdir(root.path)) == [b"link", b"new"]
    assert keeping.left_out == []


def test_what_stands_is_left_alone(keeping: TreeWriter, root: Root) -> None:
    write(root.path, b"file", b"theirs")
    assert keeping.write_file(b"file", a_file(b"ours"), [b"ours"]) == PREEXISTING_FINGERPRINT
    with open(root.path + b"/file", "rb") as file:
        assert file.read() == b"theirs"
    assert (keeping.left_out, os.listdir(root.path)) == ([b"file"], [b"file"])


def test_what_comes_while_it_is_written_is_left_alone(keeping: TreeWriter, root: Root) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"ou"
        write(root.path, b"file", b"theirs")
        yield b"rs"

    assert keeping.write_file(b"file", a_file(b"ours"), chunks()) == PREEXISTING_FINGERPRINT
    with open(root.path + b"/file", "rb") as file:
        assert file.read() == b"theirs"


def test_a_dangling_link_stands_too(keeping: TreeWriter, root: Root) -> None:
    os.symlink(b"nowhere", root.path + b"/file")
    assert keeping.write_file(b"file", a_file(b"ours"), [b"ours"]) == PREEXISTING_FINGERPRINT
    assert os.readlink(root.path + b"/file") == b"nowhere"


def test_a_directory_is_no_file(keeping: TreeWriter, root: Root) -> None:
    os.mkdir(root.path + b"/file")
    with pytest.raises(DivergedError):
        keeping.write_file(b"file", a_file(b"ours"), [b"ours"])
    assert os.listdir(root.path) == [b"file"]


def test_a_directory_of_another_user_keeps_its_attributes(
    strangers_directory: str, as_stranger: Callable[..., Any]
) -> None:
    theirs = os.path.join(strangers_directory, "theirs")
    os.mkdir(theirs)
    os.chmod(theirs, 0o777)

    def act() -> list[str]:
        with open_root(strangers_directory) as root:
            writer = TreeWriter(root, keep=True)
            writer.make_dir(b"theirs", Node(Kind.DIR, 0o700, 0, 0, SECOND))
            writer.write_file(b"theirs/new", Node(Kind.FILE, 0o600, 0, 0, SECOND, 1), [b"x"])
            writer.finish()
            return writer.notices

    notices = as_stranger(act)
    assert any("directories that others made" in text for text in notices)
    assert os.stat(theirs).st_mode & 0o7777 == 0o777
    assert os.listdir(theirs) == ["new"]


@pytest.mark.parametrize(
    ("below", "found"),
    [
        (b"d/in", [b"d", b"d/in", b"d/in/x"]),
        (b"d", [b"d", b"d/in", b"d/in/x", b"d/y"]),
        (b"d/y", [b"d", b"d/y"]),
        (b"d/none/more", [b"d"]),
        (b"d/y/z", [b"d", b"d/y"]),
        (b"link/in", [b"link"]),
    ],
)
def test_a_scan_below_a_path_sees_nothing_else(root: Root, below: bytes, found: list[bytes], tmp_path: Path) -> None:
    for path in (b"d/in/x", b"d/y", b"d.z", b"e"):
        write(root.path, path)
    write(root.path, b".wh.refused")
    os.symlink(b"d", root.path + b"/link")
    assert [row.path for row in TreeWalk(root, lambda path, why: None, below)] == found
