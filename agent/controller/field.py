"""Keeps the field `spec.lookup` in Tekton's CRDs, which whoever installs Tekton again takes out."""

from __future__ import annotations

import asyncio

from agent.controller.cluster import CRDS, Cluster
from agent.controller.logs import LOGGER
from agent.controller.metrics import Metrics
from agent.errors import AgentError
from agent.tekton import lookup_field

PAUSE_S = 10.0
"""Seconds between looks: as long can the field be inactive after an upgrade of Tekton."""


async def keep(cluster: Cluster, metrics: Metrics, pause: float = PAUSE_S) -> None:
    """Keep the field for ever. Looks instead of watching: rights for two names cannot watch a list."""
    while True:
        active = True
        for name in lookup_field.CRDS:
            try:
                active = await _look(cluster, name) and active
            except AgentError as error:
                active = False
                LOGGER.error("spec.lookup may be inactive: %s", error, extra={"about": {"crd": name}})
        metrics.field(active=active)
        await asyncio.sleep(pause)


async def _look(cluster: Cluster, name: str) -> bool:
    """Add the field where it lacks; say whether it is there now."""
    crd = await cluster.get(CRDS, "", name)
    patch = [] if crd is None else lookup_field.field_patch(crd)
    if crd is None or not patch:
        return crd is not None
    about = {"about": {"crd": name}}
    LOGGER.error("spec.lookup was inactive: runs that relied on it looked into their namespace", extra=about)
    if not await cluster.json_patch(CRDS, name, patch):
        LOGGER.error("spec.lookup is still inactive: the CRD changed meanwhile, or was refused", extra=about)
        return False
    LOGGER.warning("spec.lookup is active", extra=about)
    return True
