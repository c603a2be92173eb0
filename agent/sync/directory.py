"""A workspace's directory together with what is remembered of it, held by one agent at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from agent.core.advance import Advanced
from agent.core.ancestry import Writer
from agent.core.image import Image
from agent.core.pod import Pod
from agent.core.record import Record, parse_record
from agent.core.union import Union, unite
from agent.errors import DivergedError, IntegrityError
from agent.sync.memory import Memory, parse_memory
from agent.sync.site import Site
from agent.sync.target import Target
from agent.workspace.durable import read_sealed, remove_file, write_sealed
from agent.workspace.home import Turn, lock, lock_directory, make_state_home
from agent.workspace.root import Root, open_root
from agent.workspace.state import State, StateDamagedError, read_state, senseless, write_state


class Intent(NamedTuple):
    """A push that has begun: what a rerun after a crash must know to give the same id (design section 2).

    Attributes:
        target: the reference it pushes to.
        root: (st_dev, st_ino) of the directory.
        record: the text of the change's record, once the layer is uploaded.
    """

    target: str
    root: tuple[int, int]
    stamp: int
    parents: tuple[str, ...]
    lane: str
    attempt: int | None
    pod: Pod | None = None
    record: str | None = None


class Directory:
    """An open, locked workspace directory.

    Attributes:
        memory: what is remembered, None for a directory that is not ours.
        damage: why nothing is remembered although there is a state; None if there is none or it is fine.
    """

    def __init__(self, site: Site, root: Root) -> None:
        self._site = site
        self._state: State | None = None
        self.root = root
        self.memory: Memory | None = None
        self.damage: StateDamagedError | None = None
        self._read()

    def _read(self) -> None:
        try:
            self._state = read_state(self._path("state"))
            if self._state is not None:
                self.memory = parse_memory(self._state.header, self._state)
        except StateDamagedError as error:
            self.damage = error
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, IntegrityError) as error:
            self.damage = senseless(self._path("state"))
            self.damage.__cause__ = error

    def close(self) -> None:
        """Close what is open."""
        if self._state is not None:
            self._state.close()
        self.root.close()

    def check_identity(self) -> None:
        """Raise DivergedError if what is remembered is of another directory or mount at the same path."""
        if self.memory is not None and self.memory.root != self.root.identity:
            raise DivergedError(
                "another directory or mount than the one that was pulled into",
                subject=self._site.directory,
                remedy="mount the old one, or pull into an empty directory",
            )

    def remember(self, memory: Memory) -> None:
        """Replace what is remembered, in one step."""
        write_state(self._path("state"), memory.header(), memory.known)
        if self._state is not None:
            self._state.close()
        self._read()

    def keep_rows(self) -> None:
        """Keep what is remembered in memory when it is read, if it is little."""
        if self._state is not None:
            self._state.keep()

    @property
    def rows(self) -> int:
        """How many paths are remembered."""
        return self._state.rows if self._state is not None else 0

    @property
    def is_pulling(self) -> bool:
        """Whether a pull was killed while it wrote into this directory."""
        marker = read_sealed(self._path("pulling"))
        if marker is None:
            return os.path.lexists(self._path("pulling"))  # one that says nothing warns, too
        return marker.get("root") == list(self.root.identity)

    def mark_pulling(self) -> None:
        """Say that from now on the directory may be anything between two trees."""
        write_sealed(self._path("pulling"), {"root": list(self.root.identity)})

    def unmark_pulling(self) -> None:
        """Say that the directory is what is remembered."""
        remove_file(self._path("pulling"))

    def begin(self, target: Target, union: Union, writer: Writer, now: int) -> Intent:
        """Return the intent of a push, that of one that crashed on the same parents if there is one.

        The stamp is a hybrid logical clock: above every change that was pulled, and above the pod's start, whatever
        this machine's clock says.
        """
        old, pod = self._intent(), writer.pod
        if old and old.pod and pod and old.pod.uid == pod.uid:
            pod = old.pod
        stamp = max(now, union.newest_stamp + 1, pod.started + 1 if pod else 0)
        new = Intent(target.name, self.root.identity, stamp, union.frontier, writer.lane, writer.attempt, pod)
        if old is not None and old.stamp > union.newest_stamp and old._replace(stamp=stamp, record=None) == new:
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
        remove_file(self._path("intent"))

    def published(self, target: Target) -> tuple[Record, Image] | None:
        """Return the entry of a push from this directory that was killed after it had published it, before its end.

        One that was pruned since is made from what holds its change now.
        """
        intent = self._intent()
        if intent is None or intent.record is None or (intent.target, intent.root) != (target.name, self.root.identity):
            return None
        try:
            record = parse_record(intent.record)
        except IntegrityError:
            return None
        union = self.memory.union if self.memory else Union()
        if record.id not in union.ids and record.parents != union.frontier:
            return None
        entry = target.entry(record)
        image = entry.image if entry else _pruned_entry(target, record)
        return (record, image) if image else None

    def adopted(self, target: Target, record: Record, entry: Image) -> Memory:
        """Return what is to be remembered once `entry`, which this directory's own push published, lies on it."""
        memory = self.memory or Memory(target.name, self.root.identity, 0, Union())
        if record.id in memory.union.ids:
            return memory.now(target=target.name)
        union = unite([memory.union.image(target.tag), entry])
        entries = target.layers(union).toc(union.changes[record.id])
        known = Advanced(memory.known, entries, record.version)
        return memory.now(target=target.name, union=union, pod=record.pod, known=known)

    def _intent(self) -> Intent | None:
        value = read_sealed(self._path("intent"))
        if value is None:
            return None
        try:
            device, inode = value.pop("root")
            pod = value.pop("pod")
            return Intent(
                root=(device, inode), parents=tuple(value.pop("parents")), pod=Pod(*pod) if pod else None, **value
            )
        except (KeyError, TypeError, ValueError):
            return None  # of another version

    def _write_intent(self, intent: Intent) -> None:
        write_sealed(self._path("intent"), intent._asdict())

    def _path(self, name: str) -> str:
        return os.path.join(self._site.state, name)


def _pruned_entry(target: Target, record: Record) -> Image | None:
    """Return the image of an entry that is not there, if its change is; None if that was squashed, too."""
    union = target.look(unlisted=lambda error: None).union
    if record.id not in union.changes:
        return None
    from agent.sync.merging import merged_image

    image, _ = merged_image(target, union.past([record.id]))
    return image._replace(lane=record.lane, attempt=record.attempt, change=record.id)


@contextmanager
def open_directory(site: Site, *, create: bool = False) -> Iterator[Directory]:
    """Open a workspace's directory and keep other agents away from it.

    Raises:
        BusyError: another agent is at work in it.
        WorkspaceError: it is no directory.
    """
    make_state_home(site.state, shared=site.shares_state)
    turn, path = Turn(say=site.progress.notice), os.fsencode(site.directory)
    with lock(site.state, turn, subject=path), open_root(site.directory, create=create) as root:
        lock_directory(root.directory(b""), path, turn)
        directory = Directory(site, root)
        try:
            yield directory
        finally:
            directory.close()
