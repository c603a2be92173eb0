"""What is remembered of a directory, when it is damaged, someone else's or contested (design, "State and scan")."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.core.model.entry import MARK
from agent.core.spelling.reference import parse_reference
from agent.errors import ConflictError, DivergedError, WorkspaceError
from agent.sync.operation.options import PushOptions
from agent.sync.push_steps.push_directory import push
from agent.workspace.filesystem.durable_files import write_checksummed
from agent.workspace.state.state_file import read_state, write_state
from agent.workspace.state.state_lock import lock_state
from tests.fakes.contents import noise, write
from tests.fakes.killing import Killed
from tests.fakes.memory_workspaces import MemoryWorkspaces, entries_of
from tests.fakes.plain import on_disk
from tests.fakes.small_disk import fill_up, small_disk
from tests.fakes.trees import snapshot, unlike


@pytest.fixture
def pulled(memory: MemoryWorkspaces) -> MemoryWorkspaces:
    """A workspace pushed from `a` and pulled into `b`."""
    top = memory.at("a")
    write(top, b"d/one", b"one")
    write(top, b"d/two", noise(4000))
    os.link(top + b"/d/one", top + b"/linked")
    os.symlink(b"d", top + b"/link")
    memory.push("a")
    memory.pull("b")
    return memory


def state_file(memory: MemoryWorkspaces, name: str = "b") -> Path:
    return memory.place / f".state-{name}" / "state"


def damage(memory: MemoryWorkspaces, how: str) -> None:
    path = state_file(memory)
    data = path.read_bytes()
    if how == "newer header":
        state = read_state(str(path))
        assert state is not None
        with state:
            write_state(str(path), {**state.header, "version": 99}, list(state))
        return
    path.write_bytes(
        {
            "empty": b"",
            "short": data[: len(data) // 2],
            "flipped": data[:200] + bytes([data[200] ^ 1]) + data[201:],
            "something else": noise(3000),
            "newer format": data.replace(b"instep state 2\n", b"instep state 3\n", 1),
        }[how]
    )


HOW = ["empty", "short", "flipped", "something else", "newer format", "newer header"]


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_state_is_rebuilt_where_the_directory_is_as_the_target(pulled: MemoryWorkspaces, how: str) -> None:
    damage(pulled, how)
    before = {path: os.lstat(pulled.at("b") + b"/" + path).st_ctime_ns for path in snapshot(pulled.at("b"))}
    report = pulled.pull("b")
    assert (report.written, report.removed) == (0, 0)
    assert before == {path: os.lstat(pulled.at("b") + b"/" + path).st_ctime_ns for path in before}
    assert pulled.changed("b") == []
    write(pulled.at("b"), b"new", b"n")
    assert pulled.push("b").written == 1


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("where", ["there", "gone meanwhile", "in the target"])
def test_a_damaged_state_loses_nothing_where_they_differ(pulled: MemoryWorkspaces, how: str, where: str) -> None:
    if where == "there":
        write(pulled.at("b"), b"d/one", b"mine")
    elif where == "gone meanwhile":
        os.unlink(pulled.at("b") + b"/d/two")
    else:
        write(pulled.at("a"), b"d/one", b"theirs")
        pulled.push("a")
    damage(pulled, how)
    before, disk = pulled.frozen("b"), snapshot(pulled.at("b"))
    with pytest.raises(DivergedError, match=r"the state .*differs from the target; .*--force"):
        pulled.pull("b")
    with pytest.raises(DivergedError, match=r"the state .*cannot be told what changed"):
        pulled.push("b")
    with pytest.raises(WorkspaceError, match="the state"):
        pulled.status("b")
    assert pulled.frozen("b") == before
    assert unlike(disk, snapshot(pulled.at("b"))) == {}
    pulled.pull("b", force=True)
    assert unlike(snapshot(pulled.at("a")), snapshot(pulled.at("b"))) == {}


def test_the_state_of_another_directory_is_not_believed(pulled: MemoryWorkspaces) -> None:
    shutil.copytree(pulled.place / "b", pulled.place / "c", symlinks=True)
    shutil.copytree(pulled.place / ".state-b", pulled.place / ".state-c")
    before, disk = pulled.frozen("c"), snapshot(pulled.at("c"))
    for refused in (pulled.push, pulled.pull, pulled.status):
        with pytest.raises(DivergedError, match="another directory or mount than the one that was pulled into"):
            refused("c")
    assert pulled.frozen("c") == before
    assert unlike(disk, snapshot(pulled.at("c"))) == {}
    pulled.pull("c", force=True)
    assert pulled.changed("c") == []


def test_another_directory_at_the_same_place(pulled: MemoryWorkspaces) -> None:
    os.rename(pulled.at("b"), pulled.at("b") + b"-moved")
    write(pulled.at("b"), b"d/one", b"other")
    before = pulled.frozen("b")
    for refused in (pulled.push, pulled.pull, pulled.status):
        with pytest.raises(DivergedError, match="another directory or mount"):
            refused("b")
    assert pulled.frozen("b") == before
    # The one that was moved goes back to where it was and is known there.
    place = pulled.at("b")
    shutil.rmtree(place)
    os.rename(place + b"-moved", place)
    assert pulled.changed("b") == []


def test_an_empty_directory_at_the_same_place_is_filled(pulled: MemoryWorkspaces) -> None:
    os.rename(pulled.at("b"), pulled.at("b") + b"-moved")
    with pytest.raises(DivergedError):
        pulled.push("b")
    pulled.pull("b")
    assert unlike(snapshot(pulled.at("a")), snapshot(pulled.at("b"))) == {}


def test_a_directory_that_was_moved_with_its_state_is_the_same(pulled: MemoryWorkspaces) -> None:
    write(pulled.at("b"), b"d/one", b"mine")
    os.rename(pulled.at("b"), pulled.place / "c")
    os.rename(pulled.place / ".state-b", pulled.place / ".state-c")
    assert pulled.changed("c") == [("changed", b"d/one"), ("changed", b"linked")]
    assert pulled.push("c").id
    pulled.pull("z")
    assert unlike(snapshot(pulled.at("c")), snapshot(pulled.at("z"))) == {}


def made_again(pulled: MemoryWorkspaces, *, marked: bool = False) -> None:
    """Make `b` anew and empty, as if the new directory had got the old one's inode, which file systems reuse.

    If not `marked`, the old one had no mark, as on a file system without extended attributes.
    """
    shutil.rmtree(pulled.at("b"))
    about = os.stat(pulled.at("b"))
    state = read_state(str(state_file(pulled)))
    assert state is not None
    with state:
        header = {**state.header, "root": [about.st_dev, about.st_ino]}
        write_state(str(state_file(pulled)), header if marked else {**header, "mark": None}, list(state))


def test_a_directory_made_again_with_the_old_ones_inode_is_taken_as_emptied(pulled: MemoryWorkspaces) -> None:
    made_again(pulled)
    with pytest.raises(DivergedError, match="everything in the directory is gone"):
        pulled.push("b")
    pulled.pull("b")
    assert unlike(snapshot(pulled.at("a")), snapshot(pulled.at("b"))) == {}


def test_what_is_pushed_of_a_directory_made_again_touches_nothing_that_it_did_not_have(
    pulled: MemoryWorkspaces,
) -> None:
    made_again(pulled)
    write(pulled.at("b"), b"d/one", b"other")
    write(pulled.at("a"), b"d/two", b"theirs")
    write(pulled.at("a"), b"d/three", b"theirs")
    pulled.push("a")
    report = pulled.push("b")
    assert report.conflicts  # they changed what is gone here
    pulled.pull("z", at=report.id)
    assert unlike(snapshot(pulled.at("b")), snapshot(pulled.at("z"))) == {}
    pulled.pull("z")
    found = {path: row[2] for path, row in on_disk(pulled.at("z")).items() if row[0] == "file"}
    assert found == {"d/one": b"other", "d/two": b"theirs", "d/three": b"theirs"}


@pytest.fixture
def restored(pulled: MemoryWorkspaces) -> MemoryWorkspaces:
    """`b` as pulled after `a` wrote, deleted and added something, with the state of before.

    On a file system that takes no marks: `test_old_state` has the others.
    """
    old = state_file(pulled).read_bytes()
    write(pulled.at("a"), b"d/two", b"second")
    write(pulled.at("a"), b"added", b"second")
    os.unlink(pulled.at("a") + b"/link")
    pulled.push("a")
    pulled.pull("b")
    with suppress(OSError):
        os.removexattr(pulled.at("b"), MARK)
    state_file(pulled).write_bytes(old)
    return pulled


def test_a_state_older_than_the_directory_gives_the_directory_back(restored: MemoryWorkspaces) -> None:
    with pytest.raises(DivergedError, match=r"local changes \(added, d, d/two, link\)"):
        restored.pull("b")
    report = restored.push("b")
    assert report.conflicts == []
    for name in ("z", "a", "b"):
        restored.pull(name)
    assert unlike(snapshot(restored.at("b")), snapshot(restored.at("z"))) == {}
    assert unlike(snapshot(restored.at("a")), snapshot(restored.at("z"))) == {}


def test_a_state_older_than_the_directory_overrides_no_one_unsaid(restored: MemoryWorkspaces) -> None:
    """What was pulled since looks like a change made here: where others went on from it, both are told of."""
    write(restored.at("a"), b"d/two", b"third")
    os.unlink(restored.at("a") + b"/added")
    write(restored.at("a"), b"apart", b"third")
    restored.push("a")
    refused = restored.frozen()
    with pytest.raises(ConflictError, match=r"added \(delete\), d/two \(content\)"):
        restored.push("b", on_conflict="fail")
    assert restored.frozen()[0][2] == refused[0][2]
    report = restored.push("b")
    assert [conflict.path for conflict in report.conflicts] == ["added", "d/two"]
    restored.pull("z", at=report.id)
    assert unlike(snapshot(restored.at("b")), snapshot(restored.at("z"))) == {}
    assert restored.pull("z").conflicts == report.conflicts
    assert on_disk(restored.at("z"))["apart"][2] == b"third"


@pytest.fixture
def mounted(pulled: MemoryWorkspaces) -> Iterator[MemoryWorkspaces]:
    """Another file system on top of `b`."""
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "x", pulled.at("b")], capture_output=True).returncode
    ):
        pytest.skip("needs the right to mount")
    yield pulled
    subprocess.run(["umount", pulled.at("b")], check=True)


def test_another_mount_at_the_same_place(mounted: MemoryWorkspaces) -> None:
    before = mounted.frozen("b")
    with pytest.raises(DivergedError, match="another directory or mount"):
        mounted.push("b", allow_empty=True)
    write(mounted.at("b"), b"d/one", b"other")
    for refused in (mounted.push, mounted.pull, mounted.status):
        with pytest.raises(DivergedError, match="another directory or mount"):
            refused("b")
    assert mounted.frozen("b") == before


def test_one_directory_mounted_in_two_places_is_one(mounted: MemoryWorkspaces) -> None:
    """A container sees the directory elsewhere, and has the state from the host."""
    subprocess.run(["umount", mounted.at("b")], check=True)
    subprocess.run(["mount", "--bind", mounted.at("b"), mounted.at("c")], check=True)
    try:
        shutil.copytree(mounted.place / ".state-b", mounted.place / ".state-c")
        write(mounted.at("c"), b"new", b"n")
        assert mounted.push("c").written == 1
    finally:
        subprocess.run(["umount", mounted.at("c")], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "x", mounted.at("b")], check=True)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "null", '{"target": 1, "root": 2}', '{"stamp": "x"}', "\x00" * 40])
def test_an_intent_that_makes_no_sense_is_none(pulled: MemoryWorkspaces, text: str) -> None:
    (pulled.place / ".state-b" / "intent").write_text(text)
    write(pulled.at("b"), b"new", b"n")
    assert pulled.push("b").written == 1
    assert pulled.state_of("b").keys() == {"state"}


@pytest.mark.parametrize("changed", [{"record": "x"}, {"record": '{"format":1}'}, {"more": 1}, {"root": 5}])
def test_an_intent_of_another_version_is_none(pulled: MemoryWorkspaces, changed: dict[str, Any]) -> None:
    about = os.stat(pulled.at("b"))
    intent = {
        "target": pulled.target,
        "root": [about.st_dev, about.st_ino],
        "stamp": 5,
        "parents": [],
        "lane": "b",
        "attempt": None,
        "record": None,
    }
    write_checksummed(str(pulled.place / ".state-b" / "intent"), {**intent, **changed})
    write(pulled.at("b"), b"new", b"n")
    assert pulled.push("b").written == 1


def test_damage_to_the_intent_of_a_push_that_died_is_noticed(pulled: MemoryWorkspaces) -> None:
    """A stamp with another digit would date the change, and all that follow it, wrongly."""
    write(pulled.at("b"), b"new", b"n")

    def strike(name: str, subject: str) -> None:
        if "._e" in subject:
            raise Killed

    pulled.store.before = strike
    with pytest.raises(Killed):
        pulled.push("b")
    pulled.store.before = None
    path = pulled.place / ".state-b" / "intent"
    stamp = str(json.loads(path.read_bytes())["stamp"])
    path.write_text(path.read_text().replace(stamp, "8" + stamp[1:]))
    assert pulled.push("b").id == pulled.log()[0].id
    assert pulled.log()[0].stamp < 1 << 62
    assert len(entries_of(pulled.store)) == 2


def test_damage_to_the_marker_of_a_pull_that_died_still_warns(pulled: MemoryWorkspaces) -> None:
    """With another number in it, it would be another directory's, and a half of a tree would be pushed."""
    path = pulled.place / ".state-b" / "pulling"
    write_checksummed(str(path), {"root": [1, 2]})
    assert not pulled.status("b").interrupted
    path.write_text(path.read_text().replace("2]", "3]"))
    assert pulled.status("b").interrupted
    with pytest.raises(DivergedError, match="interrupted"):
        pulled.push("b")


def test_a_marker_of_a_pull_that_makes_no_sense_still_warns(pulled: MemoryWorkspaces) -> None:
    (pulled.place / ".state-b" / "pulling").write_text("")
    with pytest.raises(DivergedError, match="interrupted"):
        pulled.push("b")
    pulled.pull("b")
    assert pulled.push("b").id is None


def test_a_state_that_was_lost_is_told_from_a_directory_that_is_not_ours(pulled: MemoryWorkspaces) -> None:
    shutil.rmtree(pulled.place / ".state-b")
    disk = snapshot(pulled.at("b"))
    with pytest.raises(DivergedError, match="was not pulled from it"):
        pulled.push("b")
    with pytest.raises(DivergedError, match="not pulled by this program"):
        pulled.pull("b")
    assert unlike(disk, snapshot(pulled.at("b"))) == {}


def test_a_second_agent_waits_for_the_first(pulled: MemoryWorkspaces) -> None:
    home = str(pulled.place / ".state-b")
    released: list[float] = []

    def hold() -> None:
        with lock_state(home):
            ready.set()
            time.sleep(0.4)
            released.append(time.monotonic())

    ready = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    ready.wait()
    write(pulled.at("b"), b"new", b"n")
    assert pulled.push("b").id
    assert time.monotonic() >= released[0]
    holder.join()


def test_of_agents_at_once_one_publishes_what_changed(pulled: MemoryWorkspaces) -> None:
    write(pulled.at("b"), b"new", b"n")
    done: list[str | None] = []
    sites = [pulled.site("b") for _ in range(4)]
    threads = [
        threading.Thread(target=lambda site=site: done.append(push(site, PushOptions(lane="b")).id)) for site in sites
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 4
    assert len([one for one in done if one]) == 1
    assert len(entries_of(pulled.store)) == 2


@pytest.fixture
def small(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of 1 MiB, where the test's parameter says."""
    with small_disk(tmp_path / getattr(request, "param", "b")) as place:
        yield place


@pytest.mark.parametrize("small", [".state-a"], indirect=True)
@pytest.mark.parametrize("room", [0, 4096, 8192, 12288])
def test_a_full_disk_where_the_state_is_kept_loses_nothing(memory: MemoryWorkspaces, small: Path, room: int) -> None:
    top = memory.at("a")
    for number in range(600):
        write(top, b"f%d" % number, b"%d" % number)
    memory.push("a")
    write(top, b"new", b"n")
    before, _ = memory.frozen()
    state = memory.state_of("a")["state"]
    filler = fill_up(small, leave=room)
    with pytest.raises(WorkspaceError, match="No space left on device; free some space"):
        memory.push("a")
    assert memory.state_of("a")["state"] == state
    assert room >= 8192 or memory.frozen()[0][2] == before[2]
    filler.unlink()
    memory.push("a")
    assert len(entries_of(memory.store)) == 2
    memory.pull("z")
    assert unlike(snapshot(top), snapshot(memory.at("z"))) == {}


def test_a_full_disk_on_a_pull_is_recovered_when_there_is_room(memory: MemoryWorkspaces, small: Path) -> None:
    write(memory.at("a"), b"first", b"1")
    memory.push("a")
    memory.pull("b")
    write(memory.at("a"), b"large", noise(2 << 20))
    write(memory.at("a"), b"small", b"s")
    memory.push("a")
    state = memory.state_of("b")["state"]
    target, _ = memory.frozen()
    for _ in range(2):
        with pytest.raises(WorkspaceError, match="large: cannot be written: No space left on device; free some") as e:
            memory.pull("b")
        assert e.value.exit_code == 40
        assert memory.state_of("b")["state"] == state
        assert not (small / "large").exists()
        assert memory.frozen()[0] == target
    with pytest.raises(DivergedError, match="interrupted"):
        memory.push("b")
    subprocess.run(["mount", "-o", "remount,size=8m", str(small)], check=True)
    memory.pull("b")
    assert unlike(snapshot(memory.at("a")), snapshot(os.fsencode(small))) == {}
    assert memory.changed("b") == []


def test_the_state_moves_with_its_target(pulled: MemoryWorkspaces) -> None:
    """A directory is pulled from another target than before: what differs is replaced, what is the same stays."""
    write(pulled.at("o"), b"d/two", noise(4000))
    pulled.push("o", to="memory.test/other:x")
    pulled.pull("b", target="memory.test/other:x")
    assert sorted(on_disk(pulled.at("b"))) == ["d", "d/two"]
    assert pulled.status("b").target == "memory.test/other:x"
    reference = parse_reference("memory.test/other:x")
    assert len(pulled.log(str(reference))) == 1
