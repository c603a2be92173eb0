"""All that kopf sees: streams of events in, turns out. No event is answered here, and kopf writes nothing anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import kopf

from agent.controller.api.access import Request
from agent.controller.api.resources import CUSTOM_RUNS, PIPELINE_RUNS, REQUESTS, RUNS, TASK_RUNS, Resource
from agent.controller.reconcile.work_queue import Key, Work
from agent.tekton.controlplane.event_route import parent_concerned, request_concerned, run_concerned, task_run_concerned
from agent.tekton.controlplane.nested_request import MANAGED

PARENTS = {"CustomRun": CUSTOM_RUNS, "Run": RUNS}

WATCH_S = 30
"""Seconds until a watch ends and begins anew. A right that is lost ends no watch: only the next one is refused."""

CHUNK = 100
"""Objects of one answer to a list: all TaskRuns of a cluster in one would not fit into the controller's memory."""


def watched(*, has_runs: bool) -> list[Resource]:
    """Return what the controller watches.

    Args:
        has_runs: whether the API server has `Run` of Tekton before 0.47.
    """
    return [REQUESTS, CUSTOM_RUNS, PIPELINE_RUNS, TASK_RUNS, *([RUNS] if has_runs else [])]


def watches(namespaces: Iterable[str], *, has_runs: bool) -> list[Request]:
    """Return the requests of which all have to be answered before the controller sees what it serves.

    A watch begins when the list before it is complete.

    Args:
        namespaces: those to serve, none for all.
    """
    return [
        Request("watch", resource.plural, namespace)
        for resource in watched(has_runs=has_runs)
        for namespace in list(namespaces) or [""]
    ]


def register(
    work: Work, login: Callable[[], kopf.AiohttpSession], clock: Callable[[], str], *, has_runs: bool
) -> kopf.OperatorRegistry:
    """Return the handlers, which give what an event is about a turn.

    Only raw events are handled: no finalizer, no annotation, no `status.kopf` on anybody's objects.

    Args:
        login: gives the session in which kopf watches, anew whenever its credentials are refused.
        clock: tells the time, RFC 3339.
        has_runs: whether the API server has `Run` of Tekton before 0.47.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def log_in(**_: Any) -> kopf.AiohttpSession:
        return login()

    @kopf.on.event(*REQUESTS.selector(), registry=registry)
    async def request_changed(event: kopf.RawEvent, **_: Any) -> None:
        name = request_concerned(event["object"])
        if name is not None:
            work.add(Key(REQUESTS, _namespace(event), name))

    async def run_changed(event: kopf.RawEvent, **_: Any) -> None:
        name = run_concerned(event["object"])
        if name is not None:
            work.add(Key(PARENTS[event["object"]["kind"]], _namespace(event), name))

    for resource in (CUSTOM_RUNS, RUNS) if has_runs else (CUSTOM_RUNS,):
        kopf.on.event(*resource.selector(), registry=registry)(run_changed)

    @kopf.on.event(*PIPELINE_RUNS.selector(), registry=registry)
    async def child_changed(event: kopf.RawEvent, **_: Any) -> None:
        parent = parent_concerned(event["object"], is_new=event["type"] is not None)
        if parent is not None:
            work.add(Key(PARENTS[parent[0]], _namespace(event), parent[1]))

    @kopf.on.event(*TASK_RUNS.selector(), registry=registry)
    async def task_run_changed(event: kopf.RawEvent, **_: Any) -> None:
        name = task_run_concerned(event["object"], clock())
        if name is not None:
            work.add(Key(TASK_RUNS, _namespace(event), name))

    return registry


def _namespace(event: kopf.RawEvent) -> str:
    return str(event["object"]["metadata"]["namespace"])


def settings() -> kopf.OperatorSettings:
    """Return how kopf is to behave: it watches, and waits for an API server that is away as long as that takes."""
    found = kopf.OperatorSettings()
    found.posting.enabled = False
    found.scanning.disabled = True  # else it wants to watch all namespaces and CRDs
    found.peering.standalone = True
    found.networking.error_backoffs = Patience()
    found.watching.server_timeout = WATCH_S
    found.watching.client_timeout = WATCH_S + 10
    found.watching.chunk_size = CHUNK
    found.watching.label_selectors[PIPELINE_RUNS.selector()] = ",".join(
        f"{key}={value}" for key, value in MANAGED.items()
    )
    return found


class Patience(Iterable[float]):
    """Seconds between tries: longer and longer, without an end."""

    def __iter__(self) -> Iterator[float]:
        """Begin anew."""
        return itertools.chain((0.5, 1, 2, 4), itertools.repeat(8))
