"""A workspace's directory and its state, locked: one agent at a time."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from hashlib import sha256
from typing import NamedTuple

from agent.core.image.change_set import ChangeSet
from agent.core.model.attempts_and_ancestry import Writer
from agent.core.model.pod import Pod
from agent.core.model.record import Record
from agent.errors import MissingTargetError, UsageError
from agent.sync.local.interrupted_pull import InterruptedPull, digest_of_changes, parse_interrupted_pull
from agent.sync.local.state_files import INTENT, PULLING, StateFiles
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.workspace.filesystem.directory_mark import new_mark
from agent.workspace.filesystem.root import Root, open_root
from agent.workspace.state.state_home import make_state_home
from agent.workspace.state.state_lock import LockWait, lock_directory, lock_state

OTHER = "another directory or mount than the one that was pulled into"
"""The text for people if `Directory.other` is set."""
BEHIND = "what is remembered of it is older than the last pull into it or push from it"
"""The text for people if `Directory.is_behind`."""


class Intent(NamedTuple):
    """A push that has begun. With it a rerun after a crash gives the same id (design, "Changes").

    Attributes:
        target: the reference that it pushes to.
        root: (st_dev, st_ino) of the directory.
        stamp: the change's, in ns.
        record: the text of the change's record; None until the layer is uploaded.
        mark: the name of the last pull that wrote into the directory, None if it has no mark.
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


class Directory(StateFiles):
    """An open, locked workspace directory.

    Attributes:
        interrupted: a pull by an earlier agent that did not end; None if there is none.
    """

    def __init__(self, context: WorkspaceContext, root: Root) -> None:
        super().__init__(context, root)
        self.interrupted = self._interrupted_pull()
        self._pulls = False

    @property
    def is_between_states(self) -> bool:
        """Whether a pull into the directory has begun, by this agent or another, and has not ended."""
        return self._pulls or self.interrupted is not None

    @property
    def is_behind(self) -> bool:
        """Whether the state is older than the last pull into the directory, or push from it.

        A scan would then take for local changes what came with that pull. The mark names the last pull, and the last
        push if that went to the state's target.
        """
        if self.mark is None or self.state is None or self.state.mark is None or self.is_between_states:
            return False
        if self.mark.pulled != self.state.mark:
            return True
        return self.mark.target == _hash(self.state.target) and self.mark.change not in self.state.union.ids

    def begin_pull(self, target: str, ids: Collection[str], sparse: tuple[bytes, ...], *, starts: bool) -> None:
        """Note that a pull writes into the directory, which may be anything between two trees until its end.

        Args:
            target: the reference that is pulled.
            ids: the changes that the directory is to hold.
            sparse: the globs of a sparse pull.
            starts: whether that is nothing, or a base.
        """
        mark = new_mark()
        begun = InterruptedPull(self.root.identity, target, mark.pulled, digest_of_changes(ids), starts, sparse)
        self._pulls = True
        self.write_note(PULLING, begun.to_json())
        self.set_mark(mark)
        if self.mark != mark:  # it cannot be marked
            self.write_note(PULLING, begun._replace(mark=None).to_json())

    def end_pull(self) -> None:
        """Note that the directory is as its state says."""
        self.forget(PULLING)
        self._pulls, self.interrupted = False, None

    def _interrupted_pull(self) -> InterruptedPull | None:
        value = self.read_note(PULLING)
        if value is None:
            return None
        # An unreadable note is a warning, too.
        return parse_interrupted_pull(value) or InterruptedPull(self.root.identity)

    def end_push(self, target: str, record: Record) -> None:
        """Note that a push has ended, and that the state has its change."""
        if self.mark is not None:
            self.set_mark(self.mark._replace(target=_hash(target), change=record.id))
        self.forget_intent()

    def forget_pushes(self) -> None:
        """Remove the last push from the mark, because its target is gone."""
        if self.mark is not None:
            self.set_mark(self.mark._replace(target="", change=""))

    def begin_push(self, target: str, union: ChangeSet, writer: Writer, now: int) -> Intent:
        """Return the intent of a push; if a push on the same parents crashed, its intent.

        The stamp is a hybrid logical clock: above every change that was pulled, and above the pod's start, whatever
        this machine's clock says (design, "Changes").

        Args:
            target: the reference to push to.
            union: the changes in the directory.
            writer: the writer that pushes.
            now: ns since 1970.
        """
        old, pod, mark = self.intent(), writer.pod, self.ensure_mark()
        if old and old.pod and pod and old.pod.uid == pod.uid:
            pod = old.pod
        stamp = max(now, union.newest_stamp + 1, pod.started + 1 if pod else 0)
        new = Intent(target, self.root.identity, stamp, union.frontier, writer.lane, writer.attempt, pod, mark=mark)
        same = old is not None and old._replace(root=new.root, mark=mark, stamp=stamp, record=None) == new
        if old is not None and same and old.stamp > union.newest_stamp:
            return old
        self._write_intent(new)
        return new

    def confirm(self, intent: Intent, record: Record, now: int) -> Record:
        """Return the record to publish, after it was written into the intent.

        If the intent has another record, that push packed another layer and crashed. Its entry may still appear, so
        that this record gets a later stamp: two changes of one writer differ in time.
        """
        if intent.record is not None and intent.record != record.text:
            record = record.at(max(now, intent.stamp + 1))
        self._write_intent(intent._replace(stamp=record.stamp, record=record.text))
        return record

    def forget_intent(self) -> None:
        """Remove the intent: no push is under way."""
        self.forget(INTENT)

    def intent(self) -> Intent | None:
        """Return the intent of a push that has begun and not ended, None if there is none."""
        value = self.read_note(INTENT) or {}
        try:
            device, inode = value.pop("root")
            pod = value.pop("pod")
            return Intent(
                root=(device, inode), parents=tuple(value.pop("parents")), pod=Pod(*pod) if pod else None, **value
            )
        except (KeyError, TypeError, ValueError):
            return None  # another version wrote it

    def _write_intent(self, intent: Intent) -> None:
        self.write_note(INTENT, intent._asdict())


def _hash(target: str) -> str:
    """Return the short digest of a target in a mark."""
    return sha256(target.encode()).hexdigest()[:16]


@contextmanager
def open_directory(context: WorkspaceContext, *, create: bool = False) -> Iterator[Directory]:
    """Open a workspace's directory, locked against other agents.

    Args:
        context: says where the directory and its state are.
        create: make the directory if it is not there; a UsageError or MissingTargetError removes it again.

    Raises:
        BusyError: another agent is at work in it.
        WorkspaceError: it is no directory.
    """
    make_state_home(context.state, shared=context.shares_state)
    wait, path = LockWait(say=context.progress.notice), os.fsencode(context.directory)
    removal = _removed_after_mistake(path) if create and not os.path.lexists(path) else nullcontext()
    with lock_state(context.state, wait, subject=path), removal, open_root(path, create=create) as root:
        lock_directory(root.directory(b""), path, wait)
        directory = Directory(context, root)
        try:
            yield directory
        finally:
            directory.close()


@contextmanager
def _removed_after_mistake(path: bytes) -> Iterator[None]:
    """Remove a directory that was made new, if the command that made it was mistaken."""
    try:
        yield
    except (MissingTargetError, UsageError):
        with suppress(OSError):
            os.rmdir(path)
        raise
