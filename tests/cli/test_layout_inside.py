"""A store inside the workspace is refused before anything is written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Agent

PLACES: dict[str, Callable[[Path], str]] = {
    "in it": lambda place: f"{place}/w/r",
    "it": lambda place: f"{place}/w",
    "deep in it": lambda place: f"{place}/w/a/b/r",
    "relative": lambda place: "w/r",
    "with dots": lambda place: "w/../w/./r",
    "through a link": lambda place: f"{place}/link/r",
    "through a link into it": lambda place: f"{place}/into/r",
}


@pytest.fixture
def work(agent: Agent) -> Path:
    (agent.place / "w" / "d").mkdir(parents=True)
    (agent.place / "w" / "f").write_text("f")
    (agent.place / "link").symlink_to("w")
    (agent.place / "into").symlink_to("w/d")
    return agent.place / "w"


def everything(top: Path) -> list[str]:
    return sorted(
        os.path.join(directory, name) for directory, *found in os.walk(top) for names in found for name in names
    )


@pytest.mark.sweep(2)
@pytest.mark.parametrize("case", PLACES)
def test_no_command_makes_a_store_in_the_workspace(agent: Agent, work: Path, case: str) -> None:
    target = f"oci:{PLACES[case](agent.place)}:t"
    before = everything(agent.place)
    for words in (
        ("push", target, "w"),
        ("pull", target, "w"),
        ("pull", "--force", target, "w"),
        ("exec", target, "w", "--", "touch", "w/ran"),
        ("watch", target, "w"),
        ("exec", f"oci:{agent.place}/ok:t", "w", "--push-on-failure", target, "--", "touch", "w/ran"),
    ):
        done = agent(*words, exits=2)
        assert "inside the workspace" in done.stderr, words
        assert everything(agent.place) == before, words


def test_a_base_in_the_workspace_is_refused(agent: Agent, work: Path) -> None:
    (agent.place / "other").mkdir()
    agent("push", f"oci:{agent.place}/elsewhere:b", "w")
    os.rename(agent.place / "elsewhere", work / "base")
    done = agent("pull", "--force", "--base", f"oci:{work}/base:b", f"oci:{agent.place}/new:t", "w", exits=12)
    assert "it is left alone" in done.stderr
    assert (work / "base" / "index.json").exists()


def test_a_store_beside_the_workspace_is_fine(agent: Agent, work: Path) -> None:
    agent("push", f"oci:{agent.place}/w-store:t", "w")
    agent("push", "oci:w/../store:t", "w")
    agent("pull", f"oci:{agent.place}/w-store:t", "w2")


def test_no_workspace_of_a_task_holds_the_store_of_another(agent: Agent, work: Path) -> None:
    (agent.place / "v").mkdir()
    (agent.place / "z").mkdir()
    argument = {
        "volume": str(agent.place / "v"),
        "workspaces": [
            {"name": "a", "directory": str(work), "target": f"oci:{agent.place}/store:a"},
            {"name": "b", "directory": str(agent.place / "z"), "target": f"oci:{work}/store:b"},
        ],
    }
    before = everything(agent.place)
    for verb in ("pull", "push"):
        done = agent("step", verb, json.dumps(argument), exits=2)
        assert "inside the workspace" in done.stderr
    assert everything(agent.place) == before
