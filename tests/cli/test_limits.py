"""Limits on the command line and in the steps' argument."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Agent


@pytest.fixture
def pushed(agent: Agent, layout: str, work: Path) -> str:
    agent("push", layout, work)
    return layout


@pytest.mark.parametrize("limit", ["entries=2", "bytes=1Ki", "depth=1", "toc=100"])
def test_a_limit_ends_a_pull_and_is_named(agent: Agent, pushed: str, limit: str) -> None:
    name = limit.partition("=")[0]
    told = agent("pull", "--limit", limit, pushed, "there", exits=31).stderr
    assert f"allow more with --limit {name}=N" in told
    assert list((agent.place / "there").iterdir()) == []
    agent("pull", "--limit", f"{name}=1Gi", "--limit", "ratio=7", pushed, "there")
    assert (agent.place / "there" / "src" / "main.c").exists()


@pytest.mark.sweep(2)
@pytest.mark.parametrize("command", ["ls", "diff", "squash", "exec"])
def test_other_commands_that_read_layers_take_it_too(agent: Agent, pushed: str, command: str) -> None:
    words = (pushed, "there", "--", "true") if command == "exec" else (pushed,)
    for count in (2, 3, 4):
        (agent.place / "work" / f"{count}").write_text("more")
        agent("push", pushed, "work")
    agent(command, "--limit", "entries=2", *words, exits=31)
    agent(command, "--limit", "entries=200", *words)


@pytest.mark.parametrize(
    "word", ["entries", "entries=", "entries=0", "entries=-1", "files=3", "bytes=1GB", "=1", "depth=x"]
)
def test_a_word_that_is_no_limit_is_refused(agent: Agent, layout: str, word: str) -> None:
    told = agent("pull", "--limit", word, layout, exits=2).stderr
    assert "is not NAME=N, NAME being one of bytes, entries, depth, toc, ratio" in told


def test_a_step_takes_limits_in_its_argument(agent: Agent, pushed: str) -> None:
    for name in ("volume", "there"):
        (agent.place / name).mkdir()
    workspace = {"name": "ws", "directory": str(agent.place / "there"), "target": pushed}
    argument = {"volume": str(agent.place / "volume"), "workspaces": [workspace]}

    def step(limits: object, exits: int) -> str:
        done = agent("step", "pull", json.dumps({**argument, "limits": limits}), exits=exits)
        return str(done.stderr)

    assert "limits.entries in the step's argument" in step({"entries": 2}, 31)
    assert "limits.entries: not a positive integer" in step({"entries": "2"}, 2)
    assert "unknown field 'files'" in step({"files": 2}, 2)
    step({"entries": 200, "ratio": 7}, 0)
