"""The layers that a push builds on, mounted or copied into the target's repository."""

from __future__ import annotations

from agent.core.spelling.digest import Digest
from agent.core.spelling.reference import parse_reference
from agent.store.port import Store
from agent.sync.local.directory_state import DirectoryState
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.remote.target import Target


def copy_layers(context: WorkspaceContext, target: Target, state: DirectoryState) -> None:
    """Mount or copy the layers of the base and, if the directory came from another target, all others.

    After a change is published, its entry keeps every layer below it in the repository.

    Raises:
        VanishedError: a layer is gone.
        AuthError, UnavailableError: see `agent.errors`.
    """
    union = state.union
    moved = state.target != target.name
    # The base's repository may be gone by now; a target with a change has its layers, too.
    name = state.target if moved and union.order else state.base
    if name and (moved or not union.order):
        source = context.open_store(parse_reference(name))
        for layer in (*(layer for layers in union.bases.values() for layer in layers), *union.order):
            _copy(target.store, source, layer.digest, layer.size)


def _copy(store: Store, source: Store, digest: Digest, size: int) -> None:
    if store is not source and not store.has_blob(digest):
        store.copy_blob(digest, size, source)
