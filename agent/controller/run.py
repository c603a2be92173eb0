"""The running controller: it opens the servers, the clients and the work queue, and closes them at the end."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import kopf

from agent.controller.api.access import Access
from agent.controller.api.http_session import kopf_session
from agent.controller.api.kubernetes_client import Cluster
from agent.controller.api.login import login
from agent.controller.api.resources import CUSTOM_RUNS, PIPELINE_RUNS, REQUESTS, RUNS, TASK_RUNS, Resource
from agent.controller.background_task import run_in_background
from agent.controller.reconcile.base_digest import resolve_digest
from agent.controller.reconcile.bundle_contents import read_members
from agent.controller.reconcile.crd_field import keep_field
from agent.controller.reconcile.custom_task import CustomTaskReconciler
from agent.controller.reconcile.handlers import register, settings, watch_requests
from agent.controller.reconcile.resolver import Resolver
from agent.controller.reconcile.task_run_events import TaskRunEventReconciler
from agent.controller.reconcile.work_queue import Key, OnError, Reconcile, WorkQueue
from agent.controller.serve.health import serve_health
from agent.controller.serve.webhook import Webhook, serve_webhook
from agent.controller.telemetry.logs import LOGGER
from agent.controller.telemetry.metrics import Metrics
from agent.core.spelling.rfc3339 import format_time
from agent.errors import AgentError, AuthError, UnavailableError
from agent.remedy import Place
from agent.tekton.pipeline.installation import Installation

IDENTITY: Any = "instep"
"""For kopf's peering, which is off. Without it kopf reads the user's name, and a pod may have none."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the controller.

    Attributes:
        namespaces: the namespaces to serve; empty for all.
        host, port: the address of metrics and health.
        ca_file: certificates of registries to trust besides the system's.
        webhook: the webhook, None for none.
        webhook_only: whether only the webhook runs, so that the cluster is not watched.
        keeps_field: whether the controller adds the field `spec.lookup` to Tekton's CRDs.
    """

    installation: Installation
    namespaces: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8080
    ca_file: str | None = None
    webhook: Webhook | None = None
    webhook_only: bool = False
    keeps_field: bool = False


async def serve(
    options: Options, stop: threading.Event | None = None, listening: Callable[[int], None] | None = None
) -> None:
    """Run until a signal arrives, or `stop` is set.

    Args:
        listening: called with the port of metrics and health.

    Raises:
        UnavailableError: the API server is unavailable, or does not serve Tekton's objects.
        AuthError: there are no credentials for the API server, or it refuses them.
        UsageError: the kubeconfig is damaged, or the server cannot listen on an address.
    """
    metrics = Metrics()
    access = Access(metrics.failing)
    metrics.watch_ready(lambda: not access.problems())
    async with (
        Cluster(login, metrics.request, access) as cluster,
        Cluster(login, metrics.request) as crds,  # requests for the field do not affect readiness
        serve_health(options.host, options.port, problems=access.problems, metrics=metrics.text) as port,
        AsyncExitStack() as also,
    ):
        if listening is not None:
            listening(port)
        # These tasks must start before kopf, which at its end waits for all tasks that started later.
        if options.webhook is not None:
            webhook = await also.enter_async_context(serve_webhook(options.webhook, metrics))
            LOGGER.info("webhook started", extra={"about": {"port": webhook}})
        if options.keeps_field:
            await also.enter_async_context(run_in_background(keep_field(crds, metrics)))
        if options.webhook_only:
            access.expect(())
            LOGGER.info("controller started", extra={"about": {"port": port}})
            await _stopped(stop)
            return
        has_runs = await _has_runs(cluster)
        access.expect(watch_requests(options.namespaces, has_runs=has_runs))
        queue = WorkQueue(_reconcile(cluster, options, metrics), _on_error(metrics, access))
        metrics.watch_depth(lambda: len(queue))
        await also.enter_async_context(run_in_background(queue.run()))
        about = {"namespaces": ", ".join(options.namespaces) or "all", "port": port}
        LOGGER.info("controller started", extra={"about": about})
        registry = register(queue, lambda: kopf_session(login(), access), _now, has_runs=has_runs)
        await _watch(registry, options.namespaces, stop)


async def _watch(registry: kopf.OperatorRegistry, namespaces: tuple[str, ...], stop: threading.Event | None) -> None:
    """Let kopf watch the cluster until a signal arrives, or `stop` is set."""
    await kopf.operator(
        registry=registry,
        settings=settings(),
        identity=IDENTITY,
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=stop,
    )


async def _stopped(stop: threading.Event | None) -> None:
    """Wait until a signal arrives, or `stop` is set."""
    if stop is not None:
        await asyncio.to_thread(stop.wait)
        return
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()


async def _has_runs(cluster: Cluster) -> bool:
    """Return whether the API server serves `Run`, as Tekton before 0.47 does.

    Raises:
        UnavailableError: it does not serve a kind that the controller needs.
    """
    # An API server with PipelineRuns of this version has TaskRuns of it.
    missing = [
        resource.plural for resource in (CUSTOM_RUNS, PIPELINE_RUNS, REQUESTS) if not await _serves(cluster, resource)
    ]
    if missing:
        raise UnavailableError(
            f"it has no {', '.join(missing)}",
            subject="the API server",
            remedy="install Tekton Pipelines, 0.46 or later, and start again",
        )
    return await _serves(cluster, RUNS)


async def _serves(cluster: Cluster, resource: Resource) -> bool:
    return resource.plural in await cluster.served(resource.api_version)


def _reconcile(cluster: Cluster, options: Options, metrics: Metrics) -> Reconcile:
    installation = options.installation
    plain_http = installation.settings.plain_http
    ca_file = options.ca_file
    resolver = Resolver(
        cluster,
        installation,
        partial(resolve_digest, plain_http=plain_http, ca_file=ca_file),
        partial(read_members, plain_http=plain_http, ca_file=ca_file),
        _now,
        metrics,
    )
    custom_task = CustomTaskReconciler(cluster, installation, _now, metrics)
    step_failures = TaskRunEventReconciler(cluster, _now, metrics)
    reconcilers = {REQUESTS: resolver.reconcile, TASK_RUNS: step_failures.reconcile}

    async def reconcile(key: Key) -> float | None:
        began = time.perf_counter()
        try:
            return await reconcilers.get(key.resource, custom_task.reconcile)(key)
        finally:
            metrics.reconciled(key.resource.plural, time.perf_counter() - began)

    return reconcile


def _on_error(metrics: Metrics, access: Access) -> OnError:
    def on_error(key: Key, error: Exception, backoff: float) -> None:
        metrics.reconcile_error(key.resource.plural)
        if isinstance(error, AuthError) and access.is_refused:
            return  # `access` logs it once for all objects
        about = {"resource": key.resource.plural, "namespace": key.namespace, "name": key.name}
        if isinstance(error, AgentError):
            LOGGER.warning("%s; requeued in %.1f s", error.text(Place.CONTROLLER), backoff, extra={"about": about})
        else:
            unexpected = f"unexpected {type(error).__name__}: {error}"
            LOGGER.error("%s; requeued in %.1f s", unexpected, backoff, extra={"about": about}, exc_info=error)

    return on_error


def _now() -> str:
    return format_time(time.time_ns())
