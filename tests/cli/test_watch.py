"""`agent watch`: pushes at rest, a registry that is away, a clean end."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Agent
from tests.fakes.docker_registry import BINARY, DockerRegistry

pytestmark = pytest.mark.timeout(60)


def test_what_changes_is_pushed_when_it_is_at_rest(agent: Agent, target: str, work: Path) -> None:
    process = agent.start("watch", target, work, "--settle", "0.2")
    assert process.stderr is not None
    assert "pushed" in _said(process.stderr, "agent: pushed")
    (work / "new").mkdir()
    (work / "new" / "file").write_text("one\n")
    assert "2 written" in _said(process.stderr, "agent: pushed")
    assert agent("cat", target, "new/file").stdout == "one\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly(agent: Agent, layout: str, work: Path, signum: int) -> None:
    process = agent.start("watch", layout, work, "--settle", "0.2", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["written"] == 4
    process.send_signal(signum)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")
    assert agent.json("push", layout, work)["id"] is None


def test_it_survives_a_registry_that_is_away(agent: Agent, work: Path, tmp_path: Path) -> None:
    if shutil.which(BINARY) is None:
        pytest.skip(f"{BINARY} is not installed")
    (tmp_path / "registry").mkdir()
    running = DockerRegistry(tmp_path / "registry")
    address = running.address
    target = f"{address}/watch/away:ws"
    try:
        process = agent.start("watch", target, work, "--settle", "0.1", "--patience", "1s")
        assert process.stderr is not None
        _said(process.stderr, "agent: pushed")
    finally:
        running.close()
    (work / "one").touch()
    assert "trying again when" in _said(process.stderr, "agent: warning")
    again = DockerRegistry(tmp_path / "registry", http={"addr": address})
    try:
        (work / "two").touch()
        assert "2 written" in _said(process.stderr, "agent: pushed")
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)
        again.close()
    assert code == 0


def test_a_directory_that_is_not_there_ends_it(agent: Agent, layout: str, tmp_path: Path) -> None:
    agent("watch", layout, tmp_path / "nowhere", exits=40)


def _said(stream: Any, start: str) -> str:
    for line in stream:
        if line.startswith(start):
            return str(line)
    raise AssertionError(f"no line starts with {start!r}")
