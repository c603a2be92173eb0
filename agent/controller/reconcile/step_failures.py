"""Tells runs why a step of ours failed: an event on the run, and on every run that it belongs to."""

from __future__ import annotations

from collections.abc import Callable

from agent.controller.api.kubernetes_client import Cluster
from agent.controller.api.resources import CUSTOM_RUNS, EVENTS, PIPELINE_RUNS, RUNS, TASK_RUNS
from agent.controller.reconcile.work_queue import Key
from agent.controller.telemetry.logs import LOGGER
from agent.controller.telemetry.metrics import Metrics
from agent.errors import RejectedError
from agent.tekton.controlplane.failed_step import failed_step, is_recent, step_failed
from agent.tekton.controlplane.launch_run import controller_of
from agent.tekton.model.fields import Object

RESOURCES = {"PipelineRun": PIPELINE_RUNS, "CustomRun": CUSTOM_RUNS, "Run": RUNS}
"""What can own a TaskRun, or a run that owns one."""

DEEPEST = 8
"""Runs of which one belongs to the next."""


class Reporter:
    """Events about failed steps."""

    def __init__(self, cluster: Cluster, clock: Callable[[], str], metrics: Metrics) -> None:
        self._cluster = cluster
        self._clock = clock
        self._metrics = metrics

    async def look(self, key: Key) -> float | None:
        """Tell of a TaskRun's failed step, unless that was told.

        Raises:
            AgentError: the API server is away or refuses us.
        """
        task_run = await self._cluster.get(TASK_RUNS, key.namespace, key.name)
        failed = failed_step(task_run) if task_run is not None else None
        if task_run is None or failed is None or not is_recent(task_run, self._clock()):
            return None
        is_new = False
        for run in await self._runs(task_run, key):
            told = step_failed(task_run, failed, run, self._clock())
            try:
                is_new = await self._cluster.create(EVENTS, told) or is_new
            except RejectedError as error:  # its namespace is being deleted
                LOGGER.info("%s", error, extra={"about": {"event": told["message"]}})
        if is_new:
            self._metrics.step_failure(failed.exit_code)
        return None

    async def _runs(self, task_run: Object, key: Key) -> list[Object]:
        """Return references to the run that a TaskRun belongs to, the one that that belongs to, and so on."""
        found: list[Object] = []
        value: Object | None = task_run
        while value is not None and len(found) < DEEPEST:
            owner = controller_of(value)
            if owner.get("kind") not in RESOURCES:
                break
            found.append(owner)
            value = await self._cluster.get(RESOURCES[owner["kind"]], key.namespace, str(owner.get("name")))
        meta = task_run["metadata"]
        itself = {"apiVersion": TASK_RUNS.api_version, "kind": "TaskRun", "name": key.name, "uid": meta.get("uid")}
        return found or [itself]
