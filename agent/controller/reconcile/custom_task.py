"""Launches and mirrors the custom task `OCIPipeline`.

It does what `agent.tekton.controlplane.customrun_reconcile` decides.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.controller.api.kubernetes_client import Cluster
from agent.controller.api.resources import PIPELINE_RUNS
from agent.controller.reconcile.work_queue import AGAIN_S, Key
from agent.controller.telemetry.metrics import Metrics
from agent.errors import RejectedError
from agent.tekton.controlplane.customrun_reconcile import CANCEL, Decision, attempt_of, decide, outcome_of, rejected
from agent.tekton.controlplane.launch_run import child, controller_of, is_oci_pipeline
from agent.tekton.model.fields import Object
from agent.tekton.pipeline.installation import Installation


class Launcher:
    """The custom task."""

    def __init__(
        self, cluster: Cluster, installation: Installation, clock: Callable[[], str], metrics: Metrics
    ) -> None:
        self._cluster = cluster
        self._installation = installation
        self._clock = clock
        self._metrics = metrics

    async def look(self, key: Key) -> float | None:
        """Take a run one step further.

        Raises:
            AgentError: the API server is away or refuses us.
        """
        run = await self._cluster.get(key.resource, key.namespace, key.name)
        if run is None or not is_oci_pipeline(run):
            return None
        name = child(run, attempt_of(run))
        current = await self._cluster.get(PIPELINE_RUNS, key.namespace, name)
        owner = None if current else await self._owner(run)
        children = {name: current} if current else {}
        decision = decide(run, children, self._clock(), owner, self._installation.defaults)
        return await self._carry_out(decision, run, key)

    async def _carry_out(self, decision: Decision, run: Object, key: Key) -> float | None:
        status = decision.status
        if decision.create is not None:
            try:
                if not await self._cluster.create(PIPELINE_RUNS, decision.create):
                    return AGAIN_S  # somebody was faster: look at what is there now
                self._metrics.launch()
            except RejectedError as error:
                status = rejected(run, error.what, self._clock()).status
        if decision.cancel is not None:
            await self._cluster.patch(PIPELINE_RUNS, key.namespace, decision.cancel, CANCEL)
        if status is None:
            return None
        if not await self._cluster.patch_status(key.resource, run, status):
            return AGAIN_S
        outcome = outcome_of(status)
        if outcome is not None:
            self._metrics.end(outcome)
        return AGAIN_S if "retriesStatus" in status else None

    async def _owner(self, run: Object) -> Object | None:
        """Return the PipelineRun that a run is a task of."""
        owner = controller_of(run)
        if owner.get("kind") != "PipelineRun":
            return None
        return await self._cluster.get(PIPELINE_RUNS, run["metadata"]["namespace"], str(owner.get("name")))
