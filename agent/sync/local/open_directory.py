"""A workspace's directory together with what is remembered of it, held by one agent at a time."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from hashlib import sha256
from typing import NamedTuple

from agent.core.directory.state_after_change import AdvancedState
from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.image import Image
from agent.core.model.ancestry import Writer
from agent.core.model.pod import Pod
from agent.core.model.record import Record, parse_record
from agent.errors import IntegrityError, MissingTargetError, UsageError
from agent.sync.local.directory_state import Memory
from agent.sync.local.interrupted_pull import Interruption, goal_of, parse_interruption
from agent.sync.local.state_files import INTENT, PULLING, Notes
from agent.sync.operation.workspace_context import Site
from agent.sync.remote.target import Target
from agent.workspace.filesystem.mark import new_mark
from agent.workspace.filesystem.root import Root, open_root
from agent.workspace.state.state_home import Turn, lock, lock_directory, make_state_home


class Intent(NamedTuple):
    """A push that has begun: what a rerun after a crash must know to give the same id (design, "Changes").

    Attributes:
        target: the reference it pushes to.
        root: (st_dev, st_ino) of the directory.
        record: the text of the change's record, once the layer is uploaded.
        mark: what names the last pull that wrote into the directory, None if it has no mark.
    """

    target: str
    root: tuple[int, int]
    stamp: int
    parents: tuple[str, ...]
    lane: str
    attempt: int | None
    pod: Pod | None = None
    record: str | None = None
    mark: str | None = None


class Directory(Notes):
    """An open, locked workspace directory.

    Attributes:
        interrupted: a pull into it, by an earlier agent, that did not end; None if there is none.
    """

    def __init__(self, site: Site, root: Root) -> None:
        super().__init__(site, root)
        self.interrupted = self._interruption()
        self._pulls = False

    @property
    def is_between_states(self) -> bool:
        """Whether a pull into the directory has begun, whoever's, and has not ended."""
        return self._pulls or self.interrupted is not None

    @property
    def is_behind(self) -> bool:
        """Whether what is remembered is older than the last pull into the directory, or push from it.

        What came with that pull would be taken for changes that were made here. The mark tells, if there is one; of
        pushes, if the last one went to the target that is remembered. Of a pull that did not end nothing is remembered.
        """
        if self.mark is None or self.memory is None or self.memory.mark is None or self.is_between_states:
            return False
        if self.mark.pulled != self.memory.mark:
            return True
        return self.mark.target == _hash(self.memory.target) and self.mark.change not in self.memory.union.ids

    def begin_pull(self, target: str, ids: Collection[str], sparse: tuple[bytes, ...], *, starts: bool) -> None:
        """Say that from now on the directory may be anything between two trees.

        Args:
            target: the reference that is pulled.
            ids: the changes that the directory is to hold.
            sparse: the globs of a sparse pull.
            starts: whether that is nothing, or a base.
        """
        mark = new_mark()
        begun = Interruption(self.root.identity, target, mark.pulled, goal_of(ids), starts, sparse)
        self._pulls = True
        self.take_note(PULLING, begun.to_json())
        self.set_mark(mark)
        if self.mark != mark:  # it cannot be marked
            self.take_note(PULLING, begun._replace(mark=None).to_json())

    def end_pull(self) -> None:
        """Say that the directory is what is remembered."""
        self.forget(PULLING)
        self._pulls, self.interrupted = False, None

    def _interruption(self) -> Interruption | None:
        value = self.note(PULLING)
        if value is None:
            return None
        # One that says nothing warns, too.
        return parse_interruption(value) or Interruption(self.root.identity)

    def end_push(self, target: Target, record: Record) -> None:
        """Say that what is remembered has a push, and that none is under way any more."""
        if self.mark is not None:
            self.set_mark(self.mark._replace(target=_hash(target.name), change=record.id))
        self.forget_intent()

    def forget_pushes(self) -> None:
        """Say that what was pushed from the directory counts no more, because its target is gone."""
        if self.mark is not None:
            self.set_mark(self.mark._replace(target="", change=""))

    def begin(self, target: Target, union: ChangeSet, writer: Writer, now: int) -> Intent:
        """Return the intent of a push, that of one that crashed on the same parents if there is one.

        The stamp is a hybrid logical clock: above every change that was pulled, and above the pod's start, whatever
        this machine's clock says.
        """
        old, pod, mark = self._intent(), writer.pod, self.ensure_mark()
        if old and old.pod and pod and old.pod.uid == pod.uid:
            pod = old.pod
        stamp = max(now, union.newest_stamp + 1, pod.started + 1 if pod else 0)
        new = Intent(
            target.name, self.root.identity, stamp, union.frontier, writer.lane, writer.attempt, pod, mark=mark
        )
        same = old is not None and old._replace(root=new.root, mark=mark, stamp=stamp, record=None) == new
        if old is not None and same and old.stamp > union.newest_stamp:
            return old
        self._write_intent(new)
        return new

    def confirm(self, intent: Intent, record: Record, now: int) -> Record:
        """Return the record to publish, after remembering it.

        A push that crashed after it packed another layer gives up its stamp: its entry may still appear, and two
        changes of one writer should differ in time.
        """
        if intent.record is not None and intent.record != record.text:
            record = record.at(max(now, intent.stamp + 1))
        self._write_intent(intent._replace(stamp=record.stamp, record=record.text))
        return record

    def forget_intent(self) -> None:
        """Say that no push is under way."""
        self.forget(INTENT)

    def published(self, target: Target) -> tuple[Record, Image] | None:
        """Return the entry of a push from this directory that was killed after it had published it, before its end.

        One that was pruned since is made from what holds its change now.
        """
        intent = self._intent()
        if intent is None or intent.record is None or intent.target != target.name:
            return None
        try:
            record = parse_record(intent.record)
        except IntegrityError:
            return None
        union = self.memory.union if self.memory else ChangeSet()
        if record.id not in union.ids and record.parents != union.frontier:
            return None
        entry = target.entry(record)
        image = entry.image if entry else _pruned_entry(target, record)
        return (record, image) if image else None

    def adopted(self, target: Target, record: Record, entry: Image) -> Memory:
        """Return what is to be remembered once `entry`, which this directory's own push published, lies on it."""
        memory = self.memory or Memory(target.name, self.root.identity, 0, ChangeSet())
        if record.id in memory.union.ids:
            return memory.now(target=target.name)
        union = unite([memory.union.image(target.tag), entry])
        entries = target.layers(union).toc(union.changes[record.id])
        known = AdvancedState(memory.known, entries, record.version)
        return memory.now(target=target.name, union=union, pod=record.pod, known=known)

    def _intent(self) -> Intent | None:
        value = self.note(INTENT) or {}
        try:
            device, inode = value.pop("root")
            pod = value.pop("pod")
            return Intent(
                root=(device, inode), parents=tuple(value.pop("parents")), pod=Pod(*pod) if pod else None, **value
            )
        except (KeyError, TypeError, ValueError):
            return None  # of another version

    def _write_intent(self, intent: Intent) -> None:
        self.take_note(INTENT, intent._asdict())


def _hash(target: str) -> str:
    """Return what stands for a target in a mark."""
    return sha256(target.encode()).hexdigest()[:16]


def _pruned_entry(target: Target, record: Record) -> Image | None:
    """Return the image of an entry that is not there, if its change is; None if that was squashed, too."""
    union = target.look(unlisted=lambda error: None).union
    if record.id not in union.changes:
        return None
    from agent.sync.remote.merged_image import merged_image

    image, _ = merged_image(target, union.past([record.id]))
    return image._replace(lane=record.lane, attempt=record.attempt, change=record.id)


@contextmanager
def open_directory(site: Site, *, create: bool = False) -> Iterator[Directory]:
    """Open a workspace's directory and keep other agents away from it.

    Args:
        site: where the directory is.
        create: make it if it is not there; where the words of a command were off, it is removed again.

    Raises:
        BusyError: another agent is at work in it.
        WorkspaceError: it is no directory.
    """
    make_state_home(site.state, shared=site.shares_state)
    turn, path = Turn(say=site.progress.notice), os.fsencode(site.directory)
    undone = _undone_if_mistaken(path) if create and not os.path.lexists(path) else nullcontext()
    with lock(site.state, turn, subject=path), undone, open_root(path, create=create) as root:
        lock_directory(root.directory(b""), path, turn)
        directory = Directory(site, root)
        try:
            yield directory
        finally:
            directory.close()


@contextmanager
def _undone_if_mistaken(path: bytes) -> Iterator[None]:
    """Remove a new directory that was made for nothing but a mistake."""
    try:
        yield
    except (MissingTargetError, UsageError):
        with suppress(OSError):
            os.rmdir(path)
        raise
