"""docs/reference/json.md says what `--json` prints, no more and no less."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from agent.sync.operation.report import ConflictReport
from tests.cli.conftest import Agent

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "json.md"
FREE_FORM = {"changes[].annotations", "object"}
CONFLICT = asdict(ConflictReport("p", "content", [], [], None))


def _documented() -> dict[str, set[str]]:
    sections: dict[str, set[str]] = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            fields = sections.setdefault(line[3:].strip("`"), set())
        elif match := re.match(r"\| `([^`]+)` \|", line):
            fields.add(match[1])
    return sections


def _fields(value: Any, name: str = "") -> set[str]:
    """Dotted names of an object's fields, `[]` for the elements of a list."""
    if isinstance(value, dict) and name not in FREE_FORM:
        below = {f"{name}.{key}".lstrip("."): item for key, item in value.items()}
        names = set().union(*(_fields(item, key) for key, item in below.items()))
        return names | {key for key, item in below.items() if not isinstance(item, dict) or not item}
    if isinstance(value, list):
        return set().union(*(_fields(item, f"{name}[]") for item in value if isinstance(item, dict)))
    return {name} if name in FREE_FORM else set()


@pytest.fixture
def everything(agent: Agent, layout: str, work: Path) -> dict[str, dict[str, Any]]:
    """One object of each command, with something in every list."""
    other = work.with_name("other")
    printed = {"agent push": agent.json("push", layout, work)}
    printed["agent pull"] = agent.json("pull", layout, other)
    (other / "README").write_text("changed\n")
    printed["agent status"] = agent.json("status", other)
    agent("push", layout, other, "--annotation", "a=b")
    printed["agent diff"] = agent.json("diff", layout)
    printed["agent log"] = agent.json("log", layout)
    printed["agent ls"] = agent.json("ls", layout)
    printed["agent doctor"] = agent.json("doctor", layout)
    printed["agent cat"] = agent.json("cat", layout, "README")
    done = agent("exec", layout, other, "--json", "--", "true")
    printed["agent exec"] = json.loads(done.stdout)
    printed["agent squash"] = agent.json("squash", layout)
    printed["agent prune"] = agent.json("prune", layout)
    bundle = layout.replace(":ws", ":bundle")
    (work / "task.yaml").write_text("{apiVersion: tekton.dev/v1, kind: Task, metadata: {name: t}, spec: {}}")
    printed["agent bundle push"] = agent.json("bundle", "push", bundle, "-f", work / "task.yaml")
    printed["agent bundle list"] = agent.json("bundle", "list", bundle)
    printed["agent bundle get"] = agent.json("bundle", "get", bundle, "t")
    (agent.place / "volume").mkdir()
    named = {"name": "source", "directory": str(work.with_name("fresh")), "target": layout}
    argument = json.dumps({"volume": str(agent.place / "volume"), "workspaces": [named]})
    work.with_name("fresh").mkdir()
    for word in ("pull", "push"):
        agent("step", word, argument)
    printed["report.json"] = json.loads((agent.place / "volume" / "report.json").read_text())
    for name in ("agent push", "agent pull", "agent log"):
        printed[name]["conflicts"] = [CONFLICT]
    return printed


def test_documented_and_printed_fields_agree(everything: dict[str, dict[str, Any]]) -> None:
    documented = _documented()
    every = documented.pop("Every command")
    documented.pop("Errors")
    assert documented.keys() == everything.keys()
    for command, fields in documented.items():
        printed = everything[command]
        if command == "agent exec":
            assert printed["pull"].keys() | every == everything["agent pull"].keys()
            assert printed["push"].keys() | every == everything["agent push"].keys()
            found = set(printed)
        elif command == "report.json":
            (pushed,) = printed["workspaces"]
            assert pushed["push"].keys() | every == everything["agent push"].keys()
            found = {*printed, *(f"workspaces[].{field}" for field in pushed), *every}
        else:
            found = _fields(printed)
        assert found == fields | every, command


def test_documented_and_printed_errors_agree(agent: Agent) -> None:
    done = agent("pull", "nowhere", "--json", exits=2)
    assert _fields(json.loads(done.stderr)) == _documented()["Errors"]


def test_a_conflict_is_in_the_object(agent: Agent, layout: str, work: Path) -> None:
    other, third = work.with_name("other"), work.with_name("third")
    agent("push", layout, work)
    agent("pull", layout, other)
    (work / "README").write_text("ours\n")
    (other / "README").write_text("theirs\n")
    agent("push", layout, work, "--lane", "ours")
    agent("push", layout, other, "--lane", "theirs")
    (conflict,) = agent.json("pull", layout, third)["conflicts"]
    assert conflict.keys() == CONFLICT.keys()
    assert (conflict["path"], conflict["kind"], sorted(conflict["lanes"])) == ("README", "content", ["ours", "theirs"])
    assert "conflict at README" in agent("pull", layout, work.with_name("fourth")).stderr
    assert agent.json("log", layout)["conflicts"] == [conflict]
    assert "conflict at README" in agent("log", layout).stdout
