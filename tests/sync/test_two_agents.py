"""Two agents at once in one directory, as processes: one waits for the other, and nothing is torn (issue 8, item 6)."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable
from functools import partial

import pytest

from agent.errors import BusyError, DivergedError
from agent.sync.local import open_directory
from agent.sync.operation.options import PullOptions, PushOptions
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.pull_steps.pull_directory import pull
from agent.sync.push_steps.push_directory import push
from agent.workspace.state import state_lock
from tests.fakes.contents import noise, write
from tests.fakes.killing import killed_at
from tests.fakes.soaking import FULL
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Notices, Workspaces

pytestmark = pytest.mark.usefixtures("parts")

ROUNDS = 4
DONE, DIVERGED = 0, 11


def at_once(*acts: Callable[[], object]) -> list[int]:
    """Do each of `acts` in a process of its own, all at one moment; return 0, or what it was refused with."""
    waiting, go = os.pipe()
    children = []
    for act in acts:
        child = os.fork()
        if child == 0:
            os.close(go)
            os.read(waiting, 1)  # until the parent closes it
            try:
                act()
                os._exit(DONE)
            except DivergedError:
                os._exit(DIVERGED)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        children.append(child)
    os.close(waiting)
    os.close(go)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


@pytest.fixture
def shared(workspaces: Workspaces) -> Workspaces:
    """A workspace pushed from `a`, pulled into `o`."""
    top = workspaces.at("a")
    for number in range(40):
        write(top, b"d%d/file" % (number % 4), b"%d" % number)
        write(top, b"f%d" % number, noise(3000, number))
    workspaces.push("a")
    workspaces.pull("o")
    return workspaces


def check_whole(shared: Workspaces) -> None:
    """What is in `a`, pushed and pulled, is what is pulled elsewhere."""
    shared.push("a")
    shared.pull("a")
    shared.pull("z")
    assert unlike(snapshot(shared.at("a")), snapshot(shared.at("z"))) == {}
    assert shared.changed("a") == []


def test_of_two_pushes_one_publishes(shared: Workspaces) -> None:
    for number in range(ROUNDS):
        write(shared.at("a"), b"f1", b"%d" % number)
        before = len(shared.ids())
        assert at_once(*[lambda: shared.push("a")] * 2) == [DONE, DONE]
        assert len(shared.ids()) == before + 1
    check_whole(shared)


def test_two_pulls_are_as_one(shared: Workspaces) -> None:
    for number in range(ROUNDS):
        write(shared.at("o"), b"f%d" % number, b"theirs")
        write(shared.at("o"), b"new%d/file" % number, b"theirs")
        os.unlink(shared.at("o") + b"/f%d" % (10 + number))
        shared.push("o")
        assert at_once(*[lambda: shared.pull("a")] * 2) == [DONE, DONE]
        assert unlike(snapshot(shared.at("o")), snapshot(shared.at("a"))) == {}
        assert shared.changed("a") == []


def test_a_pull_beside_a_push_is_before_it_or_after_it(shared: Workspaces) -> None:
    for number in range(ROUNDS):
        write(shared.at("o"), b"f%d" % number, b"theirs %d" % number)
        shared.push("o")
        write(shared.at("a"), b"mine", b"%d" % number)
        pulled, pushed = at_once(lambda: shared.pull("a"), lambda: shared.push("a"))
        assert (pulled in (DONE, DIVERGED), pushed) == (True, DONE)  # before: there are local changes
        shared.pull("a")
        found = snapshot(shared.at("a"))
        shared.pull("o")
        assert unlike(found, snapshot(shared.at("o"))) == {}
        with open(shared.at("a") + b"/f%d" % number, "rb") as theirs, open(shared.at("a") + b"/mine", "rb") as mine:
            assert (theirs.read(), mine.read()) == (b"theirs %d" % number, b"%d" % number)


class Halting(Notices):
    """Progress that stops an operation where it begins a stage, until it may go on."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self._stage = stage
        self._reached, self._reach = os.pipe()
        self._going, self._go = os.pipe()

    def stage(self, name: str, total: int | None = None, unit: str = "paths") -> None:
        if name == self._stage:
            os.write(self._reach, b".")
            os.read(self._going, 1)

    def wait(self) -> None:
        os.read(self._reached, 1)

    def go_on(self) -> None:
        os.write(self._go, b".")


def test_a_directory_that_is_remembered_twice_is_held_by_one_at_a_time(shared: Workspaces) -> None:
    """A push with a state of its own does not see a tree that is half pulled; nor is what others pulled its change."""
    elsewhere = _also_known(shared)
    for number in range(20):
        write(shared.at("o"), b"f%d" % number, b"theirs")
    shared.push("o")
    halting, told = Halting("fetch"), Notices()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)  # should no one let it go on
        try:
            pull(shared.site("a")._replace(progress=halting), PullOptions())
            os._exit(0)
        finally:
            os._exit(1)
    halting.wait()
    refused: list[str] = []
    second = elsewhere._replace(progress=told)

    def push_meanwhile() -> None:
        try:
            push(second, PushOptions(lane="a"))
        except DivergedError as error:
            refused.append(str(error))

    thread = threading.Thread(target=push_meanwhile)
    thread.start()
    while not told.texts and thread.is_alive():
        thread.join(0.01)
    halting.go_on()
    assert os.waitpid(child, 0)[1] == 0
    assert any("/a: another agent is at work; waiting for it, 10 s at most" in text for text in told.texts)
    thread.join()
    assert len(refused) == 1
    assert "what is remembered of it is older than the last pull" in refused[0]
    assert unlike(snapshot(shared.at("o")), snapshot(shared.at("a"))) == {}
    shared.pull("z")
    assert unlike(snapshot(shared.at("o")), snapshot(shared.at("z"))) == {}


def _also_known(shared: Workspaces) -> WorkspaceContext:
    """Return the site of `a` with another state than its own, after a pull."""
    site = shared.site("a")._replace(state=str(shared.place / "elsewhere"))
    pull(site, PullOptions(force=True))
    return site


def test_who_waits_in_vain_is_told_and_changes_nothing(shared: Workspaces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_directory, "LockWait", partial(state_lock.LockWait, 0.1))
    before = len(shared.ids())
    write(shared.at("a"), b"new", b"n")
    with state_lock.lock_state(str(shared.place / ".state-a")):
        for act in (shared.push, shared.pull, shared.status):
            with pytest.raises(
                BusyError, match=rf"/a: another agent \(pid {os.getpid()}\) is at work; wait until"
            ) as e:
                act("a")
            assert (e.value.exit_code, e.value.retryable) == (40, True)
    assert len(shared.ids()) == before
    check_whole(shared)


@pytest.mark.parametrize("command", ["push", "pull"])
def test_who_is_killed_while_another_waits_leaves_the_directory_to_it(shared: Workspaces, command: str) -> None:
    act = shared.push if command == "push" else shared.pull
    for number in range(3, 40, 9 if FULL else 18):
        write(shared.at("o"), b"f%d" % number, b"theirs")
        shared.push("o")
        if command == "push":
            write(shared.at("a"), b"mine", b"%d" % number)
        killed = partial(killed_at, number, partial(act, "a"))
        assert at_once(killed, partial(act, "a")) == [DONE, DONE]
    check_whole(shared)
