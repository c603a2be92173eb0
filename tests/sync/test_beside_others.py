"""A pull beside others, who write into the directory before it and meanwhile: what they wrote is theirs and stays."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any

import pytest

from agent.errors import DivergedError
from agent.sync.operation.options import PullOptions
from agent.sync.pull_steps.pull_directory import pull
from tests.fakes.contents import write
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Notices, Workspaces


class Meanwhile(Notices):
    """Does something when the pull has made its plan and its directories."""

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__()
        self._act = act

    def stage(self, name: str, total: int | None = None, unit: str = "paths") -> None:
        if name == "fetch":
            self._act()


@pytest.fixture
def filled(workspaces: Workspaces) -> Workspaces:
    """A target with some of everything."""
    a = workspaces.at("a")
    for path in (b"file", b"d/one", b"d/two", b"e/deep/x"):
        write(a, path, b"of the workspace: " + path)
    os.symlink(b"file", a + b"/link")
    os.mkfifo(a + b"/fifo")
    for name in (b"names/1", b"names/2", b"names/3"):
        os.makedirs(a + b"/names", exist_ok=True)
        if name == b"names/1":
            write(a, name, b"several names")
        else:
            os.link(a + b"/names/1", a + b"/" + name)
    os.chmod(a + b"/d", 0o2750)
    workspaces.push("a")
    return workspaces


def arrived(workspaces: Workspaces, name: str) -> None:
    """Push a directory and see that it arrives elsewhere as it is."""
    workspaces.push(name)
    workspaces.pull("fresh")
    there, here = (snapshot(workspaces.at(place), directory_mtimes=False) for place in ("fresh", name))
    assert unlike(there, here) == {}


def test_without_others_the_pull_is_the_same(filled: Workspaces) -> None:
    filled.pull("b", keep=True)
    assert unlike(snapshot(filled.at("a")), snapshot(filled.at("b"))) == {}
    assert filled.changed("b") == []
    assert filled.notices == []


def test_what_stood_there_before_stays_and_counts_as_added(filled: Workspaces) -> None:
    write(filled.at("b"), b"d/theirs", b"theirs")
    write(filled.at("b"), b"own/theirs", b"theirs")
    filled.pull("b", keep=True)
    assert filled.changed("b") == [("added", b"d/theirs"), ("added", b"own"), ("added", b"own/theirs")]
    arrived(filled, "b")


def test_what_stood_in_the_place_of_something_stays_and_counts_as_changed(filled: Workspaces) -> None:
    b = filled.at("b")
    write(b, b"file", b"theirs")
    os.mkdir(b + b"/e")
    write(b, b"link", b"a file now")
    os.symlink(b"elsewhere", b + b"/fifo")
    filled.pull("b", keep=True)
    assert any("left as it is" in text and "3" in text for text in filled.notices)
    assert {path for _, path in filled.changed("b")} == {b"file", b"link", b"fifo"}
    assert stat.S_IMODE(os.stat(b + b"/d").st_mode) == 0o2750
    arrived(filled, "b")
    with open(filled.at("fresh") + b"/file", "rb") as file:
        assert file.read() == b"theirs"


def test_what_comes_meanwhile_is_treated_alike(filled: Workspaces) -> None:
    b = filled.at("b")

    def sidecar() -> None:
        write(b, b"d/one", b"theirs")
        write(b, b"d/new", b"theirs")

    pull(filled.site("b")._replace(progress=Meanwhile(sidecar)), PullOptions(keep=True))
    assert filled.changed("b") == [("added", b"d/new"), ("changed", b"d/one")]
    arrived(filled, "b")


def test_a_file_that_is_as_it_shall_be_is_no_change(filled: Workspaces) -> None:
    write(filled.at("b"), b"file", b"of the workspace: file")
    filled.pull("b", keep=True)
    assert {mark for mark, _ in filled.changed("b")} == {"touched"}


@pytest.mark.parametrize("taken", [b"1", b"2", b"3"])
def test_names_of_one_file_are_never_tied_to_a_file_of_others(filled: Workspaces, taken: bytes) -> None:
    b = filled.at("b")
    write(b, b"names/" + taken, b"theirs")
    filled.pull("b", keep=True)
    rest = sorted({b"1", b"2", b"3"} - {taken})
    inodes = {name: os.stat(b + b"/names/" + name).st_ino for name in (*rest, taken)}
    assert inodes[rest[0]] == inodes[rest[1]] != inodes[taken]
    arrived(filled, "b")


@pytest.mark.parametrize("path", [b"file", b"link", b"fifo", b"names/2"])
def test_a_directory_in_the_place_of_something_else_is_refused(filled: Workspaces, path: bytes) -> None:
    os.makedirs(filled.at("b") + b"/" + path)
    with pytest.raises(DivergedError, match=os.path.basename(path).decode()):
        filled.pull("b", keep=True)
    assert os.path.isdir(filled.at("b") + b"/" + path)


def test_something_else_in_the_place_of_a_directory_is_refused(filled: Workspaces) -> None:
    write(filled.at("b"), b"d", b"theirs")
    with pytest.raises(DivergedError, match="d"):
        filled.pull("b", keep=True)
    assert os.path.isfile(filled.at("b") + b"/d")
    with pytest.raises(DivergedError, match="interrupted"):
        filled.pull("b", keep=True)


def test_a_deletion_of_what_was_pulled_is_a_deletion(filled: Workspaces) -> None:
    write(filled.at("b"), b"file", b"theirs")
    filled.pull("b", keep=True)
    os.unlink(filled.at("b") + b"/file")
    arrived(filled, "b")
    assert not os.path.exists(filled.at("fresh") + b"/file")


def test_a_second_pull_keeps_to_the_rules_of_every_pull(filled: Workspaces) -> None:
    filled.pull("b", keep=True)
    write(filled.at("a"), b"file", b"newer")
    filled.push("a")
    filled.pull("b", keep=True)
    assert unlike(snapshot(filled.at("a")), snapshot(filled.at("b"))) == {}
    write(filled.at("b"), b"theirs", b"theirs")
    with pytest.raises(DivergedError, match="local changes"):
        filled.pull("b", keep=True)


def test_directories_that_stand_are_not_made_anew(filled: Workspaces) -> None:
    os.makedirs(filled.at("b") + b"/e/deep")
    before = [os.stat(filled.at("b") + path).st_ino for path in (b"", b"/e", b"/e/deep")]
    filled.pull("b", keep=True, paths=(b"e/deep",))
    assert [os.stat(filled.at("b") + path).st_ino for path in (b"", b"/e", b"/e/deep")] == before
    assert os.listdir(filled.at("b")) == [b"e"]


def test_a_push_below_a_path_takes_nothing_else(filled: Workspaces) -> None:
    b = filled.at("b")
    filled.pull("b", keep=True, paths=(b"e/deep",))
    write(b, b"e/deep/new", b"new")
    write(b, b"e/beside", b"not this")
    write(b, b"file", b"nor this")
    os.unlink(b + b"/e/deep/x")
    report = filled.push("b", below=b"e/deep")
    assert (report.written, report.deleted) == (1, 1)
    filled.pull("fresh")
    there = snapshot(filled.at("fresh"))
    assert b"e/deep/new" in there and b"e/deep/x" not in there and b"e/beside" not in there
    assert {b"file", b"d/one", b"names/3"} <= there.keys()
    with open(filled.at("fresh") + b"/file", "rb") as file:
        assert file.read() == b"of the workspace: file"


def test_a_push_below_a_path_that_the_target_lacks_makes_it(filled: Workspaces) -> None:
    os.makedirs(filled.at("b") + b"/new/dir")
    filled.pull("b", keep=True, paths=(b"new/dir",))
    write(filled.at("b"), b"new/dir/x", b"x")
    write(filled.at("b"), b"new/y", b"y")
    filled.push("b", below=b"new/dir")
    filled.pull("fresh")
    assert {path for path in snapshot(filled.at("fresh")) if path.startswith(b"new")} == {
        b"new",
        b"new/dir",
        b"new/dir/x",
    }


def test_a_push_below_a_path_that_is_gone_deletes_what_was_below(filled: Workspaces) -> None:
    filled.pull("b", keep=True, paths=(b"e/deep",))
    os.unlink(filled.at("b") + b"/e/deep/x")
    os.rmdir(filled.at("b") + b"/e/deep")
    os.rmdir(filled.at("b") + b"/e")
    filled.push("b", below=b"e/deep", allow_empty=True)
    filled.pull("fresh")
    assert b"file" in snapshot(filled.at("fresh")) and b"e" not in snapshot(filled.at("fresh"))
