"""Workspaces in a registry, for tests in which it fails a lot: nothing waits longer than it must."""

from __future__ import annotations

import time

from agent.core.spelling.reference import Reference, RegistryReference
from agent.store.network.retrying import Limits, Patience, Timing
from agent.store.port import Store
from agent.store.registry.registry_store import RegistryStore
from agent.sync.operation.workspace_context import WorkspaceContext
from tests.fakes.workspaces import Workspaces

SILENCE = 0.25
"""Seconds of silence after which a connection counts as broken."""


def _briefly(seconds: float) -> None:
    time.sleep(min(seconds, 0.005))


class HurriedWorkspaces(Workspaces):
    """Waits between tries are cut to nothing much; a registry that says nothing for `SILENCE` is given up."""

    def site(self, name: str, target: str | None = None) -> WorkspaceContext:
        return super().site(name, target)._replace(sleep=_briefly)

    def open_store(self, reference: Reference) -> Store:
        repository = reference._replace(tag=None, digest=None)
        if repository not in self._stores and isinstance(reference, RegistryReference):
            self._stores[repository] = RegistryStore(
                reference, limits=Limits(read=SILENCE), patience=Patience(20.0, Timing(sleep=_briefly))
            )
        return super().open_store(reference)
