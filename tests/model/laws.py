"""What must hold after every run, whatever the schedule was (design, "Protocol")."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice, permutations
from pathlib import Path

from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.image import Image
from agent.core.image.manifest_writer import format_image
from agent.core.model.attempts_and_ancestry import Ancestry, Writer
from agent.core.model.pointer_numbers import place_of
from agent.core.model.record import Record
from agent.core.spelling.digest import Digest
from agent.core.spelling.reference import parse_reference
from agent.core.spelling.tags import checkpoint_ids, entry_ids, mark_tag
from agent.errors import AgentError, ConflictError, DivergedError
from agent.store.port import Store
from agent.sync.remote.resolved_image import read_image, this_platform
from agent.sync.remote.target import Target
from agent.sync.upload.merged_image import merged_image
from tests.fakes.memory_store import MemoryStore
from tests.fakes.plain import Plain, applied
from tests.model.actor import HEAD, TARGET
from tests.model.hand import Hand, Pulled, Pushed
from tests.model.lives import LINES
from tests.model.scene import Run

ORDERS = 6


class ViolationError(AssertionError):
    """A law does not hold. `law` is its number in the design."""

    def __init__(self, law: str, what: str) -> None:
        super().__init__(f"{law}: {what}")
        self.law = law


@dataclass
class Blind:
    """A store whose list of tags shows nothing new: the worst that one may do."""

    store: Store
    shown: Iterable[str] = ()

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)

    def tags(self, prefix: str = "") -> list[str]:
        return [tag for tag in self.shown if tag.startswith(prefix)]


class Laws:
    """Checks runs, and remembers what was found fine, so that equal ends are looked at once."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._fine: set[object] = set()
        self._images: dict[str, Image] = {}
        self.ends = 0

    def watch(self, run: Run) -> None:
        """Check G9 at once: after each PUT of head, and before something is deleted."""
        store = run.world.store

        def put(tag: str) -> None:
            if tag != HEAD:
                return
            entries = {change for tag in _named(entry_ids, store) if (change := self.image(store, tag).change)}
            lost = self.image(store, HEAD).records.keys() - entries - self._checkpointed(store)
            if lost:
                raise ViolationError("G9", f"head alone holds {_short(lost)}")

        def deleting(digest: Digest) -> None:
            tags = [tag for tag, found in store.pointers.items() if found == digest]
            for tag in tags[:1]:
                lost = self.image(store, tag).records.keys() - self._checkpointed(store, but=digest)
                if lost:
                    raise ViolationError("G9", f"deleted and in no checkpoint: {_short(lost)}")
            if mark_tag(HEAD) not in store.pointers:
                raise ViolationError("G1", "something is deleted, and nobody who names a lane is told so")

        run.world.put, run.world.deleting = put, deleting

    def _checkpointed(self, store: MemoryStore, but: str = "") -> set[str]:
        """Return the ids of the changes that a checkpoint holds, other than the one with this digest."""
        tags = [tag for tag in _named(checkpoint_ids, store) if store.pointers[tag] != but]
        return {change for tag in tags for change in self.image(store, tag).records}

    def check(self, run: Run) -> None:
        """Check everything else, after the last actor is done.

        Raises:
            ViolationError: a law does not hold.
        """
        pushed = [each for hand in run.hands.values() for each in hand.pushed]
        pulled = [each for hand in run.hands.values() for each in hand.pulled]
        for pull in pulled:
            self._pull(run, pull, pushed)
        self._calm(run, pushed)
        self._failed(run)
        state = (frozenset(run.world.store.pointers.items()), frozenset(pushed))
        if state in self._fine:
            return
        self._found(run, pushed)
        self._order(run)
        self._head(run)
        self._fine.add(state)
        self.ends += 1

    def image(self, store: MemoryStore, tag: str) -> Image:
        digest = store.pointers[tag]
        if digest not in self._images:
            located = read_image(store, tag, this_platform(None), tag)
            assert located is not None
            self._images[digest] = located.image
        return self._images[digest]

    def entries(self, run: Run) -> dict[str, Record]:
        """Return the record of each change that an entry was pushed for, pruned ones too."""
        store = _entries_alone(run)
        found = {}
        for tag in store.pointers:
            image = self.image(store, tag)
            assert image.change is not None
            found[image.change] = image.records[image.change]
        return found

    def _pull(self, run: Run, pull: Pulled, pushed: list[Pushed]) -> None:
        _check_closed(pull.union)
        _check_tries(pull.union)
        _check_lines(pull.tree)
        scene = run.scene
        if scene.base is not None and not pull.union.ids:
            raise ViolationError("G1", "a pull starts with an empty workspace, although there is one")
        lanes = {record.lane for record in pull.union.records.values()}
        # Where every lane has its pointer, and head holds those, nobody need ask for the list.
        unlisted = pull.stale or (bool(pull.after) and lanes >= set(pull.after))
        for push in pushed:
            named = push.lane in pull.after
            if push.at > pull.began or (unlisted and not named) or self._is_outdated(run, push, pull):
                continue
            if unlisted and self._is_contested(run, push, pull):
                continue
            if push.id not in pull.union.ids:
                raise ViolationError("G1", f"a pull{' that named its lane' if named else ''} lacks {_name(push)}")

    def _is_outdated(self, run: Run, push: Pushed, pull: Pulled) -> bool:
        """Say whether a pull may leave a change out: a later try replaces it, or is the one that pulls."""
        records = self.entries(run)
        past = [records[id_] for id_ in Ancestry(records.values()).past([push.id]) if id_ in records]
        own = pull.own is not None and any(pull.own.replaces(record) for record in past)
        return own or self._is_replaced(run, push)

    def _is_replaced(self, run: Run, push: Pushed) -> bool:
        records = self.entries(run)
        return any(other.writer.replaces(records[push.id]) for other in records.values())

    def _is_contested(self, run: Run, push: Pushed, pull: Pulled | None = None) -> bool:
        """Say whether another change took the same place, so that names alone need not lead to both.

        Two writers pushed under one lane and attempt at the same time. Once both are done, the list is read, so that
        what excuses a pull is a list that shows less than there is, or that one of the two was not done.
        """
        records = self.entries(run)
        mine, place = records[push.id], place_of(records[push.id])
        rivals = {other.id for other in records.values() if other.lane == mine.lane and place_of(other) == place}
        done = {each.id for hand in run.hands.values() for each in hand.pushed if pull is None or each.at <= pull.began}
        lags = any(word.partition("!")[2].startswith(("stale", "down", "absent")) for word in run.world.schedule)
        return len(rivals) > 1 and (pull is None or lags or not rivals <= done)

    def _found(self, run: Run, pushed: list[Pushed]) -> None:
        """G1 and G5 for pulls that begin now: with a consistent list, and by name without any."""
        seen = _target(run.world.store).read_snapshot().union
        _check_closed(seen)
        _check_tries(seen)
        self._check_pods(run, seen)
        for push in pushed:
            if push.id not in seen.ids:
                raise ViolationError("G1", f"a pull with a consistent list lacks {_name(push)}")
        store = run.world.store if run.scene.listed else Blind(run.world.store, run.world.settled())
        for lane in {push.lane for push in pushed}:
            by_name = _target(store).read_snapshot([lane]).union
            _check_closed(by_name)
            for push in pushed:
                if push.lane != lane or push.id in by_name.ids or self._is_replaced(run, push):
                    continue
                if run.scene.listed or not self._is_contested(run, push):
                    raise ViolationError("G1", f"a pull that names the lane lacks {_name(push)}")

    def _check_pods(self, run: Run, seen: ChangeSet) -> None:
        """G6: what a later pod of an actor pushed is not taken for an earlier one's.

        An actor's pods come one after the other. Where each sees what was there when it began, no clock can deceive.
        """
        if run.world.late or any("!stale" in word for word in run.world.schedule):
            return
        for name, hand in run.hands.items():
            last = hand.pushed[-1] if hand.pushed else None
            # Who died after its change was published has pulled before.
            others = [each for other, each in run.hands.items() if other != name]
            lanes = {push.lane for each in others for push in each.pushed}
            lanes |= {pull.own.lane for each in others for pull in each.pulled if pull.own}
            rivals = last and last.lane in lanes
            if last and last.pod and not rivals and last.id in seen.superseded:
                raise ViolationError("G6", f"an earlier pod replaces a later one's change: {_name(last)}")

    def _order(self, run: Run) -> None:
        """G3: entries and checkpoints give one image, in whatever order and company they are read."""
        store = run.world.store
        tags = sorted((*_named(entry_ids, store), *_named(checkpoint_ids, store)))
        images = [self.image(store, tag) for tag in tags]
        whole = unite(images)
        wanted = _rendered(run, whole)
        if _rendered(run, unite(images[::-1])) != wanted:
            raise ViolationError("G3", "entries read in another order give another image")
        for order in (images[1:] + images[:1], *islice(permutations(images), 1, ORDERS)):
            middle = len(order) // 2
            halves = [unite(order[:middle]).image(HEAD), unite(order[middle:]).image(HEAD)]
            for union in (unite(order), unite(halves)):
                if union != whole and _rendered(run, union) != wanted:
                    raise ViolationError("G3", "entries read in another order or company give another image")

    def _calm(self, run: Run, pushed: list[Pushed]) -> None:
        """Head is complete at rest where nobody died, no answer was lost and everybody was content."""
        world = run.world
        calm = not any("!" in word or word.startswith("late") for word in world.schedule)
        content = all(push.head_moved for push in pushed) and not any(a.failures for a in world.actors.values())
        if calm and content and pushed and self.entries(run).keys() - self.image(world.store, HEAD).records.keys():
            raise ViolationError("G2", "head is behind although all went well")

    def _failed(self, run: Run) -> None:
        """A command ends with an error only if an answer to a PUT was lost, or the list that a pull needs.

        Or if what it put was not seen for as long as its patience.
        Or if it would begin what another has begun: two may, but only at the same time. Or if a later attempt,
        which is another's, was there before it began.
        """
        for name, hand in run.hands.items():
            for operation, error in hand.failed:
                if run.scene.base is None and isinstance(error, DivergedError):
                    continue
                if isinstance(error, ConflictError) and "attempt" in error.what and len(run.hands) > 1:
                    continue
                excuses = (f"{name}!lost", f"{name}!down" if operation == "pull" else f"{name}!unseen")
                if not any(word in excuses for word in run.world.schedule):
                    raise ViolationError("exit", f"a {operation} fails for no reason: {error}")

    def _head(self, run: Run) -> None:
        """G2 and G4: one repair makes head the merge of all entries, by plain OCI rules too."""
        store = _copy(run.world.store)
        entries = self.entries(run)
        try:
            tree = self._pulled(store)
        except AgentError as error:
            raise ViolationError("G2", f"a repair fails: {error}") from error
        lost = entries.keys() - self.image(store, HEAD).records.keys() if HEAD in store.pointers else entries.keys()
        if lost:
            raise ViolationError("G2", f"a repaired head lacks {_short(lost)}")
        _check_lines(tree)
        if HEAD in store.pointers and applied(store, HEAD) != tree:
            raise ViolationError("G4", "head applied by plain rules is not what is pulled")
        if run.world.is_pruned and self._pulled(_entries_alone(run)) != tree:
            raise ViolationError("G9", "what is left after pruning is not what all entries gave")
        superseded = unite([self.image(store, HEAD)]).superseded if HEAD in store.pointers else frozenset()
        pushed = {each.id: each for other in run.hands.values() for each in other.pushed}
        for change in newest(pushed.values()):
            if change.id in superseded and not self._is_replaced(run, change):
                raise ViolationError("G6", f"the newest attempt counts as superseded: {_name(change)}")

    def _pulled(self, store: MemoryStore) -> Plain:
        """Return what a pull that repairs gives."""
        place = Path(tempfile.mkdtemp(dir=self._place))
        hand = Hand(place, "repair", 1)
        hand.directory.mkdir()
        hand.state.mkdir()
        hand.enter(None, None, store)
        try:
            hand.pull(repair=True)
        finally:
            shutil.rmtree(place)
        return hand.pulled[0].tree


def newest(pushed: Iterable[Pushed]) -> list[Pushed]:
    """Return what stands of each lane by its name: of attempts the highest, else the last."""
    lanes: dict[str, Pushed] = {}
    for push in sorted(pushed, key=lambda push: push.at):
        old = lanes.get(push.lane)
        if old is None or (push.attempt or 0) >= (old.attempt or 0):
            lanes[push.lane] = push
    return list(lanes.values())


def _check_tries(union: ChangeSet) -> None:
    """G6: of each attempt the changes of one pod count, and none was made on top of another pod's."""
    records, ancestry, superseded = union.records, union.ancestry(), union.superseded
    pods: dict[tuple[str, int | None], set[str]] = {}
    for record in records.values():
        if record.pod is None:
            continue
        if record.id not in superseded:
            pods.setdefault((record.lane, record.attempt), set()).add(record.pod.uid)
        before = [records[id_].writer for id_ in ancestry.past(record.parents) if id_ in records]
        if any(_is_another_pod(record.writer, other) for other in before):
            raise ViolationError("G6", f"{record.id[:8]} was made on top of what another pod of its attempt pushed")
    for (lane, attempt), several in pods.items():
        if len(several) > 1:
            raise ViolationError("G6", f"several pods of lane {lane}, attempt {attempt} count: {sorted(several)}")


def _is_another_pod(writer: Writer, other: Writer) -> bool:
    return writer[:2] == other[:2] and None not in (writer.pod, other.pod) and writer.pod != other.pod


def _check_lines(tree: Plain) -> None:
    """G6: no task ran on its own output: each adds one line to a file."""
    for path, found in tree.items():
        if path.startswith(LINES) and found[2] != b"x\n":
            raise ViolationError("G6", f"a task ran on its own output: {path} holds {found[2]!r}")


def _check_closed(union: ChangeSet) -> None:
    for record in union.records.values():
        lost = set(record.parents) - union.ids
        if lost:
            raise ViolationError("G5", f"{record.id[:8]} is there without its parents {_short(lost)}")


def _rendered(run: Run, union: ChangeSet) -> bytes:
    image, _ = merged_image(_target(_copy(run.world.store)), union)
    return format_image(image)[1]


def _target(store: Store) -> Target:
    return Target(lambda _: store, parse_reference(TARGET), this_platform(None), lambda seconds: None)


def _copy(store: MemoryStore) -> MemoryStore:
    copied = MemoryStore()
    copied.blobs, copied.manifests = dict(store.blobs), dict(store.manifests)
    copied.pointers = dict(store.pointers)
    return copied


def _entries_alone(run: Run) -> MemoryStore:
    """Return a store with every entry that was ever put, and nothing else."""
    store = MemoryStore()
    store.blobs = run.world.store.blobs | run.world.collected
    for tag, (data, media_type) in run.world.entries.items():
        store.put_manifest(tag, data, media_type)
    return store


def _named(ids: Callable[[str, list[str]], dict[str, str]], store: MemoryStore) -> Iterable[str]:
    """Return the tags of the entries, or the checkpoints, in a store."""
    return ids(HEAD, list(store.pointers)).values()


def _name(push: Pushed) -> str:
    attempt = "" if push.attempt is None else f", attempt {push.attempt}"
    return f"{push.id[:8]} of lane {push.lane}{attempt}{f', pod {push.pod}' if push.pod else ''}"


def _short(ids: Iterable[str]) -> str:
    return ", ".join(sorted(id_[:8] for id_ in ids))
