"""`agent controller` as a process: what it says, serves, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.fakes.cluster import Cluster, condition, eventually
from tests.leaks import look
from tests.tekton.test_launch import custom_run

CONFIG = str(Path(__file__).parents[2] / "config" / "cluster" / "controller.yaml")


class Running:
    """The process; its lines are collected."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def collect(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode())
            look("the controller's log", line)

    async def port(self) -> int:
        found = await eventually(lambda: [line for line in self.lines if '"controller started"' in line], within=30)
        return int(json.loads(found[0])["about"]["port"])


@asynccontextmanager
async def agent_controller(*words: str) -> AsyncIterator[Running]:
    command = [sys.executable, "-m", "agent", "controller", "--listen", "127.0.0.1:0", *words]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    running = Running(process)
    collecting = asyncio.create_task(running.collect())
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await collecting


def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environ}
    command = [sys.executable, "-m", "agent", "controller", "--config", CONFIG, *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    return done


async def get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.text()


async def test_it_serves_a_cluster_tells_of_itself_and_ends_on_sigterm(cluster: Cluster, tmp_path: Path) -> None:
    config = tmp_path / "controller.yaml"
    config.write_text("image: reg.io/agent:7\ntarget: reg.io/ws/{{workspace}}:$(context.pipelineRun.name)\n")
    async with cluster, agent_controller("--config", str(config), "--namespace", "ci") as running:
        port = await running.port()
        assert (await get(port, "/healthz"))[0] == 200
        await eventually(lambda: cluster.api.objects is not None)
        await cluster.create(custom_run(params=[]))
        await eventually(lambda: cluster.get("PipelineRun", "run"), within=20)
        await cluster.end("run", "True", "Succeeded")
        await eventually(lambda: condition(cluster.get("CustomRun", "run")) == ("True", "Succeeded"))
        assert (await get(port, "/readyz"))[0] == 200
        status, numbers = await get(port, "/metrics")
        assert status == 200
        assert "instep_launches_total 1.0" in numbers
        assert 'instep_runs_ended_total{outcome="succeeded"} 1.0' in numbers
        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.process.wait(), 10) == 0
    for line in running.lines:
        assert {"time", "level", "logger", "message"} <= json.loads(line).keys()


async def test_trouble_is_logged_as_one_object_that_says_what_it_is_about(cluster: Cluster) -> None:
    def away(request: object) -> None:
        raise ConnectionError

    async with cluster:
        cluster.api.refuse = away
        async with agent_controller("--config", CONFIG) as running:
            await running.port()
            cluster.api.refuse = None
            await cluster.create(custom_run())
            cluster.api.refuse = away
            found = await eventually(lambda: [line for line in running.lines if '"warning"' in line], within=20)
    assert json.loads(found[0])["about"] == {"resource": "customruns", "namespace": "ci", "name": "run"}


async def test_without_tekton_it_says_so(cluster: Cluster) -> None:
    cluster.have_nothing()
    async with cluster:
        done = await asyncio.to_thread(run, "--listen", "127.0.0.1:0")
    assert done.returncode == 21
    assert "it has no customruns, pipelineruns, resolutionrequests; install Tekton Pipelines" in done.stderr


def test_without_a_cluster_it_says_so(tmp_path: Path) -> None:
    done = run("--listen", "127.0.0.1:0", KUBECONFIG="", HOME=str(tmp_path))
    assert done.returncode == 20
    assert "neither a service account nor a kubeconfig" in done.stderr


@pytest.mark.parametrize("text", ["", "clusters: 3", "{", "current-context: c"])
def test_a_damaged_kubeconfig_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "k").write_text(text)
    done = run("--listen", "127.0.0.1:0", KUBECONFIG=str(tmp_path / "k"))
    assert done.returncode == 2
    assert re.fullmatch(r"agent: error: KUBECONFIG: .*\n", done.stderr)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("imgae: x", "imgae: there is no such key; the keys are image"),
        ("on-conflict: maybe", "on-conflict: it is 'maybe'; write last or fail"),
        ("[]", "no mapping"),
        ("image: [", "no YAML"),
        ("a: 1\n---\nb: 2", "several documents"),
        ("target: reg.io/x:y", "image: it is missing; name the image of the agent's steps"),
    ],
)
def test_a_wrong_configuration_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    done = run("--config", str(tmp_path / "c.yaml"))
    assert done.returncode == 2
    assert words in done.stderr


def test_a_configuration_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = run("--config", str(tmp_path / "none"))
    assert (done.returncode, "cannot be read: No such file" in done.stderr) == (2, True)


@pytest.mark.parametrize("address", ["8080", "host:port", "h:99999", "256.0.0.1:80"])
def test_a_wrong_address_is_one_line(cluster: Cluster, address: str) -> None:
    done = run("--listen", address)
    assert done.returncode == 2
    assert "--listen" in done.stderr


@pytest.mark.parametrize("library", ["kopf", "aiohttp", "prometheus_client"])
def test_without_the_extra_it_says_what_to_install(library: str) -> None:
    script = (
        "import sys; from agent.cli.main import run\n"
        f"sys.modules[{library!r}] = None\n"
        f"print(run(['--version']), run(['controller', '--help']), run(['controller', '--config', {CONFIG!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "0 0 2"
    assert "pip install '.[controller]'" in done.stderr
    assert "Traceback" not in done.stderr
