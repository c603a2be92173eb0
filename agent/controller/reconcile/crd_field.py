"""Keeps the field `spec.lookup` in Tekton's CRDs, which whoever installs Tekton again takes out."""

from __future__ import annotations

import asyncio

from agent.controller.api.kubernetes_client import Cluster
from agent.controller.api.resources import CRDS
from agent.controller.telemetry.logs import LOGGER
from agent.controller.telemetry.metrics import Metrics
from agent.errors import AgentError
from agent.tekton.lookup import lookup_field

PAUSE_S = 10.0
"""Seconds between looks: as long can the field be inactive after an upgrade of Tekton."""

_TRIES = 3
"""Tekton's own controllers write into the CRDs when they start, so that a patch may come too late."""


async def keep(cluster: Cluster, metrics: Metrics, pause: float = PAUSE_S) -> None:
    """Keep the field for ever. Looks instead of watching: rights for two names cannot watch a list."""
    fields = [_Field(cluster, name) for name in lookup_field.CRDS]
    while True:
        active = [await field.look() for field in fields]
        metrics.field(active=all(active))
        await asyncio.sleep(pause)


class _Field:
    """The field in one CRD, and what the log says of it: a line for each change, not for each look."""

    def __init__(self, cluster: Cluster, crd: str) -> None:
        self._cluster = cluster
        self._crd = crd
        self._was_active = False
        self._trouble = ""

    async def look(self) -> bool:
        """Add the field where it lacks; say whether it is there now."""
        try:
            for _ in range(_TRIES):
                crd = await self._cluster.get(CRDS, "", self._crd)
                patch = [] if crd is None else lookup_field.field_patch(crd)
                if not patch:
                    return self._is_there(crd is not None, is_new=False)
                if self._was_active:
                    self._was_active = False
                    LOGGER.error(
                        "spec.lookup was inactive: runs that relied on it looked into their namespace",
                        extra=self._about,
                    )
                if await self._cluster.json_patch(CRDS, self._crd, patch):
                    return self._is_there(True, is_new=True)
        except AgentError as error:
            return self._is_in_trouble(str(error))
        return self._is_in_trouble("the CRD changes all the time, or the API server does not take the field")

    def _is_there(self, there: bool, *, is_new: bool) -> bool:
        if there and (is_new or self._trouble):
            LOGGER.warning("spec.lookup is active", extra=self._about)
        self._was_active, self._trouble = there, ""
        return there

    def _is_in_trouble(self, trouble: str) -> bool:
        if trouble != self._trouble:
            LOGGER.error("spec.lookup may be inactive: %s", trouble, extra=self._about)
        self._trouble = trouble
        return False

    @property
    def _about(self) -> dict[str, dict[str, str]]:
        return {"about": {"crd": self._crd}}
