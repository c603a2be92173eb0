"""Workspaces that share one target: what a test of pull and push needs, and nothing faked but the waiting."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.core.spelling.reference import Reference, parse_reference
from agent.store import Patience, StoreOptions, open_store
from agent.store.port import Store
from agent.sync.commands.directory_status import StatusReport, status
from agent.sync.commands.read_target import log
from agent.sync.operation.options import PullOptions, PushOptions
from agent.sync.operation.report import PullReport, PushReport
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.pull_steps.pull_directory import pull
from agent.sync.push_steps.push_directory import push


@dataclass
class Notices:
    """Progress that remembers what the user was told."""

    texts: list[str] = field(default_factory=list)

    def stage(self, name: str, total: int | None = None, unit: str = "paths") -> None:
        """Nothing to show."""

    def advance(self, amount: int) -> None:
        """Nothing to show."""

    def notice(self, text: str) -> None:
        self.texts.append(text)


class Workspaces:
    """Directories below `place`, by name, each with a state of its own, kept at one target.

    Args:
        target: by default a layout in `place`.

    Attributes:
        notices: what the last operation told the user.
        patience: for registries that are not there.
    """

    def __init__(self, place: Path, target: str | None = None) -> None:
        self.place = place
        self.target = target or f"oci:{place}/layout:ws"
        self.notices: list[str] = []
        self.patience: Patience | None = None
        self._stores: dict[Reference, Store] = {}
        self._random = random.Random(0)

    def at(self, name: str) -> bytes:
        """Return the path of the directory `name`, made if it is not there."""
        path = self.place / name
        path.mkdir(exist_ok=True)
        return os.fsencode(path)

    def site(self, name: str, target: str | None = None) -> WorkspaceContext:
        self.close()  # each operation's traffic is its own
        told = Notices()
        self.notices = told.texts
        return WorkspaceContext(
            target=parse_reference(target or self.target),
            directory=os.fsdecode(self.at(name)),
            state=str(self.place / f".state-{name}"),
            open_store=self.open_store,
            progress=told,
            clock=time.time_ns,
            sleep=time.sleep,
            random=self._random.random,
        )

    def open_store(self, reference: Reference) -> Store:
        repository = reference._replace(tag=None, digest=None)
        if repository not in self._stores:
            self._stores[repository] = open_store(reference, StoreOptions(patience=self.patience))
        return self._stores[repository]

    def close(self) -> None:
        for store in self._stores.values():
            store.close()
        self._stores.clear()

    def push(self, name: str, *, to: str | None = None, lane: str | None = None, **options: Any) -> PushReport:
        return push(self.site(name, to), PushOptions(lane=lane or name, **options))

    def pull(self, name: str, *, target: str | None = None, **options: Any) -> PullReport:
        return pull(self.site(name, target), PullOptions(**options))

    def status(self, name: str) -> StatusReport:
        return status(self.site(name))

    def changed(self, name: str) -> list[tuple[str, bytes]]:
        """Return what `status` says of a directory."""
        return [(difference.mark, difference.path) for difference in self.status(name).differences]

    def ids(self) -> list[str]:
        """Return the ids of the target's changes, oldest first."""
        reference = parse_reference(self.target)
        return [entry.id for entry in reversed(log(self.open_store(reference), reference).changes)]


def let_the_clock_tick(seconds: float = 0.05) -> None:
    """Wait until what was written before counts as older than now, on any local file system."""
    time.sleep(seconds)
