"""A registry that goes away, or that will not take what a command makes: waited for, told, told early."""

from __future__ import annotations

import base64
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Agent
from tests.fakes.docker_registry import DockerRegistry
from tests.fakes.proxy import Fault, FaultProxy
from tests.fakes.secrets import secret
from tests.fakes.token_server import TokenServer

PASSWORD = secret("password")
DENIED = b'{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}'


@pytest.fixture
def own(tmp_path: Path) -> Iterator[DockerRegistry]:
    """A registry that may be stopped."""
    running = DockerRegistry(tmp_path / "own")
    yield running
    running.close()


@pytest.fixture(autouse=True)
def make_place(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()


@pytest.fixture
def dead() -> str:
    """An address at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def proxy(registry: str) -> Iterator[FaultProxy]:
    with FaultProxy(registry) as running:
        yield running


def argument(tmp_path: Path, *targets: str, **fields: Any) -> str:
    """Return what steps are told, with a workspace for each target, and make its directories."""
    workspaces = []
    for number, target in enumerate(targets):
        directory = tmp_path / f"ws{number}"
        directory.mkdir(exist_ok=True)
        told = {"name": f"ws{number}", "directory": str(directory), "target": target, "fresh": True}
        workspaces.append({**told, **fields.pop(f"ws{number}", {})})
    volume = tmp_path / "volume"
    volume.mkdir(exist_ok=True)
    return json.dumps({"volume": str(volume), "workspaces": workspaces, **fields})


def beside_an_outage(agent: Agent, registry: DockerRegistry, seconds: float, *words: str) -> str:
    """Return what a command said whose registry comes back so long after it said that it waits."""
    registry.close()
    running = agent.start(*words)
    assert running.stderr is not None
    said = ""
    while "trying again" not in said:
        line = running.stderr.readline()
        assert line, said
        said += line
    time.sleep(seconds)
    assert running.poll() is None, said
    registry.start()
    said += running.communicate(timeout=60)[1]
    assert running.returncode == 0, said
    return said


def test_a_task_is_not_lost_to_a_registry_that_is_away_when_it_ends(
    agent: Agent, own: DockerRegistry, tmp_path: Path
) -> None:
    told = argument(tmp_path, f"{own.address}/task:ws", patience="60s")
    agent("step", "pull", told)
    (tmp_path / "ws0" / "made").write_text("in hours")
    said = beside_an_outage(agent, own, 1.0, "step", "push", told)
    assert "connection refused); trying again until nothing has moved for 1m" in said
    assert "agent: pushed" in said
    agent("pull", f"{own.address}/task:ws", tmp_path / "there")
    assert (tmp_path / "there" / "made").read_text() == "in hours"


@pytest.mark.slow
def test_three_quarters_of_a_minute_without_a_registry_are_survived_by_default(
    agent: Agent, own: DockerRegistry, work: Path
) -> None:
    beside_an_outage(agent, own, 45.0, "push", f"{own.address}/task:ws", str(work))


@pytest.mark.parametrize("command", ["pull", "push", "log", "ls", "squash", "prune", "doctor"])
def test_every_command_ends_with_its_patience(agent: Agent, dead: str, work: Path, command: str) -> None:
    words = [f"{dead}/team/ws:main", *([str(work)] if command in ("pull", "push") else [])]
    if command == "pull":
        words[1] = str(work.with_name("empty"))
    said = agent(command, "--patience", "1s", *words, exits=21).stderr
    assert "nothing listens there (connection refused), and nothing moved for 1s; " in said


def test_a_wrong_name_is_told_at_once(agent: Agent, work: Path) -> None:
    said = agent("push", "no-such-registry.invalid/team/ws:main", work, exits=21).stderr
    assert "its name is not known" in said
    assert "trying again" not in said


@pytest.mark.parametrize("words", ["0s", "soon", "-1s", "1.5m"])
def test_a_patience_that_is_none_is_refused(agent: Agent, layout: str, tmp_path: Path, words: str) -> None:
    agent("pull", f"--patience={words}", layout, "x", exits=2)
    agent("step", "pull", argument(tmp_path, layout, patience=words), exits=2)


def test_a_step_has_the_patience_that_it_is_told(agent: Agent, dead: str, tmp_path: Path) -> None:
    told = argument(tmp_path, f"{dead}/team/ws:main", patience="1s")
    assert "nothing moved for 1s" in agent("step", "pull", told, exits=21).stderr


# Told before the work


@pytest.fixture
def guarded(proxy: FaultProxy) -> Iterator[TokenServer]:
    """The token server of the registry behind the proxy."""
    tokens = TokenServer(users={"me": PASSWORD})
    proxy.add_rule(tokens.gate)
    yield tokens
    tokens.close()


def credentials(tmp_path: Path, address: str) -> dict[str, str]:
    """Log in, and return the field of the steps' argument that leads there."""
    place = tmp_path / "credentials" / ".docker"
    place.mkdir(parents=True)
    login = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    (place / "config.json").write_text(json.dumps({"auths": {address: {"auth": login}}}))
    return {"credentials": str(place.parent)}


def test_a_missing_login_is_told_before_the_task(
    agent: Agent, proxy: FaultProxy, guarded: TokenServer, tmp_path: Path
) -> None:
    target = f"{proxy.address}/early/missing:ws"
    said = agent("step", "pull", argument(tmp_path, target), exits=20).stderr
    assert f"workspace ws0 at {target}: nothing could be pushed there after the task: " in said
    assert "secret" in said.rpartition(";")[2]


def test_an_account_that_may_only_pull_is_told_before_the_task(
    agent: Agent, proxy: FaultProxy, guarded: TokenServer, tmp_path: Path
) -> None:
    guarded.rights = frozenset({"pull"})
    target = f"{proxy.address}/early/pull-only:ws"
    told = argument(tmp_path, target, **credentials(tmp_path, proxy.address))
    said = agent("step", "pull", told, exits=20).stderr
    assert f"workspace ws0 at {target}: nothing could be pushed there after the task: the registry refuses" in said
    assert PASSWORD not in said
    guarded.rights = frozenset({"pull", "push"})
    assert "a push will be let in" in agent("step", "pull", told).stderr
    agent("step", "push", told)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(403, body=DENIED), 20),
        (Fault(404), 21),
        (Fault(405), 21),
        (Fault(200, {"Content-Type": "text/html"}), 21),
    ],
    ids=lambda value: str(getattr(value, "status", value)),
)
def test_a_repository_that_takes_no_uploads_is_told_before_the_task(
    agent: Agent, proxy: FaultProxy, tmp_path: Path, fault: Fault, code: int
) -> None:
    proxy.on("POST", "/blobs/uploads/", fault, times=9)
    target = f"{proxy.address}/early/refused:ws"
    said = agent("step", "pull", argument(tmp_path, target), exits=code).stderr
    assert f"{target}: nothing could be pushed there after the task: " in said


def test_what_is_begun_to_see_it_is_given_up_again(agent: Agent, proxy: FaultProxy, tmp_path: Path) -> None:
    agent("step", "pull", argument(tmp_path, f"{proxy.address}/early/clean:ws"))
    assert [seen.method for seen in proxy.seen] == ["POST", "DELETE"]
    assert (
        proxy.seen[0].path.partition("?")[0] + proxy.seen[1].path.partition("?")[0].rpartition("/")[2]
        == (proxy.seen[1].path.partition("?")[0])
    )


def test_nothing_is_tried_for_a_workspace_that_is_only_read(agent: Agent, proxy: FaultProxy, tmp_path: Path) -> None:
    told = argument(tmp_path, f"{proxy.address}/early/read:ws", ws0={"read-only": True, "fresh": False})
    agent("step", "pull", told)
    assert proxy.count("POST") == 0


def test_one_repository_that_takes_nothing_stops_the_step_before_any_is_pulled(
    agent: Agent, proxy: FaultProxy, tmp_path: Path
) -> None:
    proxy.on("POST", "/refused/", Fault(403, body=DENIED), times=9)
    told = argument(
        tmp_path, f"{proxy.address}/early/fine:ws", f"{proxy.address}/early/refused:ws", ws0={"fresh": False}
    )
    agent("step", "pull", told, exits=20)
    assert proxy.count("GET") == 0


def test_exec_does_not_run_a_command_whose_work_could_not_be_pushed(
    agent: Agent, proxy: FaultProxy, tmp_path: Path
) -> None:
    proxy.on("POST", "/blobs/uploads/", Fault(403, body=DENIED), times=9)
    said = agent("exec", f"{proxy.address}/early/exec:ws", tmp_path / "x", "--", "touch", tmp_path / "ran", exits=20)
    assert "nothing could be pushed there" in said.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_layout_that_cannot_be_written_is_told_before_the_task(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    agent("step", "pull", argument(tmp_path, f"oci:{tmp_path}/closed/layout:ws"), exits=21)


# Lanes that published nothing


def test_a_pull_behind_a_lane_that_published_nothing_costs_no_second(
    agent: Agent, registry: str, work: Path, tmp_path: Path
) -> None:
    target = f"{registry}/lanes/{tmp_path.name.replace('_', '-').lower()}:ws"
    agent("push", target, work, "--lane", "run/there")
    first = agent.json("pull", target, tmp_path / "a", "--after", "run/there")
    behind = agent.json("pull", target, tmp_path / "b", "--after", "run/there", "--after", "run/skipped")
    # Two looks for a pointer, and the list of tags.
    assert behind["traffic"]["requests"] - first["traffic"]["requests"] <= 4
