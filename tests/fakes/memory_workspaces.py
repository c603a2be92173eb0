"""Workspaces kept in memory: stores to look into, to damage and to interrupt; a clock that can be set."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from agent.core.spelling.reference import Reference, parse_reference
from agent.store.port import Store
from agent.sync.commands.read_target import LogEntry, log
from agent.sync.operation.report import ConflictReport
from agent.sync.operation.workspace_context import WorkspaceContext
from tests.fakes.memory_store import MemoryStore
from tests.fakes.workspaces import Workspaces

TARGET = "memory.test/team/ws:main"


class MemoryWorkspaces(Workspaces):
    """Every repository of the host `memory.test` is a `MemoryStore`.

    Attributes:
        store: the target's repository.
        now: what the clock says, ns; None for the real one.
        slept: what was waited, in seconds; nothing waits.
    """

    def __init__(self, place: Path, target: str = TARGET) -> None:
        super().__init__(place, target)
        self._kept: dict[Reference, MemoryStore] = {}
        self.now: int | None = None
        self.slept: list[float] = []
        store = self.open_store(parse_reference(target))
        assert isinstance(store, MemoryStore)
        self.store = store

    def site(self, name: str, target: str | None = None) -> WorkspaceContext:
        def clock() -> int:
            return time.time_ns() if self.now is None else self.now

        return super().site(name, target)._replace(clock=clock, sleep=self.slept.append)

    def open_store(self, reference: Reference) -> Store:
        repository = reference._replace(tag=None, digest=None)
        if str(repository).startswith("memory.test/"):
            return self._kept.setdefault(repository, MemoryStore())
        return super().open_store(reference)

    def disputes(self) -> tuple[int, list[ConflictReport]]:
        """Return how many conflicts the log tells of, and which."""
        reference = parse_reference(self.target)
        found = log(self.open_store(reference), reference)
        return found.conflict_count, found.conflicts

    def log(self, target: str | None = None) -> list[LogEntry]:
        reference = parse_reference(target or self.target)
        return log(self.open_store(reference), reference).changes

    def manifest(self, reference: str) -> dict[str, Any]:
        """Return the manifest at a tag or digest as JSON."""
        data, _ = self.store.manifests[self.store.pointers.get(reference, reference)]
        value = json.loads(data)
        assert isinstance(value, dict)
        return value

    def config(self, manifest: dict[str, Any]) -> dict[str, Any]:
        value = json.loads(self.store.blobs[manifest["config"]["digest"]])
        assert isinstance(value, dict)
        return value

    def put(self, tag: str, manifest: dict[str, Any], media_type: str = "") -> None:
        """Put a manifest as someone else would."""
        data = json.dumps(manifest).encode()
        self.store.put_manifest(tag, data, media_type or manifest["mediaType"])

    def frozen(self, name: str | None = None) -> Any:
        """Return all that a refused operation must leave as it is: the target, and the state of a directory."""
        store = (dict(self.store.blobs), dict(self.store.manifests), dict(self.store.pointers))
        return store, self.state_of(name) if name else None

    def state_of(self, name: str) -> dict[str, bytes]:
        """Return the files that remember a directory; the lock is none."""
        place = self.place / f".state-{name}"
        names = sorted(os.listdir(place)) if place.exists() else []
        return {file: (place / file).read_bytes() for file in names if file != "lock"}


def entries_of(store: MemoryStore) -> list[str]:
    """Return the tags of entries."""
    return [tag for tag in store.pointers if "._e" in tag]
