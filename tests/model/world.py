"""A repository with the weakest promises that registries give, and actors who share it, one call at a time.

Each actor is a thread that runs the production code and stops before every call of its store until it is told how that
call shall end. A run is therefore its schedule: a list of words, one for each call.

    NAME            the actor's call happens
    NAME!lost       the answer to a PUT of a tag is lost: the actor sees an error, the PUT takes effect later, or never
    NAME!twice      a PUT of a tag happens, and a duplicate of it is still on its way
    NAME!unseen     a PUT of a pointer is acknowledged, and nobody sees it before it lands
    NAME!stale      a list shows what there was when the run began, or, where lists lag by a known time, so long ago
    NAME!stale-N    a list lacks the N newest tags
    NAME!absent     a GET of head or of a listed entry finds nothing for a moment
    NAME!hidden     a PUT of a tag is refused, because a blob that is there is not found for a moment
    NAME!down       a list cannot be read
    NAME!dies       the actor is killed before the call
    NAME!dies-after the actor is killed after it
    late-N          duplicate N lands now
    seen-N          what nobody saw lands now
    collect         the registry collects garbage: manifests without a tag, then blobs that no manifest names
    over            those that are still on their way never land
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from agent.core.spelling.digest import Digest
from agent.errors import MissingBlobError
from agent.store.manifest_checks import referenced_digests
from agent.store.port import Deleted
from tests.fakes.memory_store import MemoryStore
from tests.model.actor import LISTED, RETURNED, Actor, Call


@dataclass
class Faults:
    """How often each may happen in a run. `actors` restricts deaths to some, None means all."""

    dies: int = 0
    lost: int = 0
    twice: int = 0
    unseen: int = 0
    stale: int = 0
    absent: int = 0
    hidden: int = 0
    down: int = 0
    collects: int = 0
    actors: tuple[str, ...] | None = None


KINDS = ("dies", "lost", "twice", "unseen", "stale", "absent", "hidden", "down", "collects")


@dataclass
class Late:
    """A PUT, or a duplicate of one, that has not landed yet. One that was acknowledged lands in the end."""

    tag: str
    data: bytes
    media_type: str
    landed: bool = False
    is_acknowledged: bool = False

    def word(self, number: int) -> str:
        return f"{'seen' if self.is_acknowledged else 'late'}-{number}"


class World:
    """The repository, the duplicates on their way, the actors, and what happened.

    Attributes:
        put: called with a tag after each PUT of it took effect.
        deleting: called with a digest before its manifest is deleted.
        entries: every entry that ever stood there, pruned ones too, and its media type, by tag.
        collected: the blobs that were collected.
        is_pruned: whether anything was deleted.
        clock: returns what an actor's clock says, ns. Time is what the latest clock said that anybody acted by.

    Args:
        lag: how long a list may lag, ns; None: for ever.
    """

    def __init__(
        self,
        store: MemoryStore,
        faults: Faults,
        is_shared: Callable[[Call], bool] | None = None,
        lag: int | None = None,
    ) -> None:
        self.store = store
        self.faults = faults
        self.late: list[Late] = []
        self.actors: dict[str, Actor] = {}
        self.schedule: list[str] = []
        self.put: Callable[[str], None] = lambda tag: None
        self.deleting: Callable[[Digest], None] = lambda digest: None
        self.is_shared = is_shared or (lambda call: True)
        self.entries = {tag: store.manifests[digest] for tag, digest in store.pointers.items() if "._e" in tag}
        self.collected: dict[str, bytes] = {}
        self.is_pruned = False
        self.returned: list[str] = []
        self.clock: Callable[[str], int] = lambda name: 0
        self._lag = lag
        self._now = 0
        self._put_at = dict.fromkeys(store.pointers, 0)
        self._deleted_at: dict[str, int] = {}
        self._before = set(store.pointers)
        self._order = list(store.pointers)
        self._stopped = threading.Semaphore(0)
        self._is_over = False

    # What the scheduler does.

    def start(self) -> None:
        """Let each actor come to its first call."""
        for actor in self.actors.values():
            actor.begin(self._stopped)
            self._stopped.acquire()
        self._settle()

    def choices(self) -> list[str]:
        """Return the words that may come next; none when everybody is done."""
        alive = [actor for actor in self.actors.values() if actor.call is not None]
        late = [late.word(number) for number, late in enumerate(self.late) if not late.landed]
        if not alive:
            unseen = [word for word in late if word.startswith("seen-")]
            return unseen or (["over", *late] if late and not self._is_over else [])
        # A call that touches nothing shared commutes with everything: nobody else need be tried before it.
        private = [actor for actor in alive if actor.call is not None and not self.is_shared(actor.call)]
        found = [word for actor in private[:1] or alive for word in self._endings(actor)]
        return found if private else found + late + (["collect"] if self.faults.collects and self._garbage() else [])

    def take(self, word: str) -> None:
        """Let one thing happen."""
        self.schedule.append(word)
        if word == "over":
            self._is_over = True
            return
        if word == "collect":
            self._collect()
            return
        if word.startswith(("late-", "seen-")):
            late = self.late[int(word[5:])]
            late.landed = True
            with suppress(MissingBlobError):  # a layer of it was collected: the registry refuses
                self._apply(late.tag, late.data, late.media_type)
            return
        name, _, ending = word.partition("!")
        if ending:
            kind = ending.partition("-")[0]
            setattr(self.faults, kind, getattr(self.faults, kind) - 1)
        self._now = max(self._now, self.clock(name))
        self.actors[name].go(ending, self._stopped)
        self._settle()

    def is_independent(self, one: str, other: str) -> bool:
        """Say whether two words may change places without anybody noticing."""
        if "collect" in (one, other) or self._lag is not None:  # an act may be what lets time pass
            return False
        (name, fault, uses), (other_name, other_fault, other_uses) = self._meaning(one), self._meaning(other)
        if name == other_name or (fault and fault == other_fault):
            return False
        if uses.keys() == other_uses.keys() == {RETURNED} and uses == other_uses:
            return True
        return not any(uses[thing] or other_uses[thing] for thing in uses.keys() & other_uses.keys())

    def _meaning(self, word: str) -> tuple[str, str, dict[str, bool]]:
        """Return who does it, which faults there are fewer of after it, and what it uses."""
        if word == "over":
            return word, "", dict.fromkeys([LISTED, *(late.tag for late in self.late)], True)
        if word.startswith(("late-", "seen-")):
            return word, "", Call("put", self.late[int(word[5:])].tag).uses()
        name, _, ending = word.partition("!")
        call = self.actors[name].call
        assert call is not None
        uses = {} if ending == "dies" else call.uses()
        if call.is_delete and uses:
            uses |= dict.fromkeys([LISTED, *self._tags(call.tag)], True)
        return name, ending.partition("-")[0], uses

    def key(self) -> tuple[Any, ...]:
        """Return what the rest of the run depends on: two runs with equal keys have equal futures."""
        return (
            frozenset(self.store.pointers.items()),
            tuple((late.tag, sha256(late.data).digest(), late.landed) for late in self.late),
            tuple(actor.learnt.digest() for actor in self.actors.values()),
            tuple(actor.call is None for actor in self.actors.values()),
            tuple(getattr(self.faults, kind) for kind in KINDS),
            tuple(self._since()) if self.faults.stale else (),
            self.time,
            frozenset(self.collected),
        )

    def abandon(self) -> None:
        """End every actor."""
        for actor in self.actors.values():
            actor.abandon()

    def _settle(self) -> None:
        """Let private calls happen at once, where nobody can die at them."""
        for actor in self.actors.values():
            while actor.call is not None and not self.is_shared(actor.call) and not self._may_die(actor):
                actor.go("", self._stopped)

    def _may_die(self, actor: Actor) -> bool:
        return bool(self.faults.dies) and (self.faults.actors is None or actor.name in self.faults.actors)

    def _endings(self, actor: Actor) -> Iterator[str]:
        call, faults, name = actor.call, self.faults, actor.name
        assert call is not None
        yield name
        if call.is_put and call.tag != RETURNED and faults.lost:
            yield f"{name}!lost"
        if call.is_put and call.tag != RETURNED and faults.hidden:
            yield f"{name}!hidden"
        if call.is_put and call.tag != RETURNED and faults.twice:
            yield f"{name}!twice"
        if call.is_put and "._p" in call.tag and faults.unseen and call.tag not in self.store.pointers:
            yield f"{name}!unseen"
        if call.is_list and faults.stale and self._since():
            yield f"{name}!stale"
            yield from (f"{name}!stale-{lag}" for lag in range(1, len(self._since())))
        if call.is_list and faults.down:
            yield f"{name}!down"
        if call.is_view and call.tag in self.store.pointers and faults.absent:
            yield f"{name}!absent"
        if self._may_die(actor):
            yield f"{name}!dies"
            yield f"{name}!dies-after"

    # What the repository does.

    @property
    def time(self) -> int:
        """What a right clock says, ns, if lists lag by a known time; else time plays no part: 0."""
        return 0 if self._lag is None else self._now

    def _since(self) -> list[str]:
        return [tag for tag in self._order if tag not in self.settled()]

    def settled(self) -> set[str]:
        """Return the tags that the oldest list shows which may be shown now."""
        if self._lag is None:
            return self._before
        then = self._now - self._lag
        there = {tag for tag in self.store.pointers if self._put_at[tag] <= then}
        return there | {tag for tag, at in self._deleted_at.items() if self._put_at[tag] <= then < at}

    def listed(self, prefix: str, ending: str) -> list[str]:
        if ending == "stale":
            return sorted(tag for tag in self.settled() if tag.startswith(prefix))
        since = self._since()
        lag = int(ending.removeprefix("stale-")) if ending.startswith("stale-") else 0
        return [tag for tag in self.store.tags(prefix) if tag not in since[len(since) - lag :]]

    def accept(self, tag: str, data: bytes, media_type: str, ending: str) -> None:
        if ending in ("lost", "twice", "unseen"):
            self.late.append(Late(tag, data, media_type, is_acknowledged=ending == "unseen"))
        if ending not in ("lost", "unseen"):
            # What a place learns late of one tag comes in the order in which it was put.
            for late in self.late:
                late.landed = late.landed or (late.is_acknowledged and late.tag == tag)
            self._apply(tag, data, media_type)

    def _apply(self, tag: str, data: bytes, media_type: str) -> None:
        is_new = tag not in self.store.pointers
        self.store.put_manifest(tag, data, media_type)
        if "._e" in tag:
            self.entries[tag] = (data, media_type)
        if is_new:
            self._put_at[tag] = self._now
            self._deleted_at.pop(tag, None)
            self._order = [*(old for old in self._order if old != tag), tag]
        self.put(tag)

    def delete(self, digest: Digest) -> Deleted:
        self.deleting(digest)
        self.is_pruned = True
        self._deleted_at |= dict.fromkeys(self._tags(digest), self._now)
        return self.store.delete_manifest(digest)

    def _tags(self, digest: str) -> list[str]:
        return [tag for tag, found in self.store.pointers.items() if found == digest]

    def _garbage(self) -> set[str]:
        """Return the blobs that no manifest with a tag names."""
        tagged = (self.store.manifests[digest][0] for digest in self.store.pointers.values())
        return self.store.blobs.keys() - {named for data in tagged for named in referenced_digests(data)}

    def _collect(self) -> None:
        self.faults.collects -= 1
        self.collected |= {digest: self.store.blobs.pop(digest) for digest in self._garbage()}
        for digest in self.store.manifests.keys() - self.store.pointers.values():
            del self.store.manifests[digest]
