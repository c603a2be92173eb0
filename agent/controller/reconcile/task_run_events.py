"""The reconciler of TaskRuns: events about a failed step of ours and about conflicts, on each run above the TaskRun."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from agent.controller.api.kubernetes_client import Cluster
from agent.controller.api.resources import CUSTOM_RUNS, EVENTS, PIPELINE_RUNS, RUNS, TASK_RUNS
from agent.controller.reconcile.work_queue import Key
from agent.controller.telemetry.logs import LOGGER
from agent.controller.telemetry.metrics import Metrics
from agent.errors import RejectedError
from agent.tekton.controlplane.conflict_event import conflict_event, push_conflicts
from agent.tekton.controlplane.failed_step import failed_step, is_recent, step_failed
from agent.tekton.controlplane.launch_run import controller_of
from agent.tekton.model.fields import Object

OWNERS = {"PipelineRun": PIPELINE_RUNS, "CustomRun": CUSTOM_RUNS, "Run": RUNS}
"""Kinds that can own a TaskRun, or a run that owns one."""

DEEPEST = 8
"""Levels of owners that get an event."""


@dataclass(frozen=True, slots=True)
class TaskRunEventReconciler:
    """Creates events about failed steps and conflicts.

    Attributes:
        clock: returns the time, RFC 3339 in UTC.
    """

    cluster: Cluster
    clock: Callable[[], str]
    metrics: Metrics

    async def reconcile(self, key: Key) -> float | None:
        """Create the events about a TaskRun's failed step and its conflicts, unless they exist. It is never requeued.

        Raises:
            AgentError: the API server is unavailable, or refuses the request.
        """
        task_run = await self.cluster.get(TASK_RUNS, key.namespace, key.name)
        if task_run is None or not is_recent(task_run, self.clock()):
            return None
        failed, conflicts = failed_step(task_run), push_conflicts(task_run)
        if failed is not None and await self._create(task_run, key, partial(step_failed, task_run, failed)):
            self.metrics.step_failure(failed.exit_code)
        if conflicts is not None and await self._create(task_run, key, partial(conflict_event, task_run, conflicts)):
            self.metrics.conflicts(conflicts.count)
        return None

    async def _create(self, task_run: Object, key: Key, event_for: Callable[[Object, str], Object]) -> bool:
        """Create an event on each run that a TaskRun belongs to; return whether one of them is new.

        Args:
            event_for: returns the event for a run, given the time.
        """
        is_new = False
        for run in await self._owners(task_run, key):
            event = event_for(run, self.clock())
            try:
                is_new = await self.cluster.create(EVENTS, event) or is_new
            except RejectedError as error:  # the namespace is being deleted
                LOGGER.info("%s", error, extra={"about": {"event": event["message"]}})
        return is_new

    async def _owners(self, task_run: Object, key: Key) -> list[Object]:
        """Return references to the TaskRun's owner, the owner of that, and so on; to the TaskRun if it has none."""
        found: list[Object] = []
        value: Object | None = task_run
        while value is not None and len(found) < DEEPEST:
            owner = controller_of(value)
            if owner.get("kind") not in OWNERS:
                break
            found.append(owner)
            value = await self.cluster.get(OWNERS[owner["kind"]], key.namespace, str(owner.get("name")))
        meta = task_run["metadata"]
        itself = {"apiVersion": TASK_RUNS.api_version, "kind": "TaskRun", "name": key.name, "uid": meta.get("uid")}
        return found or [itself]
