"""`agent squash` and `agent prune` as users run them."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli.main import agent as group
from tests.cli.conftest import Agent
from tests.fakes.small_registry import SmallRegistry


def test_squash_then_prune_then_pull_gives_the_same_files(agent: Agent, layout: str, work: Path) -> None:
    for number in range(3):
        (work / "README").write_text(f"{number}\n")
        agent("push", layout, work, "-m", f"push {number}")
    assert "squashed 3 changes into" in agent("squash", layout).stderr
    assert "nothing to squash" in agent("squash", layout).stderr
    shown = agent("log", layout).stdout.splitlines()
    assert len(shown) == 3
    assert all("(squashed)" in line for line in shown)
    assert "would delete 3 entries" in agent("prune", layout, "--dry-run", "--older-than", "0").stderr
    said = agent("prune", layout).stderr
    assert "deleted 0 entries" in said
    assert "3 kept for a prune after 20" in said, "the checkpoint is younger than an hour"
    assert "deleted 3 entries" in agent("prune", layout, "--older-than", "0s").stderr
    agent("pull", layout, work.with_name("other"))
    assert (work.with_name("other") / "README").read_text() == "2\n"
    assert len(agent("log", layout).stdout.splitlines()) == 3
    agent("prune", "--all", layout)
    agent("log", layout, exits=12)


def test_squash_and_prune_of_a_target_that_holds_nothing_say_so(agent: Agent, layout: str) -> None:
    for command in ("squash", "prune"):
        assert "it holds nothing" in agent(command, layout, exits=12).stderr


def test_a_prune_that_deletes_nothing_fails_and_says_what_to_do(agent: Agent, tmp_path: Path) -> None:
    with closing(SmallRegistry("in name only")) as registry:
        target, work = f"{registry.address}/team/ws:main", tmp_path / "work"
        work.mkdir()
        (work / "file").write_text("x")
        agent("push", target, work)
        for words in (["--older-than", "0s"], ["--all"]):
            said = agent("prune", target, *words, exits=21).stderr.splitlines()
            assert "deleted 0 entries" in said[-2]
            assert "still there" in said[-1]
            assert said[-1].endswith("or delete the tags by the registry's own means")
            done = agent("prune", target, *words, "--json", exits=21)
            assert json.loads(done.stdout)["refused"] > 0
            assert json.loads(done.stderr)["error"]["exit_code"] == 21
        registry.deletes = "by tag"
        agent("prune", target, "--all")
        assert registry.tags("team/ws") == []


@pytest.mark.parametrize("words", ["1 h", "h", "-1h", "1w", "", "1.5h"])
def test_a_duration_that_is_none_is_a_usage_error(words: str) -> None:
    result = CliRunner().invoke(group, ["prune", "reg.io/x:t", "--older-than", words])
    assert result.exit_code == 2
    assert "is no duration" in result.output
