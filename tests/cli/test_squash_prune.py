"""`agent squash` and `agent prune` as users run them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli.main import agent as group
from tests.cli.conftest import Agent


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
    assert "deleted 0 entries" in agent("prune", layout).stderr, "they are younger than an hour"
    assert "deleted 3 entries" in agent("prune", layout, "--older-than", "0s").stderr
    agent("pull", layout, work.with_name("other"))
    assert (work.with_name("other") / "README").read_text() == "2\n"
    assert len(agent("log", layout).stdout.splitlines()) == 3
    agent("prune", "--all", layout)
    agent("log", layout, exits=12)


def test_squash_and_prune_of_a_target_that_holds_nothing_say_so(agent: Agent, layout: str) -> None:
    for command in ("squash", "prune"):
        assert "it holds nothing" in agent(command, layout, exits=12).stderr


@pytest.mark.parametrize("words", ["1 h", "h", "-1h", "1w", "", "1.5h"])
def test_a_duration_that_is_none_is_a_usage_error(words: str) -> None:
    result = CliRunner().invoke(group, ["prune", "reg.io/x:t", "--older-than", words])
    assert result.exit_code == 2
    assert "is no duration" in result.output
