"""`agent exec`: the command's own signals, streams and exit code, between a pull and a push."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Agent

# Says that it is ready, then ends with 7 when a signal of its arguments comes.
OBEDIENT = """
import signal, sys, time
def end(signum, frame):
    open("caught", "w").write(signal.Signals(signum).name)
    sys.exit(int(sys.argv[1]))
for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(signum, end)
open("ready", "w").close()
time.sleep(60)
"""


def test_it_pulls_runs_and_pushes(agent: Agent, target: str, work: Path) -> None:
    agent("push", target, work)
    other = work.with_name("other")
    done = agent("exec", target, other, "-m", "built", "--", "sh", "-c", "cat README; echo new > built; echo oops >&2")
    assert done.stdout == "read me\n"
    assert "oops" in done.stderr
    assert agent("cat", target, "built").stdout == "new\n"
    assert agent.json("log", target)["changes"][0]["message"] == "built"


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -TERM $$", 143), ("kill -KILL $$", 137)])
def test_a_failed_command_publishes_nothing_and_its_code_is_returned(
    agent: Agent, layout: str, work: Path, script: str, code: int
) -> None:
    agent("push", layout, work)
    other = work.with_name("other")
    agent("exec", layout, other, "--", "sh", "-c", f"touch half; {script}", exits=code)
    assert len(agent.json("log", layout)["changes"]) == 1
    assert (other / "half").exists()


def test_a_failed_commands_files_can_be_kept_elsewhere(agent: Agent, layout: str, work: Path, tmp_path: Path) -> None:
    agent("push", layout, work)
    other, failed = work.with_name("other"), f"oci:{tmp_path}/failed:try-1"
    words = ("exec", layout, other, "--push-on-failure", failed, "--", "sh", "-c", "touch half; exit 5")
    assert failed in agent(*words, exits=5).stderr
    assert "half" in agent("ls", failed).stdout.splitlines()
    assert "README" in agent("ls", failed).stdout.splitlines()
    # What is remembered still speaks of the target: the next push goes there.
    assert agent.json("status", other)["target"] == layout
    assert agent.json("push", layout, other)["written"] == 1


def test_a_place_that_cannot_keep_them_does_not_hide_the_commands_code(
    agent: Agent, layout: str, work: Path, tmp_path: Path
) -> None:
    agent("push", layout, work)
    (tmp_path / "file").touch()
    failed = f"oci:{tmp_path}/file:try-1"
    words = ("exec", layout, work, "--push-on-failure", failed, "--", "sh", "-c", "exit 5")
    assert "were not pushed" in agent(*words, exits=5).stderr


def test_a_command_that_is_not_there_gives_127_and_one_that_cannot_run_126(
    agent: Agent, layout: str, work: Path
) -> None:
    assert "not found" in agent("exec", "--create", layout, work.with_name("a"), "--", "no-such-tool", exits=127).stderr
    assert "executed" in agent("exec", "--create", layout, work.with_name("b"), "--", "/etc/passwd", exits=126).stderr


def test_the_commands_environment_and_directory_are_the_users(agent: Agent, layout: str, work: Path) -> None:
    script = "import json, os; print(json.dumps([dict(os.environ), os.getcwd()]))"
    agent.environ["ODD"] = "a=b\nc"
    done = agent("exec", "--create", layout, work.with_name("other"), "--", sys.executable, "-c", script)
    environ, place = json.loads(done.stdout)
    assert {**environ, "LC_CTYPE": ""} == {**agent.environ, "LC_CTYPE": ""}
    assert place == str(work.with_name("other"))


def test_json_ends_the_output_with_one_object(agent: Agent, layout: str, work: Path) -> None:
    agent("push", layout, work)
    done = agent("exec", layout, work, "--json", "--", "sh", "-c", "echo out; touch new")
    first, last = done.stdout.splitlines()
    said = json.loads(last)
    assert first == "out"
    assert (said["exit_code"], said["pull"]["paths"], said["push"]["written"], said["kept"]) == (0, 4, 1, None)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_go_to_the_command(
    agent: Agent, layout: str, work: Path, eventually: Callable[[Callable[[], Any]], Any], signum: signal.Signals
) -> None:
    other = work.with_name("other")
    process = agent.start("exec", "--create", layout, other, "--", sys.executable, "-c", OBEDIENT, "7")
    eventually((other / "ready").exists)
    process.send_signal(signum)
    assert process.wait(20) == 7
    assert (other / "caught").read_text() == signum.name
    agent("log", layout, exits=12)  # nothing was published


def test_a_command_that_ends_well_on_a_signal_is_pushed(
    agent: Agent, layout: str, work: Path, eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    other = work.with_name("other")
    process = agent.start("exec", "--create", layout, other, "--", sys.executable, "-c", OBEDIENT, "0")
    eventually((other / "ready").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert agent("cat", layout, "caught").stdout == "SIGTERM"


def test_a_pull_that_fails_runs_nothing(agent: Agent, layout: str, work: Path) -> None:
    agent("exec", "--create", layout, work, "--", "touch", "ran", exits=12)
    agent("push", layout, work)
    (work / "README").write_text("local\n")
    agent("exec", layout, work, "--", "touch", "ran", exits=11)
    assert "ran" not in os.listdir(work)


def test_what_was_kept_of_a_failed_command_can_be_pulled_from_a_repository_of_its_own(
    agent: Agent, registry: str, work: Path, tmp_path: Path
) -> None:
    """Also where the workspace has a base, whose layers the other repository lacks."""
    name = f"{registry}/kept/{tmp_path.name.replace('_', '-').lower()}"
    agent("push", f"{name}/base:1", work)
    other, target = work.with_name("other"), f"{name}/run:ws"
    agent("exec", "--base", f"{name}/base:1", target, other, "--", "touch", "made")
    third = work.with_name("third")
    words = ("exec", target, third, "--push-on-failure", f"{name}/failed:1")
    agent(*words, "--", "sh", "-c", "rm README; touch half; exit 5", exits=5)
    agent("pull", f"{name}/failed:1", work.with_name("fourth"))
    assert sorted(os.listdir(work.with_name("fourth"))) == ["half", "link", "made", "src"]
    assert agent.json("status", third)["target"] == target


def test_base_path_is_for_a_base(agent: Agent, layout: str, work: Path) -> None:
    base = layout.replace("layout", "bases")
    agent("push", base, work)
    said = agent("exec", "--base-path", "src", layout, "other", "--", "true", exits=2).stderr
    assert "--base" in said
    agent("exec", "--base", base, "--base-path", "/src/", layout, "other", "--", "touch", "new")
    assert agent("ls", layout).stdout.split() == ["main.c", "new"]
    assert "below the root" in agent("pull", "--base", base, "--base-path", "../x", layout, "more", exits=2).stderr
