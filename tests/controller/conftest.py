"""Tests that are coroutines, and a controller that really runs."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Protocol

import pytest

from agent.controller.run import Options, serve
from agent.tekton.model.wrapping import Settings
from agent.tekton.pipeline.installation import Installation
from tests.fakes.cluster import Cluster

IMAGE = "reg.io/agent:1"


class Start(Protocol):
    """Runs a controller for a block, on the cluster of KUBECONFIG."""

    def __call__(self, cluster: Cluster, **installation: Any) -> AbstractAsyncContextManager[int]: ...


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}), 60))
    return True


@pytest.fixture(autouse=True)
def quiet_libraries() -> Iterator[None]:
    """kopf tells of every reconnection."""
    logging.getLogger("kopf").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("kopf").setLevel(logging.NOTSET)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster that is not up yet: `async with` brings it up."""
    found = Cluster(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(found.kubeconfig))
    return found


@pytest.fixture
def controller() -> Start:
    return running


@asynccontextmanager
async def running(cluster: Cluster, **installation: Any) -> AsyncIterator[int]:
    """Run a controller in a thread and a loop of its own; gives the port of its health."""
    stop = threading.Event()
    port: Future[int] = Future()
    options = Options(Installation(Settings(IMAGE), **installation), port=0)
    task = asyncio.create_task(asyncio.to_thread(asyncio.run, serve(options, stop, port.set_result)))
    listening = asyncio.wrap_future(port)
    try:
        await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield await listening
    finally:
        stop.set()
        await task
