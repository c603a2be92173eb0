"""Mistakes and interruptions, as a user meets them: nothing is lost, and each line names the way on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.cli.main import run as run_here
from tests.cli.conftest import Agent

# Runs the command line, and has a signal come in the middle of something.
STRUCK = """
import os, sys
from agent.sync.upload.pack_layer import LayerUpload
from agent.workspace.write.tree_writer import TreeWriter

def strike(*args, **named):
    try:
        os.kill(os.getpid(), int(sys.argv[1]))
    finally:  # while all is left clean
        if int(sys.argv[2]) == 2:
            os.kill(os.getpid(), int(sys.argv[1]))

done = []

def write_file(*args, real=TreeWriter.write_file, **named):
    done.append(args)
    return strike() if len(done) == 2 else real(*args, **named)

where = sys.argv[3]
if where == "pull":
    TreeWriter.write_file = write_file
elif where == "pull begins":
    import agent.sync.remote.target
    agent.sync.remote.target.Target.read_snapshot = strike
elif where == "push":
    LayerUpload.send = strike
elif where == "read":
    import agent.sync.commands.read_target
    agent.sync.commands.read_target.log = strike
from agent.cli.main import run
sys.exit(run(sys.argv[4:]))
"""


@pytest.fixture
def strike(agent: Agent) -> Any:
    """Run a command, and send it a signal in the middle of something."""

    def run(
        where: str, *words: str | Path, signum: int = signal.SIGINT, times: int = 1
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", STRUCK, str(int(signum)), str(times), where, *map(str, words)]
        return subprocess.run(
            command,
            cwd=agent.place,
            env=agent.environ,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


class Here:
    """Runs the command line in this process, which is faster than starting one: as `Agent` otherwise."""

    def __init__(self, read: Any) -> None:
        self._read = read

    def __call__(self, *words: str | Path, exits: int = 0) -> Any:
        self._read()
        code = run_here([*map(str, words)])
        out, err = self._read()
        assert code == exits, f"{words} exited {code}\n{out}\n{err}"
        return SimpleNamespace(stdout=out, stderr=err)

    def json(self, *words: str | Path, exits: int = 0) -> Any:
        return json.loads(self(*words, "--json", exits=exits).stdout)


@pytest.fixture
def here(agent: Agent, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    for name in [name for name in os.environ if name.startswith(("XDG_", "INSTEP_", "DOCKER_", "REGISTRY_"))]:
        monkeypatch.delenv(name)
    for name, value in agent.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(agent.place)
    return Here(capfd.readouterr)


def last(done: Any) -> str:
    return str(done.stderr.splitlines()[-1])


def test_a_typing_error_empties_no_directory(here: Here, target: str, work: Path) -> None:
    here("push", target.replace(":ws", ":main"), work)
    typo = target.replace(":ws", ":mian")
    before = sorted(work.rglob("*"))
    for words in (["pull", typo, work], ["pull", "--force", typo, work], ["exec", typo, work, "--", "touch", "ran"]):
        said = last(here(*words, exits=12))
        assert said == (
            f"agent: error: {typo}: it holds nothing (the nearest tag there: main); "
            "check the name, or start a workspace there with --create or --base"
        )
    here("pull", "--create", "--force", typo, work, exits=12)
    here("exec", "--create", "--force", typo, work, "--", "touch", "ran", exits=12)
    assert sorted(work.rglob("*")) == before


@pytest.mark.parametrize(
    "words", [["log"], ["ls"], ["ls", "-l"], ["diff"], ["squash"], ["prune"], ["prune", "--all"], ["cat", "README"]]
)
def test_one_code_and_one_line_for_a_target_that_holds_nothing(
    here: Here, layout: str, work: Path, words: list[str]
) -> None:
    here("push", layout, work)
    command, *rest = words
    typo = layout.replace(":ws", ":sw")
    said = here(command, *(word for word in rest if word[0] == "-"), typo, *(w for w in rest if w[0] != "-"), exits=12)
    assert said.stderr == (
        f"agent: error: {typo}: it holds nothing (the nearest tag there: ws); check the name and the tag\n"
    )
    assert said.stdout == ""


def test_a_workspace_is_started_with_create(here: Here, target: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    said = here.json("pull", "--create", target, other)
    assert (said["paths"], os.listdir(other)) == (0, [])
    here("exec", "--create", target, other, "--", "touch", "made")
    assert here("ls", target).stdout == "made\n"
    here("exec", target, other, "--", "touch", "more")
    assert here("ls", target).stdout == "made\nmore\n"


def test_a_failed_command_leaves_a_directory_that_the_next_exec_can_discard_or_a_push_publish(
    here: Here, layout: str, work: Path
) -> None:
    here("push", layout, work)
    failed = ("exec", layout, work, "--", "sh", "-c", "touch half; exit 3")
    said = last(here(*failed, exits=3))
    assert f"CMD ended with 3, so that nothing was pushed to {layout}" in said
    assert f"(agent push {layout} {work})" in said
    refused = last(here("exec", layout, work, "--", "true", exits=11))
    assert refused.endswith("local changes (half); push them first, or discard them with --force")
    here("exec", "--force", layout, work, "--", "sh", "-c", "! test -e half")
    here(*failed, exits=3)
    here("push", layout, work)
    assert "half" in here("ls", layout).stdout.split()
    here("exec", layout, work, "--", "true")


def test_exec_can_take_over_a_directory_with_other_files(here: Here, layout: str, work: Path, tmp_path: Path) -> None:
    here("push", layout, work)
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine").write_text("mine")
    assert "--force" in last(here("exec", layout, other, "--", "true", exits=11))
    assert sorted(os.listdir(other)) == ["mine"]
    here("exec", "--force", layout, other, "--", "true")
    assert sorted(os.listdir(other)) == ["README", "link", "src"]


def test_a_lane_that_published_nothing_is_told(here: Here, target: str, work: Path, tmp_path: Path) -> None:
    here("push", target, work, "--lane", "run-7/build")
    said = here("pull", target, tmp_path / "other", "--after", "run-7/biuld")
    assert f"{target}: lane run-7/biuld published nothing (the nearest lane: run-7/build)" in said.stderr
    (notice,) = here.json("pull", target, tmp_path / "other", "--after", "run-7/biuld")["notices"]
    assert "published nothing" in notice
    assert "published nothing" not in here("pull", target, tmp_path / "o", "--after", "run-7/build").stderr


def test_a_lane_that_was_pruned_published_something(here: Here, layout: str, work: Path, tmp_path: Path) -> None:
    here("push", layout, work, "--lane", "build")
    here("prune", "--older-than", "0s", layout)
    assert "published nothing" not in here("pull", layout, tmp_path / "other", "--after", "build").stderr


def test_paths_that_match_nothing_are_told(here: Here, target: str, work: Path, tmp_path: Path) -> None:
    here("push", target, work)
    see = "list the paths to find it"
    said = here("ls", target, "nope", exits=2)
    assert (said.stdout, said.stderr) == ("", f"agent: error: {target}: nothing in it matches nope; {see}\n")
    said = here("ls", target, "src", "nope*", "README", "src/*.h", exits=2)
    assert said.stdout.splitlines() == ["README", "src/", "src/main.c"]
    assert said.stderr == f"agent: error: {target}: nothing in it matches nope*, src/*.h; {see}\n"
    done = here("ls", target, "nope", "--json", exits=2)
    assert (done.stdout, json.loads(done.stderr)["error"]["exit_code"]) == ("", 2)
    here("cat", target, "nope", exits=2)
    other = tmp_path / "other"
    said = here("pull", target, other, "--path", "src", "--path", "nope*", exits=2)
    assert said.stderr.splitlines()[-1] == f"agent: error: {target}: nothing in it matches nope*; {see}"
    assert not other.exists()
    here("pull", target, other, "--path", "src")
    here("pull", target, other, "--path", "nope*", exits=2)
    assert os.listdir(other) == ["src"]
    assert here.json("status", other)["sparse"] == ["src"]
    # Where a workspace may be about to begin, a path may yet come.
    assert "nothing in it matches nope" in here("pull", "--create", target, tmp_path / "o", "--path", "nope").stderr


def test_what_a_directory_was_pulled_with_may_vanish(here: Here, layout: str, work: Path, tmp_path: Path) -> None:
    here("push", layout, work)
    other = tmp_path / "other"
    here("pull", layout, other, "--path", "src")
    shutil.rmtree(work / "src")
    here("push", layout, work)
    assert "nothing in it matches src" in here("pull", layout, other).stderr
    assert os.listdir(other) == []


def test_a_sparse_directory_stays_sparse(here: Here, target: str, work: Path, tmp_path: Path) -> None:
    here("push", target, work)
    other = tmp_path / "other"
    here("pull", target, other, "--path", "src")
    (work / "README").write_text("new\n")
    (work / "src" / "new.c").write_text("new\n")
    here("push", target, work)
    said = last(here("pull", target, other))
    assert "2 not selected (--path '**' selects all)" in said
    assert (os.listdir(other), sorted(os.listdir(other / "src"))) == (["src"], ["main.c", "new.c"])
    here("exec", target, other, "--", "sh", "-c", "touch src/made")
    assert os.listdir(other) == ["src"]
    (other / "src" / "main.c").write_text("mine\n")
    here("pull", target, other, "--force")
    assert os.listdir(other) == ["src"]
    assert here.json("status", other)["sparse"] == ["src"]
    here("pull", target, other, "--path", "**")
    assert sorted(os.listdir(other)) == ["README", "link", "src"]
    assert here.json("status", other)["sparse"] == []
    here("pull", target, work)
    assert here("push", target, other).stderr.splitlines()[-1].startswith("agent: nothing to push")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_pull_that_is_ended_says_how_the_directory_is_left_and_how_to_go_on(
    here: Here, strike: Any, target: str, work: Path, tmp_path: Path, signum: signal.Signals, code: int
) -> None:
    here("push", target, work)
    other = tmp_path / "other"
    done = strike("pull", "pull", target, other, signum=signum)
    way_on = f"go on with: agent pull {target} {other}"
    assert done.returncode == code
    assert last(done) == (
        f"agent: error: agent pull: ended by {signum.name}; {other} is between two states, "
        f"and nothing that was pushed is lost: {way_on}"
    )
    story = f"{other}: a pull of {target} into this directory was interrupted; {way_on}"
    said = here("status", other)
    assert (said.stdout, said.stderr) == (f"{target} at nothing yet\n", f"agent: warning: {story}\n")
    for command in ("push", "watch"):
        assert last(here(command, target, other, exits=11)) == f"agent: error: {story}"
    assert here.json("status", other)["interrupted"]
    done = here("exec", target, other, "--", "ls")
    assert f"warning: {story.partition(';')[0]}; this one replaces what it left" in done.stderr
    assert done.stdout.split() == ["README", "link", "src"]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_pull_that_is_ended_before_it_writes_says_so(
    here: Here, strike: Any, layout: str, work: Path, tmp_path: Path, signum: signal.Signals, code: int
) -> None:
    here("push", layout, work)
    other = tmp_path / "other"
    done = strike("pull begins", "pull", layout, other, signum=signum)
    assert done.returncode == code
    assert done.stderr == (
        f"agent: error: agent pull: ended by {signum.name}; nothing in {other} was changed, "
        "and nothing is lost: run it again\n"
    )
    here("pull", layout, other)


def test_a_push_that_is_ended_says_how_to_go_on(here: Here, strike: Any, layout: str, work: Path) -> None:
    done = strike("push", "push", layout, work)
    assert done.returncode == 130
    assert last(done) == (
        f"agent: error: agent push: ended by SIGINT; nothing in {work} was changed, and nothing is lost: run it again"
    )
    assert here.json("push", layout, work)["written"] == 4


def test_what_only_reads_is_ended_in_one_line(here: Here, strike: Any, layout: str, work: Path) -> None:
    here("push", layout, work)
    done = strike("read", "log", layout)
    assert (done.returncode, done.stderr) == (130, "agent: error: agent log: ended by SIGINT; run it again\n")


def test_an_exec_that_is_ended_says_whether_the_command_is_done(
    here: Here, strike: Any, layout: str, work: Path, tmp_path: Path
) -> None:
    here("push", layout, work)
    other = tmp_path / "other"
    done = strike("pull", "exec", layout, other, "--", "touch", "ran")
    assert done.returncode == 130
    assert f"go on with: agent pull {layout} {other}" in last(done)
    assert not (other / "ran").exists()
    done = strike("push", "exec", layout, other, "--", "touch", "ran")
    assert done.returncode == 130
    assert last(done).endswith(f"nothing is lost: CMD is done; go on with: agent push {layout} {other}")
    assert here.json("push", layout, other)["written"] == 1


def test_machines_are_told_by_an_object(here: Here, strike: Any, layout: str, work: Path) -> None:
    here("push", layout, work)
    done = strike("pull", "pull", layout, "other", "--json")
    error = json.loads(done.stderr)["error"]
    assert done.stdout == ""
    assert (error["kind"], error["exit_code"], done.returncode) == ("Interrupted", 130, 130)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once_and_loses_nothing(
    here: Here, strike: Any, layout: str, work: Path, signum: signal.Signals
) -> None:
    here("push", layout, work)
    done = strike("pull", "pull", layout, "other", signum=signum, times=2)
    assert done.returncode == -signum
    assert "Traceback" not in done.stderr
    here("pull", layout, "other")


def test_a_signal_that_is_ignored_stays_ignored(agent: Agent, here: Here, layout: str, work: Path) -> None:
    """As in a job that a shell started in the background."""
    here("push", layout, work)
    script = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from agent.sync.remote.target import Target\n"
        "real = Target.read_snapshot\n"
        "Target.read_snapshot = lambda *args: (os.kill(os.getpid(), signal.SIGINT), real(*args))[1]\n"
        "from agent.cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, "pull", layout, "other"]
    subprocess.run(command, env=agent.environ, cwd=agent.place, capture_output=True, timeout=60, check=True)
    assert (agent.place / "other" / "README").exists()


def test_another_directory_is_pushed_as_a_fresh_one(here: Here, layout: str, work: Path) -> None:
    here("push", layout, work)
    shutil.rmtree(work)
    work.mkdir()
    (work / "mine").write_text("mine")
    other = layout + "-other"
    said = here("push", other, work)
    assert "1 written, 0 deleted" in last(said)
    assert "what was remembered of another directory, which was here before, is kept in " in said.stderr
    assert here("ls", other).stdout == "mine\n"
    assert "already holds a workspace" in last(here("push", layout, work, exits=11))


def test_a_state_from_a_backup_is_told(here: Here, layout: str, work: Path, tmp_path: Path) -> None:
    here("push", layout, work)
    shutil.copytree(tmp_path / "state", tmp_path / "backup")
    other = tmp_path / "other"
    here("pull", layout, other, "--state", tmp_path / "another")
    (other / "README").write_text("from others\n")
    here("push", layout, other, "--state", tmp_path / "another")
    here("pull", layout, work)
    shutil.rmtree(tmp_path / "state")
    shutil.copytree(tmp_path / "backup", tmp_path / "state")
    assert "older than the last pull" in here("status", work).stderr
    assert here.json("status", work)["outdated"]
    assert "older than the last pull" in last(here("push", layout, work, exits=11))
    assert "older than the last pull" in last(here("pull", layout, work, exits=11))
    here("pull", "--force", layout, work)
    assert not here.json("status", work)["outdated"]
