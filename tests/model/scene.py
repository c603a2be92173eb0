"""Actors at work on real directories: the production code's pull and push, driven call by call."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.memory_store import MemoryStore
from tests.fakes.plain import put_image
from tests.model.actor import HEAD, Actor, Call
from tests.model.hand import Files, Hand
from tests.model.world import Faults, World

FIRST = 1_000
"""What the clock said when the base was pushed."""
Life = Callable[[Hand], None]


@dataclass
class Part:
    """One actor of a scene.

    Attributes:
        lives: what it does; after it was killed, the next.
        edits: what it has changed on its disk, where the base lies, before the run begins. None: it starts with an
            empty directory that nothing is known of.
        clock: what its clock says, ns.
    """

    lives: list[Life]
    edits: Files | None = None
    clock: int = 2_000


@dataclass
class Scene:
    """What a search runs again and again.

    Attributes:
        base: what the workspace held before; None: the target does not exist yet.
        foreign: whether the base is an image that another tool put at the target.
        parts: the actors, by name.
        listed: whether every list shows all that was put: pruning without a grace time needs that.
        lag: how long a list may lag behind what was put and deleted, ns; None: for as long as the run takes.
        is_shared: which calls others may notice; the rest is no step of the schedule.
    """

    name: str
    parts: dict[str, Part]
    faults: Faults = field(default_factory=Faults)
    base: Files | None = field(default_factory=lambda: {"old": "old", "d/kept": "kept"})
    foreign: bool = False
    listed: bool = False
    lag: int | None = None
    is_shared: Callable[[Call], bool] = lambda call: bool(call.tag)


class Stage:
    """A scene set up in a directory, from where each run begins.

    Args:
        place: an empty directory, best in memory.
    """

    def __init__(self, place: Path, scene: Scene) -> None:
        self.place = place
        self.scene = scene
        self.store = MemoryStore()
        if scene.base is not None and scene.foreign:
            put_image(self.store, HEAD, [{path: (text or "").encode() for path, text in scene.base.items()}])
        elif scene.base is not None:
            first = self._hand("first", FIRST)
            first.edit(scene.base)
            first.enter(None, None, self.store)
            first.push()
        self._kept: dict[str, dict[str, bytes]] = {}
        self._hands = {name: self._hand(name, part.clock) for name, part in scene.parts.items()}

    def begin(self) -> Run:
        """Return a new run, at its start."""
        store = MemoryStore()
        store.blobs, store.manifests = dict(self.store.blobs), dict(self.store.manifests)
        store.pointers = dict(self.store.pointers)
        for name, part in self.scene.parts.items():
            self._prepare(self._hands[name], part)
        return Run(self.scene, store, self._hands)

    def _prepare(self, hand: Hand, part: Part) -> None:
        """Give a hand the directory and the state that it begins with, anew only if the last run changed them."""
        hand.pushed, hand.pulled, hand.failed = [], [], []
        hand.clock = part.clock
        if not hand.is_dirty:
            hand.reset(self._kept[hand.name])
            return
        hand.move()
        if part.edits is not None:
            hand.enter(None, None, self.store)
            if self.scene.base is not None:
                hand.pull()
            hand.edit(part.edits)
        self._kept[hand.name] = hand.image()
        hand.pulled, hand.is_dirty = [], False

    def _hand(self, name: str, clock: int) -> Hand:
        hand = Hand(self.place, name, clock)
        hand.directory.mkdir(exist_ok=True)
        hand.state.mkdir(exist_ok=True)
        return hand


class Run:
    """One run of a scene.

    Attributes:
        hands: what each actor has done so far, by name.
    """

    def __init__(self, scene: Scene, store: MemoryStore, hands: dict[str, Hand]) -> None:
        self.scene = scene
        self.world = World(store, copy.copy(scene.faults), scene.is_shared, scene.lag)
        self.world.clock = lambda name: hands[name].clock
        self.hands = hands
        for name, part in scene.parts.items():
            hand = hands[name]
            actor = Actor(name, [_bound(life, hand) for life in part.lives], hand.crash_image)
            self.world.actors[name] = actor
            hand.enter(self.world, actor, store)


def _bound(life: Life, hand: Hand) -> Callable[[], None]:
    return lambda: life(hand)
