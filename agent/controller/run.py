"""The running controller: everything is opened, wired, and closed at the end."""

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
from agent.controller.background_task import beside
from agent.controller.reconcile.base_digest import pin
from agent.controller.reconcile.bundle_contents import held
from agent.controller.reconcile.crd_field import keep
from agent.controller.reconcile.custom_task import Launcher
from agent.controller.reconcile.handlers import register, settings, watches
from agent.controller.reconcile.resolver import Resolver
from agent.controller.reconcile.step_failures import Reporter
from agent.controller.reconcile.work_queue import Failed, Key, Look, Work
from agent.controller.serve.health import served
from agent.controller.serve.webhook import Webhook, reviewing
from agent.controller.telemetry.logs import LOGGER
from agent.controller.telemetry.metrics import Metrics
from agent.core.spelling.rfc3339 import format_time
from agent.errors import AgentError, AuthError, UnavailableError
from agent.remedy import Place
from agent.tekton.pipeline.installation import Installation

IDENTITY: Any = "instep"
"""For kopf's peering, which is off. Without one it looks for the user's name, and in a pod there may be none."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to run.

    Attributes:
        namespaces: those to serve, none for all.
        host, port: where metrics and health are to be had.
        ca_file: certificates to trust besides the system's, for registries.
        webhook: where to review runs, None for nowhere.
        webhook_only: whether that is all, so that nothing of the cluster is watched.
        keeps_field: whether Tekton's CRDs are kept to have the field `spec.lookup`.
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
    """Run until a signal comes, or `stop` is set.

    Args:
        listening: told the port of metrics and health.

    Raises:
        UnavailableError: the API server is away, or has no Tekton.
        AuthError, UsageError: it cannot be reached as it is said to be.
    """
    metrics = Metrics()
    access = Access(metrics.failing)
    metrics.watch_ready(lambda: not access.problems())
    async with (
        Cluster(login, metrics.request, access) as cluster,
        Cluster(login, metrics.request) as crds,  # what happens to the field says nothing about readiness
        served(options.host, options.port, problems=access.problems, metrics=metrics.text) as port,
        AsyncExitStack() as also,
    ):
        if listening is not None:
            listening(port)
        # All of these have to be older than kopf, which at its end waits for all younger tasks.
        if options.webhook is not None:
            at = await also.enter_async_context(reviewing(options.webhook, metrics))
            LOGGER.info("reviews runs", extra={"about": {"port": at}})
        if options.keeps_field:
            await also.enter_async_context(beside(keep(crds, metrics)))
        if options.webhook_only:
            access.expect(())
            LOGGER.info("begins", extra={"about": {"port": port}})
            await _stopped(stop)
            return
        has_runs = await _has_runs(cluster)
        access.expect(watches(options.namespaces, has_runs=has_runs))
        work = Work(_look(cluster, options, metrics), _failed(metrics, access))
        metrics.watch_waiting(lambda: len(work))
        await also.enter_async_context(beside(work.run()))
        LOGGER.info("begins", extra={"about": {"namespaces": ", ".join(options.namespaces) or "all", "port": port}})
        await kopf.operator(
            registry=register(work, lambda: kopf_session(login(), access), _now, has_runs=has_runs),
            settings=settings(),
            identity=IDENTITY,
            clusterwide=not options.namespaces,
            namespaces=options.namespaces,
            stop_flag=stop,
        )


async def _stopped(stop: threading.Event | None) -> None:
    """Wait until a signal comes, or `stop` is set."""
    if stop is not None:
        await asyncio.to_thread(stop.wait)
        return
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()


async def _has_runs(cluster: Cluster) -> bool:
    """Say whether there are Runs of old.

    Raises:
        UnavailableError: what this needs of Tekton is not there.
    """
    # Where there are PipelineRuns of this version, there are TaskRuns of it.
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


def _look(cluster: Cluster, options: Options, metrics: Metrics) -> Look:
    installation = options.installation
    plain_http = installation.settings.plain_http
    ca_file = options.ca_file
    resolver = Resolver(
        cluster,
        installation,
        partial(pin, plain_http=plain_http, ca_file=ca_file),
        partial(held, plain_http=plain_http, ca_file=ca_file),
        _now,
        metrics,
    )
    launcher = Launcher(cluster, installation, _now, metrics)
    lookers = {REQUESTS: resolver.look, TASK_RUNS: Reporter(cluster, _now, metrics).look}

    async def look(key: Key) -> float | None:
        began = time.perf_counter()
        try:
            return await lookers.get(key.resource, launcher.look)(key)
        finally:
            metrics.turn(key.resource.plural, time.perf_counter() - began)

    return look


def _failed(metrics: Metrics, access: Access) -> Failed:
    def failed(key: Key, error: Exception, pause: float) -> None:
        metrics.failure(key.resource.plural)
        if isinstance(error, AuthError) and access.is_refused:
            return  # `access` says it once, for all objects
        about = {"resource": key.resource.plural, "namespace": key.namespace, "name": key.name}
        if isinstance(error, AgentError):
            LOGGER.warning("%s; tried again in %.1f s", error.text(Place.CONTROLLER), pause, extra={"about": about})
        else:
            unexpected = f"unexpected {type(error).__name__}: {error}"
            LOGGER.error("%s; tried again in %.1f s", unexpected, pause, extra={"about": about}, exc_info=error)

    return failed


def _now() -> str:
    return format_time(time.time_ns())
