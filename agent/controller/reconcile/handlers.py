"""The handlers that kopf calls: an event adds the key of an object to the work queue, and does nothing else.

kopf writes nothing to any object (docs/decisions/events-only-requeue.md).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import kopf

from agent.controller.api.access import ApiRequest
from agent.controller.api.resources import CUSTOM_RUNS, PIPELINE_RUNS, REQUESTS, RUNS, TASK_RUNS, Resource
from agent.controller.reconcile.work_queue import Key, WorkQueue
from agent.tekton.controlplane.event_route import (
    parent_to_reconcile,
    request_to_reconcile,
    run_to_reconcile,
    task_run_to_reconcile,
)
from agent.tekton.controlplane.nested_request import MANAGED

PARENTS = {"CustomRun": CUSTOM_RUNS, "Run": RUNS}

WATCH_S = 30
"""Seconds until a watch is renewed. The loss of a right does not end a watch: only the next one is refused."""

CHUNK = 100
"""Objects of one page of a list: all TaskRuns of a cluster at once would not fit into the controller's memory."""


def watched_resources(*, has_runs: bool) -> list[Resource]:
    """Return the kinds of objects that the controller watches.

    Args:
        has_runs: whether the API server serves `Run`, as Tekton before 0.47 does.
    """
    return [REQUESTS, CUSTOM_RUNS, PIPELINE_RUNS, TASK_RUNS, *([RUNS] if has_runs else [])]


def watch_requests(namespaces: Iterable[str], *, has_runs: bool) -> list[ApiRequest]:
    """Return the requests that must all succeed before the controller is ready.

    A watch begins when the list before it is complete.

    Args:
        namespaces: the namespaces to serve; empty for all.
    """
    return [
        ApiRequest("watch", resource.plural, namespace)
        for resource in watched_resources(has_runs=has_runs)
        for namespace in list(namespaces) or [""]
    ]


def register(
    queue: WorkQueue, login: Callable[[], kopf.AiohttpSession], clock: Callable[[], str], *, has_runs: bool
) -> kopf.OperatorRegistry:
    """Return the handlers, which add the object that an event concerns to the queue.

    They handle only raw events. So kopf leaves no finalizer, annotation or `status.kopf` on an object.

    Args:
        login: returns the session in which kopf watches; it is called again if the credentials are refused.
        clock: returns the time, RFC 3339 in UTC.
        has_runs: whether the API server serves `Run`, as Tekton before 0.47 does.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def log_in(**_: Any) -> kopf.AiohttpSession:
        return login()

    @kopf.on.event(*REQUESTS.selector(), registry=registry)
    async def request_changed(event: kopf.RawEvent, **_: Any) -> None:
        name = request_to_reconcile(event["object"])
        if name is not None:
            queue.add(Key(REQUESTS, _namespace(event), name))

    async def run_changed(event: kopf.RawEvent, **_: Any) -> None:
        name = run_to_reconcile(event["object"])
        if name is not None:
            queue.add(Key(PARENTS[event["object"]["kind"]], _namespace(event), name))

    for resource in (CUSTOM_RUNS, RUNS) if has_runs else (CUSTOM_RUNS,):
        kopf.on.event(*resource.selector(), registry=registry)(run_changed)

    @kopf.on.event(*PIPELINE_RUNS.selector(), registry=registry)
    async def child_changed(event: kopf.RawEvent, **_: Any) -> None:
        parent = parent_to_reconcile(event["object"], is_new=event["type"] is not None)
        if parent is not None:
            queue.add(Key(PARENTS[parent[0]], _namespace(event), parent[1]))

    @kopf.on.event(*TASK_RUNS.selector(), registry=registry)
    async def task_run_changed(event: kopf.RawEvent, **_: Any) -> None:
        name = task_run_to_reconcile(event["object"], clock())
        if name is not None:
            queue.add(Key(TASK_RUNS, _namespace(event), name))

    return registry


def _namespace(event: kopf.RawEvent) -> str:
    return str(event["object"]["metadata"]["namespace"])


def settings() -> kopf.OperatorSettings:
    """Return the settings of kopf: it only watches, and retries without an end if the API server is unavailable."""
    found = kopf.OperatorSettings()
    found.posting.enabled = False
    found.scanning.disabled = True  # otherwise kopf watches all namespaces and CRDs
    found.peering.standalone = True
    found.networking.error_backoffs = Backoff()
    found.watching.server_timeout = WATCH_S
    found.watching.client_timeout = WATCH_S + 10
    found.watching.chunk_size = CHUNK
    found.watching.label_selectors[PIPELINE_RUNS.selector()] = ",".join(
        f"{key}={value}" for key, value in MANAGED.items()
    )
    return found


class Backoff(Iterable[float]):
    """Seconds between the retries of a request: longer and longer, without an end."""

    def __iter__(self) -> Iterator[float]:
        """Start with the shortest pause."""
        return itertools.chain((0.5, 1, 2, 4), itertools.repeat(8))
