"""What is pushed comes back the same to the last attribute (design, "Words", "Layers" and "State and scan")."""

from __future__ import annotations

import os
import shutil
import socket
import uuid
from pathlib import Path

import pytest

from agent.errors import WorkspaceError
from tests.fakes.contents import CASES, ROOT_ONLY, make_all, write
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces, let_the_clock_tick

pytestmark = pytest.mark.usefixtures("parts")

EVERY_CASE = [
    pytest.param(name, marks=pytest.mark.skipif(name in ROOT_ONLY and os.geteuid() != 0, reason="needs root"))
    for name in CASES
]


def make_common(top: bytes) -> None:
    """What stands there before a case is put on top."""
    write(top, b"common/file", b"common")
    write(top, b"common/sub/other", b"other", mode=0o755)
    os.symlink(b"file", top + b"/common/link")


@pytest.mark.parametrize("name", EVERY_CASE)
def test_what_is_pushed_comes_back_as_it_was(workspaces: Workspaces, name: str) -> None:
    CASES[name](workspaces.at("a"))
    before = snapshot(workspaces.at("a"))
    workspaces.push("a")
    assert unlike(before, snapshot(workspaces.at("a"))) == {}, "a push changed the directory"
    workspaces.pull("b")
    assert unlike(before, snapshot(workspaces.at("b"))) == {}
    assert workspaces.notices == []
    for name_ in ("a", "b"):
        assert workspaces.changed(name_) == []
        assert workspaces.push(name_).id is None


@pytest.mark.sweep(3)
@pytest.mark.parametrize("name", EVERY_CASE)
def test_what_is_added_and_removed_later_arrives_too(workspaces: Workspaces, name: str) -> None:
    make_common(workspaces.at("a"))
    workspaces.push("a")
    workspaces.pull("b")
    bare = snapshot(workspaces.at("a"))
    CASES[name](workspaces.at("a"))
    full = snapshot(workspaces.at("a"))
    workspaces.push("a")
    for there in ("b", "c"):
        workspaces.pull(there)
        assert unlike(full, snapshot(workspaces.at(there))) == {}
        assert workspaces.changed(there) == []
    for entry in set(os.listdir(workspaces.at("b"))) - {b"common"}:
        remove(os.path.join(workspaces.at("b"), entry))
    workspaces.push("b")
    for there in ("a", "c", "d"):
        workspaces.pull(there)
        assert unlike(bare, snapshot(workspaces.at(there))) == {}
        assert workspaces.push(there).id is None


def remove(place: bytes) -> None:
    if os.path.isdir(place) and not os.path.islink(place):
        shutil.rmtree(place)
    else:
        os.unlink(place)


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_everything_at_once_comes_back_in_every_compression(workspaces: Workspaces, compression: str) -> None:
    make_all(workspaces.at("a"))
    workspaces.push("a", compression=compression)
    workspaces.pull("b", verify_whole=True)
    assert unlike(snapshot(workspaces.at("a")), snapshot(workspaces.at("b"))) == {}


def test_everything_at_once_comes_back_from_a_registry(registry: str, tmp_path: Path) -> None:
    there = Workspaces(tmp_path, f"{registry}/fidelity/{uuid.uuid4().hex}:ws")
    make_common(there.at("a"))
    there.push("a")
    there.pull("b")
    make_all(there.at("a"))
    there.push("a")
    for name in ("b", "c"):
        there.pull(name)
        assert unlike(snapshot(there.at("a")), snapshot(there.at(name))) == {}
        assert there.push(name).id is None
    there.close()


CHANGES = {
    "mode of a file": lambda top: os.chmod(top + b"/common/file", 0o4711),
    "mode of a directory": lambda top: os.chmod(top + b"/common/sub", 0o1700),
    "mode to nothing": lambda top: os.chmod(top + b"/common/file", 0),
    "attribute of a file": lambda top: os.setxattr(top + b"/common/file", "user.new", b"1"),
    "attribute of a directory": lambda top: os.setxattr(top + b"/common/sub", "user.new", b"1"),
    "attribute removed": lambda top: os.removexattr(top + b"/kept/x", "user.old"),
    "attribute emptied": lambda top: os.setxattr(top + b"/kept/x", "user.old", b""),
    "time of a file": lambda top: os.utime(top + b"/common/file", ns=(7, 1_234_567_891)),
    "time of a link": lambda top: os.utime(top + b"/common/link", ns=(7, 9), follow_symlinks=False),
    "time of one of two names": lambda top: os.utime(top + b"/kept/y", ns=(7, 1_234_567_891)),
    "mode of one of two names": lambda top: os.chmod(top + b"/kept/y", 0o600),
    "content of the same size": lambda top: write_at(top + b"/common/file", b"COMMON"),
    "content with the old time": lambda top: write_at(top + b"/common/file", b"COMMON", keep_time=True),
    "content of one of two names": lambda top: write_at(top + b"/kept/y", b"longer than before"),
    "target of a link": lambda top: replace_link(top + b"/common/link", b"sub/other"),
    "a fifo's mode": lambda top: os.chmod(top + b"/kept/pipe", 0o777),
    "owner": lambda top: os.chown(top + b"/common/file", 12, 34),
    "owner of a link": lambda top: os.chown(top + b"/common/link", 12, 34, follow_symlinks=False),
    "owner of a directory": lambda top: os.chown(top + b"/common/sub", 12, 34),
}


@pytest.mark.sweep(3)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root"))
        if name.startswith("owner") or name == "mode to nothing"
        else name
        for name in CHANGES
    ],
)
def test_a_change_in_place_arrives(workspaces: Workspaces, name: str) -> None:
    make_common(workspaces.at("a"))
    os.setxattr(write(workspaces.at("a"), b"kept/x", b"kept"), "user.old", b"old")
    os.link(workspaces.at("a") + b"/kept/x", workspaces.at("a") + b"/kept/y")
    os.mkfifo(workspaces.at("a") + b"/kept/pipe")
    workspaces.push("a")
    workspaces.pull("b")
    let_the_clock_tick()
    CHANGES[name](workspaces.at("a"))
    report = workspaces.push("a")
    assert report.id is not None
    assert report.written + report.touched <= 2
    for there in ("b", "c"):
        workspaces.pull(there)
        assert unlike(snapshot(workspaces.at("a")), snapshot(workspaces.at(there))) == {}
        assert workspaces.push(there).id is None


def write_at(place: bytes, content: bytes, *, keep_time: bool = False) -> None:
    before = os.stat(place)
    with open(place, "r+b") as file:
        file.write(content)
    if keep_time:
        os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_link(place: bytes, target: bytes) -> None:
    os.unlink(place)
    os.symlink(target, place)


def test_the_time_of_a_directory_alone_is_no_change(workspaces: Workspaces) -> None:
    make_common(workspaces.at("a"))
    workspaces.push("a")
    os.utime(workspaces.at("a") + b"/common", ns=(5, 5))
    assert workspaces.push("a").id is None


def test_holes_stay_cheap(workspaces: Workspaces) -> None:
    CASES["sparse files"](workspaces.at("a"))
    workspaces.push("a")
    report = workspaces.pull("b")
    assert report.traffic.received < 1 << 20
    for name in (b"all hole", b"middle", b"odd"):
        about = os.stat(workspaces.at("b") + b"/sparse/" + name)
        assert about.st_size > 40 << 20
        assert about.st_blocks * 512 <= 1 << 18


@pytest.mark.slow
@pytest.mark.timeout(300)  # 32 GiB of zeros to hash, which takes its time on a busy machine
def test_a_file_beyond_8_gib_comes_back(workspaces: Workspaces, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (8 << 30) + 1
    with open(workspaces.at("a") + b"/huge", "wb") as file:
        file.truncate(size)
        os.pwrite(file.fileno(), b"end", size - 3)
    read = 0
    real = os.pread

    def counted(fd: int, length: int, offset: int) -> bytes:
        nonlocal read
        data = real(fd, length, offset)
        read += len(data)
        return data

    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", counted)
        workspaces.push("a")
    assert read < 8 << 20, "holes were read"
    workspaces.pull("b")
    about = os.stat(workspaces.at("b") + b"/huge")
    assert (about.st_size, about.st_blocks < 2048) == (size, True)
    assert unlike(snapshot(workspaces.at("a")), snapshot(workspaces.at("b"))) == {}


def test_sockets_are_left_out_and_named(workspaces: Workspaces) -> None:
    make_common(workspaces.at("a"))
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.getcwd()
        os.chdir(workspaces.at("a"))  # a socket's path may have 107 bytes only
        try:
            listening.bind("common/socket")
        finally:
            os.chdir(here)
        workspaces.push("a")
        assert [text for text in workspaces.notices if "common/socket" in text]
        assert len(workspaces.notices) == 1
        assert workspaces.push("a").id is None
        workspaces.pull("b")
    assert os.listdir(workspaces.at("b") + b"/common").count(b"socket") == 0
    assert unlike(snapshot(workspaces.at("a")), snapshot(workspaces.at("b"))) == {}


@pytest.mark.parametrize("name", [b".wh.x", b".wh.", b".wh..wh..opq", b"d/.wh.x/below", b".wh..wh.plnk/1"])
def test_a_name_that_would_be_a_deletion_is_refused_before_anything_is_sent(
    workspaces: Workspaces, name: bytes
) -> None:
    write(workspaces.at("a"), name, b"x")
    write(workspaces.at("a"), b"other", b"x")
    with pytest.raises(WorkspaceError, match=r"\.wh\."):
        workspaces.push("a")
    assert not (workspaces.place / "layout" / "index.json").exists()
    assert not list((workspaces.place / "layout").rglob("sha256/*"))
