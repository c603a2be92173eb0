"""What the API server does not let the controller do: it is not ready, a metric shows it, the log has one line."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kmock
import kopf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.controller.api import access as access_module
from agent.controller.api.access import Access, ApiRequest, request_of
from agent.controller.api.http_session import kopf_session
from agent.controller.api.kubernetes_client import Cluster as Client
from agent.controller.api.login import login
from agent.controller.api.resources import PIPELINE_RUNS
from agent.controller.reconcile import handlers
from agent.controller.telemetry.metrics import Metrics
from agent.errors import AuthError, RejectedError, UnavailableError
from tests.controller.conftest import Start
from tests.controller.test_command import agent_controller, get
from tests.fakes.cluster import Cluster, eventually, never
from tests.tekton.test_launch import custom_run

SERVED = ("customruns", "pipelineruns", "resolutionrequests", "taskruns")
LISTS = {("list", resource) for resource in SERVED}


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for seconds."""
    monkeypatch.setattr(access_module, "GRACE_S", 0.2)
    monkeypatch.setattr(handlers.Backoff, "__iter__", lambda self: iter_of(0.1))


def iter_of(seconds: float) -> Iterator[float]:
    while True:
        yield seconds


def lines(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if words in record.getMessage()]


async def ready(port: int) -> bool:
    status, body = await get(port, "/readyz")
    assert (status, body == "ok\n") in ((200, True), (503, False))
    return status == 200


async def until_ready(port: int, *, be: bool = True, within: float = 20) -> None:
    for _ in range(int(within / 0.05)):
        if await ready(port) is be:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"ready was not {be} in time: {await get(port, '/readyz')}")


async def lose(cluster: Cluster, *rights: tuple[str, str]) -> None:
    """Take rights away, and end the watches that are under way, as the API server does after half a minute."""
    cluster.api.forbidden |= set(rights)
    await cluster.go()
    await cluster.come()


async def test_it_is_not_ready_while_it_can_see_nothing(
    cluster: Cluster, controller: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent.controller")
    cluster.api.forbidden |= LISTS
    async with cluster, controller(cluster) as port:
        await eventually(lambda: lines(caplog, "not ready"))
        assert (await get(port, "/healthz"))[0] == 200
        status, body = await get(port, "/readyz")
        assert status == 503
        assert [f"list {resource} in all namespaces: HTTP 403 Forbidden" in body for resource in SERVED] == [True] * 4
        numbers = (await get(port, "/metrics"))[1]
        assert "instep_ready 0.0" in numbers
        assert 'instep_failing_requests{resource="taskruns",status="403",verb="list"} 1.0' in numbers
        await asyncio.sleep(1)
        [line] = lines(caplog, "not ready")
        assert all(resource in line for resource in SERVED)
        assert "see the rights that docs/reference/controller.md lists" in line
        cluster.api.forbidden.clear()
        await until_ready(port)
        numbers = (await get(port, "/metrics"))[1]
        assert "instep_ready 1.0" in numbers
        assert "instep_failing_requests{" not in numbers
        assert len(lines(caplog, "answers everything again")) == 1


@pytest.mark.parametrize("verb", ["list", "watch"])
@pytest.mark.parametrize("resource", SERVED)
async def test_one_right_that_is_missing_is_enough(
    cluster: Cluster, controller: Start, verb: str, resource: str
) -> None:
    cluster.api.forbidden.add((verb, resource))
    async with cluster, controller(cluster) as port:
        for other in {*SERVED} - {resource}:
            await eventually(lambda other=other: any(used[::2] == ("watch", other) for used in cluster.api.used))
        await asyncio.sleep(0.3)
        status, body = await get(port, "/readyz")
        assert (status, f"{verb} {resource} in all namespaces" in body) == (503, True)
        cluster.api.forbidden.clear()
        await until_ready(port)


async def test_rights_that_are_lost_are_seen_and_told_once_and_come_back(
    cluster: Cluster, controller: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent.controller")
    async with cluster, controller(cluster) as port:
        await until_ready(port)
        assert not lines(caplog, "ready")
        await lose(cluster, *LISTS, *(("watch", resource) for resource in SERVED))
        await until_ready(port, be=False)
        await eventually(lambda: lines(caplog, "not ready"))
        await asyncio.sleep(1)
        assert len(lines(caplog, "not ready")) == 1
        assert 'verb="watch"} 1.0' in (await get(port, "/metrics"))[1]
        cluster.api.forbidden.clear()
        await until_ready(port)
        await eventually(lambda: lines(caplog, "answers everything again"))
        # And it works.
        await cluster.create(custom_run())
        await eventually(lambda: cluster.get("PipelineRun", "run"))


async def test_a_right_to_write_that_is_lost_is_one_line_for_all_objects(
    cluster: Cluster, controller: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent.controller")
    async with cluster, controller(cluster) as port:
        await until_ready(port)
        cluster.api.forbidden.add(("create", "pipelineruns"))
        for index in range(4):
            run = custom_run()
            run["metadata"]["name"] = f"run-{index}"
            await cluster.create(run)
        await until_ready(port, be=False)
        await asyncio.sleep(1)
        told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(told) == 1, told
        assert 'create pipelineruns in namespace ci: User "instep" cannot create resource' in told[0]
        cluster.api.forbidden.clear()
        await eventually(lambda: all(cluster.get("PipelineRun", f"run-{index}") for index in range(4)), within=30)
        await until_ready(port)


async def test_an_api_server_that_comes_back_at_once_is_not_worth_a_line(
    cluster: Cluster, controller: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_module, "GRACE_S", 30.0)
    caplog.set_level(logging.INFO, "agent.controller")
    async with cluster, controller(cluster) as port:
        await until_ready(port)
        await cluster.go()
        await until_ready(port, be=False)
        await cluster.come()
        await until_ready(port)
    assert not lines(caplog, "ready")
    assert not lines(caplog, "again")


async def test_the_process_logs_one_line_and_none_for_each_of_kopfs_tries(cluster: Cluster) -> None:
    config = str(Path(__file__).parents[2] / "config" / "cluster" / "controller.yaml")
    cluster.api.forbidden |= LISTS
    async with cluster, agent_controller("--config", config) as running:
        await running.port()
        await eventually(lambda: any('"error"' in line for line in running.lines), within=20)
        await asyncio.sleep(2)
        told = [json.loads(line) for line in running.lines]
        assert [line["message"][:9] for line in told if line["level"] != "info"] == ["not ready"]


async def test_only_the_namespaces_that_are_served_have_to_be_seen(cluster: Cluster) -> None:
    config = str(Path(__file__).parents[2] / "config" / "cluster" / "controller.yaml")
    async with cluster, agent_controller("--config", config, "--namespace", "ci", "--namespace", "cd") as running:
        port = await running.port()
        await until_ready(port)
        watched = handlers.watch_requests(["ci", "cd"], has_runs=False)
        assert {(found.resource, found.namespace) for found in watched} == {
            (resource, namespace) for resource in SERVED for namespace in ("ci", "cd")
        }


@pytest.mark.parametrize(
    ("message", "kind", "is_right"),
    [
        ('User "x" cannot create resource "pipelineruns" in API group "tekton.dev"', AuthError, True),
        ("whatever a proxy says", AuthError, False),
        ("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no", RejectedError, False),
        ('admission webhook "a.b" denied the request: no', RejectedError, False),
        (
            'pipelineruns "x" is forbidden: exceeded quota: q, requested: count=1, used: count=1',
            UnavailableError,
            False,
        ),
        ("unable to create new content in namespace ci because it is being terminated", RejectedError, False),
    ],
)
async def test_a_403_about_an_object_is_no_missing_right(
    cluster: Cluster, message: str, kind: type[Exception], is_right: bool
) -> None:
    def refuse(request: kmock.Request) -> None:
        raise kmock.KubernetesError(status=403, reason="Forbidden", message=message)

    access = Access(lambda _: None)
    access.expect(())
    cluster.api.refuse = refuse
    async with cluster, Client(login, lambda *_: None, access) as client:
        run = {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": "x", "namespace": "ci"}}
        with pytest.raises(kind) as caught:
            await client.create(PIPELINE_RUNS, run)
        assert type(caught.value) is kind
        assert bool(access.problems()) is is_right
        cluster.api.refuse = None
        await client.create(PIPELINE_RUNS, {**run, "spec": {"pipelineRef": {"name": "p"}}})
        assert access.problems() == []


async def test_a_refusal_that_nobody_meets_again_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_module, "FORGET_S", 0.2)
    access = Access(lambda _: None)
    access.expect(())
    access.failed(ApiRequest("create", "events", "ci"), 403, "no")
    await asyncio.sleep(0.1)
    access.failed(ApiRequest("create", "events", "ci"), 403, "no")
    await asyncio.sleep(0.15)
    assert access.problems()
    await eventually(lambda: not access.problems())
    # A list is tried again for ever, so that it is never forgotten.
    access.failed(ApiRequest("list", "taskruns"), 403, "no")
    await never(lambda: not access.problems())


async def test_what_the_log_says_of_many_is_short(caplog: pytest.LogCaptureFixture) -> None:
    access = Access(lambda _: None)
    for number in range(50):
        access.failed(ApiRequest("list", "taskruns", f"ns-{number:02}"), 403, "no")
    await eventually(lambda: caplog.records)
    assert "and 45 more that /readyz names" in caplog.records[0].getMessage()
    assert len(access.problems()) == 51


@given(
    st.lists(
        st.tuples(st.sampled_from(["list", "watch"]), st.sampled_from(SERVED), st.sampled_from([0, 200, 403, 500]))
    )
)
def test_ready_is_all_watches_begun_and_nothing_that_failed_last(history: list[tuple[str, str, int]]) -> None:
    """The law, over all histories of answers."""

    async def play() -> None:
        access = Access(lambda _: None)
        assert access.problems()
        access.expect(handlers.watch_requests([], has_runs=False))
        for verb, resource, status in history:
            request = ApiRequest(verb, resource)
            access.succeeded(request) if status == 200 else access.failed(request, status, "no")
        begun = {resource for verb, resource, status in history if (verb, status) == ("watch", 200)}
        last = {(verb, resource): status for verb, resource, status in history}
        assert (access.problems() == []) is (begun == set(SERVED) and set(last.values()) == {200})

    asyncio.run(play())


@pytest.mark.parametrize(
    ("method", "path", "is_watch", "request_"),
    [
        ("GET", "/apis/tekton.dev/v1/taskruns", False, ApiRequest("list", "taskruns")),
        ("GET", "/apis/tekton.dev/v1/namespaces/ci/taskruns", True, ApiRequest("watch", "taskruns", "ci")),
        ("GET", "/apis/tekton.dev/v1/namespaces/ci/taskruns/x", False, ApiRequest("get", "taskruns", "ci")),
        ("POST", "/api/v1/namespaces/ci/events", False, ApiRequest("create", "events", "ci")),
        (
            "PATCH",
            "/k8s/clusters/c-1/apis/tekton.dev/v1beta1/namespaces/ci/customruns/x/status",
            False,
            ApiRequest("patch", "customruns/status", "ci"),
        ),
        ("GET", "/apis/tekton.dev/v1", False, ApiRequest("discover", "apis/tekton.dev/v1")),
        ("GET", "/apis", False, ApiRequest("discover", "apis")),
    ],
)
def test_a_request_is_named_as_access_rules_name_it(
    method: str, path: str, is_watch: bool, request_: ApiRequest
) -> None:
    assert request_of(method, path, is_watch=is_watch) == request_


async def test_credentials_that_stay_bad_are_given_up_on() -> None:
    """kopf compares credentials: a session that is never equal to another would be tried without an end."""
    info = kopf.ConnectionInfo(server="http://127.0.0.1:1", token="a")
    access = Access(lambda _: None)
    sessions: list[Any] = [
        kopf_session(found, access) for found in (info, info, kopf.ConnectionInfo(server=info.server))
    ]
    assert sessions[0] == sessions[1] != sessions[2]
    for session in sessions:
        await session.aiohttp_session.close()


async def test_a_watch_ends_by_itself_so_that_lost_rights_are_noticed() -> None:
    found = handlers.settings().watching
    assert found.server_timeout == handlers.WATCH_S <= 60
    assert found.client_timeout is not None
    assert found.client_timeout > found.server_timeout


async def test_metrics_show_what_fails_now() -> None:
    metrics = Metrics()
    access = Access(metrics.failing)
    for namespace in ("a", "b"):
        access.failed(ApiRequest("list", "taskruns", namespace), 403, "no")
    assert b'instep_failing_requests{resource="taskruns",status="403",verb="list"} 2.0' in metrics.text()
    access.succeeded(ApiRequest("list", "taskruns", "a"))
    access.succeeded(ApiRequest("list", "taskruns", "b"))
    assert b"instep_failing_requests{" not in metrics.text()
