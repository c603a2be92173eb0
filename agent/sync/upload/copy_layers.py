"""Make what a push builds on available in the target's repository."""

from __future__ import annotations

from agent.core.spelling.digest import Digest
from agent.core.spelling.reference import parse_reference
from agent.store.port import Store
from agent.sync.local.directory_state import Memory
from agent.sync.operation.workspace_context import Site
from agent.sync.remote.target import Target


def bring_layers(site: Site, target: Target, memory: Memory) -> None:
    """Mount or copy the layers of the base, and, where the directory came from another target, all others.

    Once any change is published, its entry keeps every layer below it in the repository.
    """
    union = memory.union
    moved = memory.target != target.name
    # Where the base came from may be gone by now; a target that any change was published to has its layers, too.
    name = memory.target if moved and union.order else memory.base
    if name and (moved or not union.order):
        source = site.open_store(parse_reference(name))
        for layer in (*(layer for layers in union.bases.values() for layer in layers), *union.order):
            _bring(target.store, source, layer.digest, layer.size)


def _bring(store: Store, source: Store, digest: Digest, size: int) -> None:
    if store is not source and not store.has_blob(digest):
        store.copy_blob(digest, size, source)
