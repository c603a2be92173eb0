"""Killed at any instant, neither target nor state is left wrong, and the next run recovers (G6 and G8)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ConflictError, DivergedError, UnavailableError
from tests.fakes.contents import noise, write
from tests.fakes.killing import Killed, killed_at
from tests.fakes.memory_workspaces import MemoryWorkspaces, entries_of
from tests.fakes.plain import applied, on_disk, put_image
from tests.fakes.proxy import Fault, FaultProxy, Seen
from tests.fakes.soaking import FULL
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces

pytestmark = pytest.mark.usefixtures("parts")
STEP = 1 if FULL else 3
"""A plain run dies at every so many calls or writes; odd, since what is done alternates."""


def fill(top: bytes) -> None:
    write(top, b"d/one", b"one")
    write(top, b"d/two", noise(5000))
    write(top, b"e/three", b"three", mode=0o755)
    os.link(top + b"/d/one", top + b"/e/one too")
    os.symlink(b"d/one", top + b"/link")
    os.mkfifo(top + b"/pipe")
    os.utime(top + b"/d", ns=(7, 7))


def change(top: bytes) -> None:
    """Write, delete, replace, break a link and touch."""
    write(top, b"d/two", noise(6000, 2))
    write(top, b"new/file", b"new")
    os.unlink(top + b"/e/one too")
    os.unlink(top + b"/pipe")
    os.mkdir(top + b"/pipe")
    write(top, b"pipe/in", b"x")
    os.utime(top + b"/e/three", ns=(9, 9))
    os.setxattr(top + b"/d/one", "user.note", b"x")


Arrange = Callable[[MemoryWorkspaces], dict[str, Any]]


def _first(memory: MemoryWorkspaces) -> dict[str, Any]:
    fill(memory.at("a"))
    return {}


def _later(memory: MemoryWorkspaces) -> dict[str, Any]:
    fill(memory.at("a"))
    memory.push("a", lane="begin")
    change(memory.at("a"))
    return {"message": "m"}


def _attempt(memory: MemoryWorkspaces) -> dict[str, Any]:
    return _later(memory) | {"lane": "run/task", "attempt": 2}


def _empty(memory: MemoryWorkspaces) -> dict[str, Any]:
    fill(memory.at("a"))
    memory.push("a", lane="begin")
    return {"lane": "run/task", "attempt": 0}


def _parallel(memory: MemoryWorkspaces) -> dict[str, Any]:
    arranged = _later(memory)
    memory.pull("b")
    write(memory.at("b"), b"d/two", b"otherwise")
    memory.push("b")
    return arranged


def _moved(memory: MemoryWorkspaces) -> dict[str, Any]:
    return _later(memory) | {"to": "memory.test/team/ws:other"}


ARRANGED: list[Arrange] = [_first, _later, _attempt, _empty, _parallel, _moved]


@pytest.mark.parametrize("arrange", ARRANGED)
def test_a_push_that_dies_at_any_call_of_the_store_is_done_by_a_plain_rerun(tmp_path: Path, arrange: Arrange) -> None:
    number, died = 0, True
    while died:
        place = tmp_path / str(number)
        place.mkdir()
        memory = MemoryWorkspaces(place)
        options = arrange(memory)
        expected, before = snapshot(memory.at("a")), len(entries_of(memory.store))
        died = push_dying_at(memory, number, options)
        if died:
            report = memory.push("a", **options)
            assert report.id == memory.log(options.get("to"))[0].id
        check_published_once(memory, options, before)
        assert unlike(expected, snapshot(memory.at("a"))) == {}
        shutil.rmtree(place)
        number += STEP
    assert number > 8


def push_dying_at(memory: MemoryWorkspaces, moment: int | str, options: dict[str, Any]) -> bool:
    """Push, and die right before the call of the store with this number or of this name; say whether it died.

    `entry`, `pointer` and `head` are the calls that put them, `state` is the last call of all.
    """
    done: list[str] = []

    def strike(name: str, subject: str) -> None:
        is_entry, is_pointer = "._e" in subject, "._p" in subject
        what = "entry" if is_entry else "pointer" if is_pointer else "head"
        if moment == len(done) or (name == "put_manifest" and what == moment):
            raise Killed
        if moment == "state" and name == "tags" and "head" in done:
            raise Killed
        done.append(what if name == "put_manifest" else name)

    memory.store.before = strike
    try:
        memory.push("a", **options)
    except Killed:
        return True
    finally:
        memory.store.before = None
    return False


def check_published_once(memory: MemoryWorkspaces, options: dict[str, Any], before: int) -> None:
    target = options.get("to")
    tag = target.rpartition(":")[2] if target else "main"
    assert len(entries_of(memory.store)) == before + 1
    assert memory.state_of("a").keys() == {"state"}
    assert memory.changed("a") == []
    if options.get("attempt") is None:
        assert memory.push("a", **options).id is None
    memory.pull("z", target=target, after=(options.get("lane", "a"),))
    assert applied(memory.store, tag) == on_disk(memory.at("z"))
    if len(memory.pull("z", target=target).frontier) == 1:
        assert unlike(snapshot(memory.at("a")), snapshot(memory.at("z"))) == {}


@pytest.mark.parametrize("moment", ["entry", "pointer", "head", "state"])
def test_what_changed_after_a_push_died_is_a_change_of_its_own(memory: MemoryWorkspaces, moment: str) -> None:
    top = memory.at("a")
    fill(top)
    memory.push("a")
    write(top, b"d/two", b"second")
    assert push_dying_at(memory, moment, {})
    write(top, b"d/two", b"third")
    write(top, b"added", b"a")
    report = memory.push("a")
    log = memory.log()
    assert log[0].id == report.id
    assert log[0].written == 2
    # What stood at the tag of its entry counts; what did not never comes.
    assert len(log) == (2 if moment == "entry" else 3)
    assert log[0].parents == [log[1].id]
    memory.pull("z")
    assert unlike(snapshot(top), snapshot(memory.at("z"))) == {}
    assert memory.pull("z").conflicts == []


@pytest.mark.parametrize("moment", ["upload", "entry"])
@pytest.mark.parametrize("changed", [False, True])
def test_a_rerun_gives_the_same_id_if_it_says_the_same_and_another_time_if_not(
    memory: MemoryWorkspaces, moment: str, changed: bool
) -> None:
    """Whether the entry of the push that died will appear cannot be known: it must be the same, or older."""
    top = memory.at("a")
    fill(top)
    memory.push("a")
    write(top, b"d/two", b"second")
    memory.now = 1_900_000_000_000_000_000
    assert push_dying_at(memory, 0 if moment == "upload" else moment, {})
    intent = json.loads(memory.state_of("a")["intent"])
    assert intent["stamp"] == memory.now
    if changed:
        write(top, b"d/two", b"third")
    memory.now += 60_000_000_000
    report = memory.push("a")
    (entry, _) = memory.log()
    if moment == "entry":
        assert (hashlib.sha256(intent["record"].encode()).hexdigest() == report.id) is not changed
        assert entry.stamp == memory.now if changed else entry.stamp == intent["stamp"]
    else:
        assert entry.stamp == intent["stamp"]  # no one has seen it


def test_an_entry_that_lands_late_is_kept_beside_what_came_after_it(memory: MemoryWorkspaces) -> None:
    """The PUT was under way when its writer died, and the registry does it when the rerun is long done."""
    top = memory.at("a")
    fill(top)
    memory.push("a")
    write(top, b"d/one", b"first")
    late: dict[str, Any] = {}

    def strike(name: str, subject: str) -> None:
        if name == "put_manifest" and "._e" in subject:
            late["tag"] = subject
            raise Killed

    memory.store.before = strike
    real = memory.store.put_manifest

    def put(reference: str, data: bytes, media_type: str) -> Any:
        late["rest"] = (data, media_type)
        return real(reference, data, media_type)

    memory.store.put_manifest = put  # type: ignore[method-assign]
    with pytest.raises(Killed):
        memory.push("a")
    memory.store.before = None
    write(top, b"d/one", b"second")
    kept = dict(late)
    assert memory.push("a").id
    real(kept["tag"], *kept["rest"])
    memory.pull("z")
    assert on_disk(memory.at("z"))["d/one"][2] == b"second"
    assert len(memory.log()) == 3


def test_a_dry_run_after_a_crash_leaves_the_rest_to_do(memory: MemoryWorkspaces) -> None:
    fill(memory.at("a"))
    assert push_dying_at(memory, "pointer", {})
    before = memory.frozen("a")
    memory.push("a", dry_run=True)
    assert memory.frozen("a") == before
    assert memory.push("a").id == memory.log()[0].id


def test_a_rerun_as_another_lane_publishes_nothing_twice(memory: MemoryWorkspaces) -> None:
    fill(memory.at("a"))
    memory.push("a")
    change(memory.at("a"))
    assert push_dying_at(memory, "state", {"lane": "x", "attempt": 0})
    memory.push("a", lane="x", attempt=1)
    assert [(entry.attempt, entry.written > 0) for entry in memory.log()] == [(1, False), (0, True), (None, True)]
    memory.pull("z")
    assert unlike(snapshot(memory.at("a")), snapshot(memory.at("z"))) == {}


def test_the_rest_of_a_push_that_died_is_not_done_for_another_directory(memory: MemoryWorkspaces) -> None:
    fill(memory.at("a"))
    assert push_dying_at(memory, "state", {})
    os.rename(memory.at("a"), memory.at("a") + b"-gone")
    write(memory.at("a"), b"other", b"x")
    before = memory.frozen("a")
    with pytest.raises(DivergedError, match="already holds a workspace"):
        memory.push("a")
    assert memory.frozen("a") == before


def test_a_head_of_someone_else_that_came_meanwhile_does_not_stop_the_rest(memory: MemoryWorkspaces) -> None:
    fill(memory.at("a"))
    memory.push("a")
    change(memory.at("a"))
    assert push_dying_at(memory, "state", {})
    put_image(memory.store, "main", [{"other": b"x"}])
    with pytest.raises(ConflictError, match="someone else"):
        memory.push("a")
    assert memory.state_of("a").keys() == {"state"}
    write(memory.at("a"), b"more", b"x")
    with pytest.raises(ConflictError, match="someone else"):
        memory.push("a")
    assert len(entries_of(memory.store)) == 3


def test_a_network_that_is_gone_at_any_call_is_like_a_crash(memory: MemoryWorkspaces) -> None:
    fill(memory.at("a"))
    memory.push("a")
    for number in range(100):
        change_a_little(memory.at("a"), number)
        left = [number]

        def fail(name: str, subject: str, left: list[int] = left) -> None:
            if left[0] == 0:
                raise UnavailableError("no route to host", subject="memory.test", remedy="wait")
            left[0] -= 1

        memory.store.before = fail
        try:
            memory.push("a")
            break
        except UnavailableError:
            memory.store.before = None
        memory.push("a")
        assert len(entries_of(memory.store)) == number + 2
        assert memory.changed("a") == []
    memory.store.before = None
    assert 8 < number < 99
    memory.pull("z")
    assert unlike(snapshot(memory.at("a")), snapshot(memory.at("z"))) == {}


def change_a_little(top: bytes, number: int) -> None:
    write(top, b"d/one", b"%d" % number)
    write(top, b"new-%d/file" % number, b"n")


def test_a_push_killed_at_any_write_is_done_by_a_plain_rerun(workspaces: Workspaces) -> None:
    top = workspaces.at("a")
    fill(top)
    workspaces.push("a")
    number, at = 0, 0
    while True:
        change_a_little(top, number)
        died = killed_at(at, lambda: workspaces.push("a"))
        report = workspaces.push("a")
        if not died:
            break
        assert report.id in (None, workspaces.ids()[-1])
        number, at = number + 1, at + STEP
        assert len(workspaces.ids()) == number + 1
        if number % 5 == 0:
            workspaces.pull("z")
            assert unlike(snapshot(top), snapshot(workspaces.at("z"))) == {}
    assert report.id is None
    assert at > 30
    assert not [name for name in os.listdir(workspaces.place / "layout") if "tmp" in name]


def test_a_pull_killed_at_any_write_is_recovered_by_a_plain_pull(workspaces: Workspaces) -> None:
    top, here = workspaces.at("a"), workspaces.at("b")
    fill(top)
    workspaces.push("a")
    one = workspaces.ids()[0]
    change(top)
    workspaces.push("a")
    trees = {}
    for at in (one, None):
        workspaces.pull("b", at=at)
        trees[at] = snapshot(here)
    number, at = 0, None
    while True:
        at = None if at else one
        died = killed_at(number, lambda at=at: workspaces.pull("b", at=at))
        if not died:
            break
        begun = workspaces.status("b").interrupted
        touched = unlike(trees[None if at else one], snapshot(here)) != {}
        assert begun or not touched or workspaces.changed("b") == []
        if begun:
            with pytest.raises(DivergedError, match="interrupted"):
                workspaces.push("b")
        workspaces.pull("b", at=at)
        assert unlike(trees[at], snapshot(here)) == {}
        assert workspaces.changed("b") == []
        assert not workspaces.status("b").interrupted
        number += STEP
    assert unlike(trees[at], snapshot(here)) == {}
    assert number > 30


def test_a_first_pull_that_was_killed_is_recovered_by_another_target_too(workspaces: Workspaces) -> None:
    fill(workspaces.at("a"))
    workspaces.push("a")
    write(workspaces.at("o"), b"other", b"o")
    other = workspaces.target + "-other"
    workspaces.push("o", to=other)
    assert killed_at(25, lambda: workspaces.pull("b"))
    left = os.listdir(workspaces.at("b"))
    assert left
    workspaces.pull("b", target=other)
    assert unlike(snapshot(workspaces.at("o")), snapshot(workspaces.at("b"))) == {}


def test_leftovers_of_a_killed_pull_are_gone(workspaces: Workspaces) -> None:
    top, here = workspaces.at("a"), workspaces.at("b")
    fill(top)
    workspaces.push("a")
    workspaces.pull("b")
    change(top)
    workspaces.push("a")
    seen = False
    for number in range(60):
        if not killed_at(number, lambda: workspaces.pull("b")):
            break
        left = [name for _, _, names in os.walk(here) for name in names if name.startswith(b".wh.")]
        seen = seen or bool(left)
        if left:
            workspaces.pull("b")
            assert unlike(snapshot(top), snapshot(here)) == {}
            assert not [name for _, _, names in os.walk(here) for name in names if name.startswith(b".wh.")]
            break
    assert seen


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("command", ["push", "pull"])
def test_signals_at_any_request_to_a_real_registry(
    tmp_path: Path, registry: str, command: str, signum: signal.Signals
) -> None:
    """The request that is under way when the signal comes is carried out: its answer finds no one."""
    step = (3 if command == "push" else 2) * (1 if FULL else 2)
    with FaultProxy(registry) as proxy:
        made = Workspaces(tmp_path, f"{proxy.address}/crashes/{tmp_path.name.replace('_', '-').lower()}:ws")
        running: list[subprocess.Popen[str]] = []

        def rule(seen: Seen) -> Fault | None:
            if running and len(proxy.seen) - started == number:
                running[0].send_signal(signum)
            return None

        proxy.add_rule(rule)
        fill(made.at("a"))
        made.push("a")
        for number in range(1 if signum == signal.SIGKILL else 2, 30, step):
            change_a_little(made.at("a"), number)
            write(made.at("a"), b"large", noise(5 << 20, number))
            if command == "pull":
                made.push("a")
            before, started = len(made.ids()), len(proxy.seen)
            name = "a" if command == "push" else "b"
            code, said = run_agent(made, running, command, name)
            running.clear()
            if code == 0:
                break
            assert code == (-9 if signum == signal.SIGKILL else 128 + signum)
            assert "Traceback" not in said
            if command == "push":
                report = made.push("a")
                assert report.id in (None, made.ids()[-1])
                assert len(made.ids()) == before + 1
            made.pull("b")
            assert unlike(snapshot(made.at("a")), snapshot(made.at("b"))) == {}
            assert made.changed("a") == made.changed("b") == []
        assert number > 1
        made.close()


def run_agent(made: Workspaces, running: list[subprocess.Popen[str]], command: str, name: str) -> tuple[int, str]:
    """Run the command line as a process of its own; return its exit code and what it said."""
    words = [command, made.target, os.fsdecode(made.at(name)), "--state", str(made.place / f".state-{name}")]
    lane = ["--lane", name] if command == "push" else []
    running.append(
        subprocess.Popen(
            [sys.executable, "-m", "agent", *words, *lane],
            env={"PATH": os.environ["PATH"], "HOME": str(made.place), "PYTHONPATH": os.getcwd()},
            stderr=subprocess.PIPE,
            text=True,
        )
    )
    _, said = running[0].communicate(timeout=60)
    return running[0].returncode, said
