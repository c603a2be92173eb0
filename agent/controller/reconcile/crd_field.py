"""The reconciler of the field `spec.lookup` in Tekton's CRDs: an upgrade of Tekton removes the field."""

from __future__ import annotations

import asyncio

from agent.controller.api.kubernetes_client import Cluster
from agent.controller.api.resources import CRDS
from agent.controller.telemetry.logs import LOGGER
from agent.controller.telemetry.metrics import Metrics
from agent.errors import AgentError
from agent.tekton.lookup import lookup_field

PAUSE_S = 10.0
"""Seconds between checks, and so the longest time without the field after an upgrade of Tekton."""

_ATTEMPTS = 3
"""Patches in a row. Tekton's own controllers write into the CRDs when they start, so that a patch may conflict."""


async def keep_field(cluster: Cluster, metrics: Metrics, pause: float = PAUSE_S) -> None:
    """Add the field again and again, without an end. It polls: rights for two named CRDs do not allow a watch."""
    fields = [_Field(cluster, name) for name in lookup_field.CRDS]
    while True:
        active = [await field.reconcile() for field in fields]
        metrics.field(active=all(active))
        await asyncio.sleep(pause)


class _Field:
    """The field in one CRD. The log has a line for each change, not for each check."""

    def __init__(self, cluster: Cluster, crd: str) -> None:
        self._cluster = cluster
        self._crd = crd
        self._was_active = False
        self._problem = ""

    async def reconcile(self) -> bool:
        """Add the field if it is missing. Return whether it is there now."""
        try:
            for _ in range(_ATTEMPTS):
                crd = await self._cluster.get(CRDS, "", self._crd)
                patch = [] if crd is None else lookup_field.field_patch(crd)
                if not patch:
                    return self._report_active(crd is not None, is_new=False)
                if self._was_active:
                    self._was_active = False
                    LOGGER.error(
                        "spec.lookup was inactive: runs that relied on it looked into their namespace",
                        extra=self._about,
                    )
                if await self._cluster.json_patch(CRDS, self._crd, patch):
                    return self._report_active(True, is_new=True)
        except AgentError as error:
            return self._report_problem(str(error))
        return self._report_problem("the CRD changes all the time, or the API server does not take the field")

    def _report_active(self, there: bool, *, is_new: bool) -> bool:
        if there and (is_new or self._problem):
            LOGGER.warning("spec.lookup is active", extra=self._about)
        self._was_active, self._problem = there, ""
        return there

    def _report_problem(self, problem: str) -> bool:
        if problem != self._problem:
            LOGGER.error("spec.lookup may be inactive: %s", problem, extra=self._about)
        self._problem = problem
        return False

    @property
    def _about(self) -> dict[str, dict[str, str]]:
        return {"about": {"crd": self._crd}}
