"""Two agents at once in one directory, as a user sees them."""

from __future__ import annotations

import fcntl
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.workspace.state.state_home import state_home
from agent.workspace.state.state_lock import lock_state
from tests.cli.conftest import Agent

pytestmark = pytest.mark.timeout(90)
WORDS = "is at work; waiting for it, 10 s at most"


@pytest.fixture
def home(agent: Agent, layout: str, work: Path) -> str:
    """The state of `work`, which was pushed."""
    agent("push", layout, work)
    return state_home(agent.environ, str(work))


def test_who_comes_second_says_that_it_waits_and_goes_on_when_it_can(
    agent: Agent, layout: str, work: Path, home: str
) -> None:
    (work / "new").touch()
    with lock_state(home):
        process = agent.start("push", layout, work)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith(f"agent: warning: {work}: another agent (pid ") and line.endswith(f") {WORDS}\n")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert "1 written" in err


def test_who_waits_in_vain_gives_up_but_a_watch_goes_on(agent: Agent, layout: str, work: Path, home: str) -> None:
    with lock_state(home):
        commands = [("push", layout, work), ("pull", layout, work), ("status", work)]
        commands.append(("exec", layout, work, "--", "touch", work / "ran"))
        processes = [agent.start(*command) for command in commands]
        watch = agent.start("watch", layout, work, "--settle", "0.1")
        for process in processes:
            out, err = process.communicate(timeout=60)
            assert (process.returncode, out) == (40, "")
            assert err.splitlines()[-1].startswith(f"agent: error: {work}: another agent (pid ")
            assert err.endswith("is at work; wait until it is done, or end it\n")
        assert watch.stderr is not None
        assert WORDS in watch.stderr.readline()
        assert "trying again" in watch.stderr.readline()
    assert not (work / "ran").exists()
    (work / "new").touch()
    assert "1 written" in next(line for line in watch.stderr if line.startswith("agent: pushed"))
    watch.send_signal(signal.SIGTERM)
    assert watch.wait(20) == 0


def test_who_is_killed_leaves_the_directory_to_the_next(
    agent: Agent, layout: str, work: Path, home: str, tmp_path: Path, eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    (work / "new").touch()
    with open(tmp_path / "layout" / ".instep.lock", "rb") as index:
        fcntl.flock(index, fcntl.LOCK_EX)
        first = agent.start("push", layout, work)
        eventually(lambda: (Path(home) / "intent").exists())  # it waits for the layout then
        second = agent.start("push", layout, work)
        assert second.stderr is not None
        assert f"(pid {first.pid}) {WORDS}" in second.stderr.readline()
        first.kill()
        first.wait()
    _, err = second.communicate(timeout=30)
    assert second.returncode == 0
    assert "1 written" in err
    assert len(agent.json("log", layout)["changes"]) == 2
