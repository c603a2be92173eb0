"""The reconciler of CustomRuns and Runs of the custom task `OCIPipeline`.

It executes the decisions of `agent.tekton.controlplane.customrun_reconcile`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.controller.api.kubernetes_client import Cluster
from agent.controller.api.resources import PIPELINE_RUNS
from agent.controller.reconcile.work_queue import REQUEUE_S, Key
from agent.controller.telemetry.metrics import Metrics
from agent.errors import RejectedError
from agent.tekton.controlplane.customrun_reconcile import CANCEL, Decision, attempt_of, decide, outcome_of, rejected
from agent.tekton.controlplane.launch_run import controller_of, is_oci_pipeline, pipeline_run_name
from agent.tekton.model.fields import Object
from agent.tekton.pipeline.installation import Installation


@dataclass(frozen=True, slots=True)
class CustomTaskReconciler:
    """Creates, mirrors and cancels the PipelineRuns of CustomRuns.

    Attributes:
        clock: returns the time, RFC 3339 in UTC.
    """

    cluster: Cluster
    installation: Installation
    clock: Callable[[], str]
    metrics: Metrics

    async def reconcile(self, key: Key) -> float | None:
        """Take the next step for a run. Return the seconds until it is requeued, or None.

        Raises:
            AgentError: the API server is unavailable, or refuses the request.
        """
        run = await self.cluster.get(key.resource, key.namespace, key.name)
        if run is None or not is_oci_pipeline(run):
            return None
        name = pipeline_run_name(run, attempt_of(run))
        current = await self.cluster.get(PIPELINE_RUNS, key.namespace, name)
        owner = None if current else await self._owner(run)
        children = {name: current} if current else {}
        decision = decide(run, children, self.clock(), owner, self.installation.defaults)
        return await self._execute(decision, run, key)

    async def _execute(self, decision: Decision, run: Object, key: Key) -> float | None:
        status = decision.status
        if decision.create is not None:
            try:
                if not await self.cluster.create(PIPELINE_RUNS, decision.create):
                    return REQUEUE_S  # another controller created it: decide with the object that is there now
                self.metrics.launch()
            except RejectedError as error:
                status = rejected(run, error.what, self.clock()).status
        if decision.cancel is not None:
            await self.cluster.patch(PIPELINE_RUNS, key.namespace, decision.cancel, CANCEL)
        if status is None:
            return None
        if not await self.cluster.patch_status(key.resource, run, status):
            return REQUEUE_S
        outcome = outcome_of(status)
        if outcome is not None:
            self.metrics.end(outcome)
        return REQUEUE_S if "retriesStatus" in status else None

    async def _owner(self, run: Object) -> Object | None:
        """Return the PipelineRun that the run is a task of, None if there is none."""
        owner = controller_of(run)
        if owner.get("kind") != "PipelineRun":
            return None
        return await self.cluster.get(PIPELINE_RUNS, run["metadata"]["namespace"], str(owner.get("name")))
