"""Another directory at the path of one that was pulled: its state is set aside, never believed, never lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.core.model.entry import MARK
from agent.errors import DivergedError
from agent.sync.operation.options import PushOptions
from agent.sync.push_steps.push_directory import push
from agent.workspace.filesystem.durable_files import read_checksummed, write_checksummed
from agent.workspace.state.state_file import read_state, write_state
from tests.fakes.contents import write
from tests.fakes.killing import killed_at
from tests.fakes.memory_workspaces import MemoryWorkspaces
from tests.fakes.plain import on_disk
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces

NEW = "memory.test/team/ws:new"
OTHER = "another directory or mount than the one that was pulled into"


def takes_marks(path: bytes) -> bool:
    try:
        os.setxattr(path, "user.try", b"1")
        os.removexattr(path, "user.try")
    except OSError:
        return False
    return True


@pytest.fixture
def pulled(memory: MemoryWorkspaces) -> MemoryWorkspaces:
    """A workspace pushed from `a` and pulled into `b`."""
    if not takes_marks(memory.at("a")):
        pytest.skip("the file system takes no extended attributes")
    write(memory.at("a"), b"d/one", b"one")
    write(memory.at("a"), b"two", b"two")
    memory.push("a")
    memory.pull("b")
    return memory


def header(memory: MemoryWorkspaces, name: str = "b", **changed: Any) -> dict[str, Any]:
    """Return what the state says of itself, after changing it."""
    path = str(memory.place / f".state-{name}" / "state")
    state = read_state(path)
    assert state is not None
    with state:
        if changed:
            write_state(path, {**state.header, **changed}, list(state))
        return {**state.header, **changed}


def make_again(memory: MemoryWorkspaces, *, with_inode_of_old: bool) -> None:
    """Remove `b` and make it again, with something in it; whether it gets the number of the old one is chosen here."""
    old = header(memory)["root"]
    if with_inode_of_old:
        shutil.rmtree(memory.at("b"))
        about = os.stat(memory.at("b"))
        header(memory, root=[about.st_dev, about.st_ino])
        for name in ("intent", "pulling"):
            path = memory.place / ".state-b" / name
            if value := read_checksummed(path):
                write_checksummed(path, {**value, "root": [about.st_dev, about.st_ino]})
    else:
        os.rename(memory.at("b"), memory.place / "moved")
        assert os.stat(memory.at("b")).st_ino != old[1]
    write(memory.at("b"), b"mine", b"mine")


@pytest.mark.parametrize("reused", [False, True], ids=["another inode", "the same inode"])
class TestMadeAgain:
    def test_it_is_pushed_to_a_new_target_as_a_fresh_one(self, pulled: MemoryWorkspaces, reused: bool) -> None:
        make_again(pulled, with_inode_of_old=reused)
        report = pulled.push("b", to=NEW)
        assert (report.written, report.deleted) == (1, 0)
        (said,) = pulled.notices
        kept = said.rpartition(" ")[2]
        assert "what was remembered of another directory, which was here before, is kept in" in said
        assert os.path.dirname(kept) == str(pulled.place / ".state-b")
        assert os.path.exists(kept)
        assert [change.parents for change in pulled.log(NEW)] == [[]]
        pulled.pull("z", target=NEW)
        assert sorted(on_disk(pulled.at("z"))) == ["mine"]
        assert pulled.push("b", to=NEW).id is None
        assert pulled.notices == []

    def test_nothing_of_it_goes_to_the_old_target(self, pulled: MemoryWorkspaces, reused: bool) -> None:
        make_again(pulled, with_inode_of_old=reused)
        before, disk = pulled.frozen("b"), snapshot(pulled.at("b"))
        with pytest.raises(DivergedError, match=f"already holds a workspace.*{OTHER}; .*another tag"):
            pulled.push("b", allow_empty=True)
        with pytest.raises(DivergedError, match=OTHER):
            pulled.pull("b")
        with pytest.raises(DivergedError, match=OTHER):
            pulled.status("b")
        with pytest.raises(DivergedError, match=OTHER):
            push(pulled.site("b", NEW), PushOptions(lane="b", pulled=True))
        assert pulled.frozen("b") == before
        assert unlike(disk, snapshot(pulled.at("b"))) == {}

    def test_emptied_it_is_pulled_as_a_fresh_one(self, pulled: MemoryWorkspaces, reused: bool) -> None:
        make_again(pulled, with_inode_of_old=reused)
        os.unlink(pulled.at("b") + b"/mine")
        assert pulled.pull("b").written == 2
        assert len(pulled.notices) == 1
        assert unlike(snapshot(pulled.at("a")), snapshot(pulled.at("b"))) == {}
        write(pulled.at("b"), b"more", b"more")
        assert pulled.push("b").written == 1

    def test_force_gives_it_up(self, pulled: MemoryWorkspaces, reused: bool) -> None:
        make_again(pulled, with_inode_of_old=reused)
        pulled.pull("b", force=True)
        assert unlike(snapshot(pulled.at("a")), snapshot(pulled.at("b"))) == {}
        assert pulled.changed("b") == []

    def test_the_push_that_died_in_the_old_one_is_not_ended_in_the_new_one(
        self, pulled: MemoryWorkspaces, reused: bool
    ) -> None:
        write(pulled.at("b"), b"old", b"old")
        die_when_head_moves(pulled)
        make_again(pulled, with_inode_of_old=reused)
        with pytest.raises(DivergedError, match="already holds a workspace"):
            pulled.push("b")
        assert pulled.push("b", to=NEW).written == 1

    def test_the_pull_that_died_in_the_old_one_wipes_nothing_in_the_new_one(
        self, pulled: MemoryWorkspaces, reused: bool
    ) -> None:
        state = interrupt_first_pull(pulled)
        marker = read_checksummed(state / "pulling")
        os.rename(pulled.at("c"), pulled.place / "moved")
        if reused:
            about = os.stat(pulled.at("c"))
            write_checksummed(state / "pulling", {**(marker or {}), "root": [about.st_dev, about.st_ino]})
        write(pulled.at("c"), b"mine", b"mine")
        with pytest.raises(DivergedError, match="was not pulled by this program"):
            pulled.pull("c")
        assert sorted(on_disk(pulled.at("c"))) == ["mine"]


def interrupt_first_pull(memory: MemoryWorkspaces) -> Path:
    """Pull into `c`, and die when something is there; return where that is remembered."""
    state, number = memory.place / ".state-c", 0
    while not os.listdir(memory.at("c")):
        assert killed_at(number, lambda: memory.pull("c"))
        number += 1
    assert (state / "pulling").exists()
    assert not (state / "state").exists()
    return state


def die_when_head_moves(memory: MemoryWorkspaces) -> None:
    class Killed(BaseException):
        pass

    def strike(name: str, subject: str) -> None:
        if name == "put_manifest" and subject == "main":
            raise Killed

    memory.store.before = strike
    with pytest.raises(Killed):
        memory.push("b")
    memory.store.before = None


def test_the_old_one_is_known_again_when_it_is_back(pulled: MemoryWorkspaces) -> None:
    """With all that was remembered of it: a push that died, and then what it changed."""
    write(pulled.at("b"), b"late", b"late")
    die_when_head_moves(pulled)
    make_again(pulled, with_inode_of_old=False)
    pulled.push("b", to=NEW)
    write(pulled.at("b"), b"mine", b"more")
    for _ in range(2):
        os.rename(pulled.at("b"), pulled.place / "new one")
        os.rename(pulled.place / "moved", pulled.place / "b")
        assert pulled.changed("b") == [("added", b"late")]
        os.rename(pulled.at("b"), pulled.place / "moved")
        os.rename(pulled.place / "new one", pulled.place / "b")
        assert pulled.changed("b") == [("changed", b"mine")]
    assert pulled.push("b", to=NEW).written == 1
    shutil.rmtree(pulled.at("b"))
    os.rename(pulled.place / "moved", pulled.place / "b")
    report = pulled.push("b")
    assert report.id == pulled.log()[0].id
    assert len(pulled.log()) == 2  # the push that died, once
    assert pulled.changed("b") == []


def test_a_pull_that_died_in_the_old_one_is_known_again_when_that_is_back(pulled: MemoryWorkspaces) -> None:
    write(pulled.at("a"), b"two", b"changed")
    write(pulled.at("a"), b"three", b"three")
    pulled.push("a")
    assert killed_at(12, lambda: pulled.pull("b"))
    assert pulled.status("b").interrupted
    make_again(pulled, with_inode_of_old=False)
    os.unlink(pulled.at("b") + b"/mine")
    pulled.pull("b")
    assert not pulled.status("b").interrupted
    shutil.rmtree(pulled.at("b"))
    os.rename(pulled.place / "moved", pulled.place / "b")
    assert pulled.status("b").interrupted
    with pytest.raises(DivergedError, match="interrupted"):
        pulled.push("b")
    pulled.pull("b")
    assert unlike(snapshot(pulled.at("a")), snapshot(pulled.at("b"))) == {}


@pytest.mark.parametrize("how", ["with its mark", "without, untouched", "without, all changed"])
def test_a_device_that_has_another_number_at_each_boot(pulled: MemoryWorkspaces, how: str) -> None:
    """Network file systems, overlay and btrfs are given one when they are mounted."""
    device, inode = header(pulled)["root"]
    header(pulled, root=[device + 1, inode])
    write(pulled.at("b"), b"new", b"new")
    if how != "with its mark":
        os.removexattr(pulled.at("b"), MARK)
    if how == "without, all changed":
        for path in (b"d/one", b"two"):
            write(pulled.at("b"), path, b"changed")
        os.chmod(pulled.at("b") + b"/d", 0o700)
        with pytest.raises(DivergedError, match=OTHER):
            pulled.status("b")
        assert pulled.push("b", to=NEW).written == 4
        return
    assert pulled.changed("b") == [("added", b"new")]
    assert pulled.push("b").written == 1
    assert header(pulled)["root"] == [device, inode]


def test_an_interrupted_pull_is_known_under_another_device_number(pulled: MemoryWorkspaces) -> None:
    path = interrupt_first_pull(pulled) / "pulling"
    value = read_checksummed(path)
    assert value is not None
    write_checksummed(path, {**value, "root": [value["root"][0] + 1, value["root"][1]]})
    pulled.pull("c")
    assert unlike(snapshot(pulled.at("a")), snapshot(pulled.at("c"))) == {}


def test_a_tool_that_takes_the_mark_away_makes_no_stranger(pulled: MemoryWorkspaces) -> None:
    """As `rsync -aX SOURCE/ DIR/` does, which makes the attributes those of SOURCE."""
    os.removexattr(pulled.at("b"), MARK)
    write(pulled.at("b"), b"two", b"changed")
    assert pulled.changed("b") == [("changed", b"two")]
    assert pulled.push("b").written == 1
    assert os.getxattr(pulled.at("b"), MARK)


def test_a_copy_does_not_have_the_mark_of_the_original(pulled: MemoryWorkspaces) -> None:
    shutil.copytree(pulled.place / "b", pulled.place / "copy")
    assert os.getxattr(pulled.place / "copy", MARK) == os.getxattr(pulled.at("b"), MARK)
    pulled.push("copy", to=NEW)
    assert os.getxattr(pulled.place / "copy", MARK) != os.getxattr(pulled.at("b"), MARK)
    assert pulled.push("b").id is None


def test_the_mark_does_not_travel(pulled: MemoryWorkspaces) -> None:
    """A workspace within another one: its mark is no attribute of the directory there."""
    os.rename(pulled.at("b"), pulled.at("o") + b"/within")
    os.rename(pulled.place / ".state-b", pulled.place / ".state-within")
    pulled.push("o", to=NEW)
    pulled.pull("z", target=NEW)
    assert os.listxattr(pulled.at("z") + b"/within") == []
    assert pulled.changed("o") == []
    os.utime(pulled.at("o") + b"/within/two", ns=(1, 1))
    pulled.push("o", to=NEW)
    pulled.pull("z", target=NEW)
    assert os.getxattr(pulled.at("o") + b"/within", MARK)


@pytest.fixture
def elsewhere(workspaces: Workspaces) -> Iterator[Path]:
    """Another mount at the path of `b`, which was pulled."""
    write(workspaces.at("a"), b"f", b"f")
    workspaces.push("a")
    workspaces.pull("b")
    place = workspaces.place / "b"
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "x", place], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield place
    subprocess.run(["umount", place])


def test_a_mount_that_hides_the_directory_is_another_one_until_it_is_gone(
    workspaces: Workspaces, elsewhere: Path
) -> None:
    other = workspaces.target + "-other"
    (elsewhere / "mine").write_text("mine")
    workspaces.push("b", to=other)
    assert workspaces.status("b").target == other
    subprocess.run(["umount", elsewhere], check=True)
    assert workspaces.status("b").target == workspaces.target
    assert workspaces.changed("b") == []
