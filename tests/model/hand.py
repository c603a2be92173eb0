"""One directory and the production code at work in it, on a shared repository that is weak or on one of its own."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.core.image.change_set import ChangeSet
from agent.core.model.attempts_and_ancestry import Writer
from agent.core.model.pod import Pod
from agent.core.spelling.reference import Reference, parse_reference
from agent.errors import AgentError
from agent.store.port import Store
from agent.sync.commands.prune_target import PruneOptions, prune
from agent.sync.commands.squash_command import SquashOptions, squash_target
from agent.sync.local.directory_state import DirectoryState, parse_state
from agent.sync.operation.options import PullOptions, PushOptions
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.pull_steps.pull_directory import pull
from agent.sync.push_steps.push_directory import push
from agent.workspace.filesystem.directory_mark import MARK
from agent.workspace.state.state_file import read_state
from tests.fakes.plain import Plain, on_disk
from tests.model.actor import RETURNED, TARGET, Actor, Call
from tests.model.weak_store import WeakStore
from tests.model.world import World

PATIENCE = 0.3
"""Seconds: a few looks for what a registry took and does not show."""
MTIME = 1_600_000_000_000_000_000
ON_ROOT = "the mark on the directory"
Files = Mapping[str, str | None]
"""Contents to write by path; None deletes."""


class Silent:
    """Progress that nobody watches."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def stage(self, name: str, total: int | None = None, unit: str = "paths") -> None:
        """Nothing to show."""

    def advance(self, amount: int) -> None:
        """Nothing to show."""

    def notice(self, text: str) -> None:
        self.notices.append(text)


@dataclass(frozen=True)
class Pushed:
    """A push that returned. `pod` is the uid of its writer's pod; `at` counts the schedule's words by then."""

    id: str
    lane: str
    attempt: int | None
    pod: str | None
    at: int
    head_moved: bool
    requests: int


@dataclass(frozen=True)
class Pulled:
    """A pull that returned. `began` counts the schedule's words when it began; `stale` says if a list of it was.

    `own` is who it was for, the pod as it counts from then on.
    """

    union: ChangeSet
    tree: Plain
    after: tuple[str, ...]
    own: Writer | None
    began: int
    stale: bool


class Hand:
    """What an actor's script may do with one directory of its own."""

    def __init__(self, place: Path, name: str, clock: int) -> None:
        self.place = place
        self.name = name
        self.clock = clock
        self.pushed: list[Pushed] = []
        self.pulled: list[Pulled] = []
        self.failed: list[tuple[str, AgentError]] = []
        self.progress = Silent()
        self.is_dirty = True
        self.world: World | None = None
        self.actor: Actor | None = None
        self._plain: Store | None = None
        self._random = random.Random(name)

    @property
    def directory(self) -> Path:
        return self.place / self.name

    @property
    def state(self) -> Path:
        return self.place / f".state-{self.name}"

    def enter(self, world: World | None, actor: Actor | None, store: Store) -> None:
        """Work in a run, or, with no world, alone on a store."""
        self.world, self.actor = world, actor
        self._plain = WeakStore(world, actor) if world and actor else store
        self._random = random.Random(self.name)

    def site(self) -> WorkspaceContext:
        store = self._plain
        assert store is not None

        def open_store(reference: Reference) -> Store:
            assert store is not None
            return store

        return WorkspaceContext(
            target=parse_reference(TARGET),
            directory=str(self.directory),
            state=str(self.state),
            open_store=open_store,
            progress=self.progress,
            clock=lambda: self.clock,
            sleep=self._sleep,
            patience=PATIENCE,
            random=self._random.random,
        )

    def push(self, lane: str | None = None, attempt: int | None = None, pod: str | None = None, **options: Any) -> None:
        """Push; the report is kept if something was published. `pod` is the uid of the pod that this runs in."""
        wanted = PushOptions(lane=lane or self.name, attempt=attempt, pod=self._pod(pod), **options)
        try:
            report = push(self.site(), wanted)
        except AgentError as error:
            self.failed.append(("push", error))
            raise
        if report.id is not None:
            self._step(Call("put", RETURNED))
            if self.world:
                self.world.returned.append(report.id)
            requests = self._plain.traffic.requests if self._plain else 0
            at = self._now()
            self.pushed.append(Pushed(report.id, lane or self.name, attempt, pod, at, report.head_moved, requests))

    def pull(self, pod: str | None = None, **options: Any) -> None:
        self._step(Call("get", RETURNED))
        if self.world and self.actor:
            self.actor.learnt.update(" ".join(sorted(self.world.returned)).encode())
        began, self.is_dirty = self._now(), True
        chosen = PullOptions(create=True, pod=self._pod(pod), **options)
        try:
            pull(self.site(), chosen)
        except AgentError as error:
            self.failed.append(("pull", error))
            raise
        words = self.world.schedule[began:] if self.world else []
        stale = any(word.startswith(f"{self.name}!stale") for word in words)
        tree, memory = on_disk(os.fsencode(self.directory)), self.memory()
        own = memory.began_as(chosen.writer) if chosen.writer else None
        self.pulled.append(Pulled(memory.union, tree, chosen.after, own, began, stale))

    def _pod(self, uid: str | None) -> Pod | None:
        return None if uid is None else Pod(self.clock, uid)

    def prune(self, older_than: int) -> None:
        """Prune what a checkpoint holds that is older than so many ns."""
        self._alone("prune", lambda: prune(self.site()._replace(clock=self._time), PruneOptions(older_than)))

    def squash(self) -> None:
        self._alone("squash", lambda: squash_target(self.site()._replace(clock=self._time), SquashOptions()))

    def _alone(self, operation: str, act: Callable[[], object]) -> None:
        """Do what needs no directory."""
        try:
            act()
        except AgentError as error:
            self.failed.append((operation, error))
            raise

    def move(self) -> None:
        """Go on with an empty directory that nothing is known of, as a new pod does."""
        self.is_dirty = True
        shutil.rmtree(self.directory)
        self.directory.mkdir()
        self.reset({})

    def memory(self) -> DirectoryState:
        """Return what is remembered of the directory, but for its paths."""
        state = read_state(str(self.state / "state"))
        assert state is not None
        with state:
            return parse_state(state.header, [])

    def append(self, path: str, line: str) -> None:
        """Write one more line at the end of a file, as `echo LINE >> PATH` does."""
        place = self.directory / path
        self.edit({path: (place.read_text() if place.exists() else "") + line + "\n"})

    def edit(self, files: Files) -> None:
        """Write and delete, at a time that is always the same, so that a change has the same id in every run."""
        self.is_dirty = True
        for path, content in files.items():
            place = self.directory / path
            if content is None:
                shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
                continue
            if place.parent.is_file():
                place.parent.unlink()
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.is_dir():
                shutil.rmtree(place)
            place.write_text(content)
        for top, _, names in os.walk(self.directory, topdown=False):
            for name in names:
                if name in {os.path.basename(path) for path in files}:
                    os.utime(os.path.join(top, name), ns=(MTIME, MTIME))
            os.utime(top, ns=(MTIME, MTIME))

    def crash_image(self) -> Callable[[], None]:
        """Remember what is on the disk of the state now; return what puts it back."""
        kept = self.image()
        return lambda: self.reset(kept)

    def image(self) -> dict[str, bytes]:
        """Return what is remembered of the directory: the state's files, and the mark on the directory itself."""
        files = {entry.name: Path(entry.path).read_bytes() for entry in os.scandir(self.state)}
        mark = self._mark()
        return files if mark is None else {**files, ON_ROOT: mark}

    def _mark(self) -> bytes | None:
        return os.getxattr(self.directory, MARK) if os.fsdecode(MARK) in os.listxattr(self.directory) else None

    def reset(self, kept: dict[str, bytes]) -> None:
        """Make what is remembered what it was."""
        kept = dict(kept)
        mark = kept.pop(ON_ROOT, None)
        if mark is not None:
            os.setxattr(self.directory, MARK, mark)
        elif self._mark() is not None:
            os.removexattr(self.directory, MARK)
        for entry in os.scandir(self.state):
            if entry.name not in kept:
                os.unlink(entry.path)
        for name, data in kept.items():
            place = self.state / name
            if not place.exists() or place.read_bytes() != data:
                place.write_bytes(data)

    def _now(self) -> int:
        return len(self.world.schedule) if self.world else 0

    def _time(self) -> int:
        """Return what the clock says of one who cleans up: it goes on while the process hangs."""
        return max(self.clock, self.world.time if self.world else 0)

    def _step(self, call: Call) -> None:
        if self.actor is not None and self.actor.ask(call) == "dies-after":
            self.actor.die()

    def _sleep(self, seconds: float) -> None:
        self._step(Call("sleep"))
