"""Reading a target: head, the pointers of lanes, the list of tags, and the entries that head lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from agent.core.model.pointer_numbers import FIRST
from agent.core.spelling.tags import checkpoint_ids, entry_ids, mark_tag
from agent.errors import AgentError, AuthError, UnavailableError
from agent.sync.remote.lane_pointers import Pointers, count_pointers, read_pointer
from agent.sync.remote.resolved_image import ResolvedImage
from agent.sync.remote.target_repository import TargetRepository
from agent.sync.remote.target_snapshot import TargetSnapshot, readable_ids

POINTER_PAUSES = (0.2, 0.4, 0.8, 1.6)
"""Seconds between reads of a pointer in a registry of several places: 3 s in all."""
TAG_PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds between reads of a tag that is listed and was not found."""
ENTRY_TRIES = 2
LISTS = 3
"""How often the list is read if a listed image is not there: it may have been pruned."""

ListErrorHandler = Callable[[AgentError], None]
"""Called with the error if the list of tags cannot be read."""


class Target(TargetRepository):
    """A target: its repository, read as one snapshot after another."""

    def read_snapshot(self, after: Sequence[str] = (), on_list_error: ListErrorHandler | None = None) -> TargetSnapshot:
        """Read head, the pointers of lanes, the list of entries, and the entries that those lack.

        The list is not read if every lane of `after` has a pointer, head holds the changes that they lead to, and there
        is no mark (design, "Protocol").

        Args:
            after: lanes whose changes must be in the snapshot.
            on_list_error: called with the error if the list cannot be read; without it the error is raised.

        Raises:
            AuthError, UnavailableError, IntegrityError: see `agent.errors`.
        """
        snapshot = self.read_listed(self.list_snapshot(after, on_list_error))
        for _ in range(LISTS):
            if not snapshot.is_behind:
                break
            # A change that was pruned while pointers were counted is in a checkpoint that is listed by now.
            snapshot = self.read_listed(self._add_listed(self._count_pointers(snapshot), on_list_error))
        return snapshot

    def list_snapshot(self, after: Sequence[str] = (), on_list_error: ListErrorHandler | None = None) -> TargetSnapshot:
        """Do the same without the entries: two requests say how many are missing."""
        head = self.head()
        snapshot = TargetSnapshot(head, (), self._pointers(after, head), self.tag, {})
        if self.digest:
            return snapshot  # A digest has no entries.
        # Read the mark after the first pointers: if it is not there, no other push was acknowledged before those reads.
        if after and self.is_marked():
            snapshot = self._count_pointers(snapshot)
        elif snapshot.covers_lanes:
            return snapshot
        return self._add_listed(snapshot, on_list_error)

    def is_marked(self) -> bool:
        """Say whether the target has its mark: a lane has more than its first pointer, or something was pruned."""
        return self.store.get_manifest(mark_tag(self.tag)) is not None

    def _count_pointers(self, snapshot: TargetSnapshot) -> TargetSnapshot:
        """Return the snapshot with the pointers of the named lanes, counted to their ends."""
        known = list(snapshot.union.records.values())
        counted = {
            lane: count_pointers(self.image, self.tag, lane, known, found) for lane, found in snapshot.pointers.items()
        }
        return snapshot._replace(
            pointers={lane: each.found for lane, each in counted.items()},
            ends={lane: each.end for lane, each in counted.items()},
        )

    def _add_listed(self, snapshot: TargetSnapshot, on_list_error: ListErrorHandler | None) -> TargetSnapshot:
        """Return the snapshot with the checkpoints and entries that the list of tags names."""
        for _ in range(LISTS):
            try:
                tags = self.tags()
            except (AuthError, UnavailableError) as error:
                if on_list_error is None:
                    raise
                on_list_error(error)
                return snapshot
            if snapshot.head is None and self.tag in tags:
                snapshot = snapshot._replace(head=self._once_more(self.head))
            snapshot, is_whole = self._add_checkpoints(snapshot, tags)
            if is_whole:
                break
            self._sleep(TAG_PAUSES[0])
        return snapshot

    def read_listed(self, snapshot: TargetSnapshot) -> TargetSnapshot:
        """Read the entries that `list_snapshot` found missing."""
        found, is_whole = self._read_missing(snapshot)
        for _ in range(LISTS - 1):
            if is_whole:
                break
            # An entry that was pruned after the list is in an older checkpoint, so that the next list has that.
            with suppress(AuthError, UnavailableError):
                snapshot, _ = self._add_checkpoints(snapshot, self.tags())
            found, is_whole = self._read_missing(snapshot)
        return self._check_tables(snapshot._replace(entries=(*snapshot.entries, *found), missing={}))

    def _add_checkpoints(self, snapshot: TargetSnapshot, tags: list[str]) -> tuple[TargetSnapshot, bool]:
        """Return the snapshot with the checkpoints of a list and the entries still missing.

        Returns:
            the snapshot, and whether every checkpoint was there.
        """
        named = sorted(checkpoint_ids(self.tag, tags).items())
        found = [(self.entry_at(tag), short) for short, tag in named]
        checkpoints = [resolved for resolved, short in found if resolved and self._fits(resolved, short)]
        snapshot = snapshot._replace(entries=tuple(checkpoints))
        held = {change[:26] for change in readable_ids(snapshot.union)}
        listed = sorted(entry_ids(self.tag, tags).items())
        missing = {tag: short for short, tag in listed if short not in held}
        return snapshot._replace(missing=missing), all(resolved for resolved, _ in found)

    def _fits(self, resolved: ResolvedImage, short: str) -> bool:
        """Say whether an image is the one that its tag promises, of the change whose id begins with `short`."""
        return resolved.image.target == self.tag and (resolved.image.change or "")[:26] == short

    def _pointers(self, after: Iterable[str], head: ResolvedImage | None) -> dict[str, Pointers]:
        """Return lanes' first pointers.

        A lane without a pointer published nothing, because its writer waits until the pointer is shown. Only a registry
        of several places may show it to one reader and not yet to another: there the read is repeated. If head has a
        change of the lane, the pointer was pruned, and the list has the checkpoint.
        """
        pointers = {lane: self._first_pointer(lane) for lane in after}
        pruned = {record.lane for record in head.image.records.values()} if head and head.image.format else set()
        for pause in POINTER_PAUSES if self.store.is_replicated else ():
            missing = [lane for lane, pointer in pointers.items() if not pointer and lane not in pruned]
            if not missing:
                break
            self._sleep(pause)
            pointers.update({lane: self._first_pointer(lane) for lane in missing})
        return pointers

    def _first_pointer(self, lane: str) -> Pointers:
        """Return a lane's first pointer, if there is one: it leads to its first push, or that of a later attempt."""
        resolved = read_pointer(self.image, self.tag, lane, FIRST)
        return {FIRST: resolved} if resolved else {}

    def _read_missing(self, snapshot: TargetSnapshot) -> tuple[tuple[ResolvedImage, ...], bool]:
        """Return the listed entries with changes that the snapshot lacks, and whether all were there."""
        held: set[str] = set()
        entries: list[ResolvedImage] = []
        # Newest first would be best, but a tag has no age: read until nothing is missing.
        listed = snapshot.missing
        absent: dict[str, str] = {}
        for pause in (*TAG_PAUSES[:ENTRY_TRIES], None):
            absent = {}
            for tag, short in listed.items():
                if short in held:
                    continue
                resolved = self.entry_at(tag)
                if resolved is None:
                    absent[tag] = short
                elif self._fits(resolved, short):
                    entries.append(resolved)
                    held.update(change[:26] for change in resolved.image.records)
            if not absent or pause is None:
                break
            # It is put at this moment, or the list is ahead, or has an entry that was pruned since.
            self._sleep(pause)
            listed = absent
        return tuple(entries), not absent

    def _once_more(self, read: Callable[[], ResolvedImage | None]) -> ResolvedImage | None:
        """Read again what a list names and one GET did not find: registries write tags in more than one step."""
        for pause in TAG_PAUSES:
            self._sleep(pause)
            found = read()
            if found is not None:
                return found
        return None

    def _check_tables(self, snapshot: TargetSnapshot) -> TargetSnapshot:
        """Return the snapshot, with head as a foreign image if it is a copy whose squash lost its table of contents."""
        if snapshot.head is None:
            return snapshot
        union = snapshot.union
        unchecked = [layer for layer in union.squashes.values() if layer.encoding is None]
        if not unchecked or all(map(self.layers(union).has_toc, unchecked)):
            return snapshot
        foreign = tuple(layer._replace(kind="foreign", record=None, base=None) for layer in snapshot.head.image.layers)
        image = snapshot.head.image._replace(layers=foreign, dropped=())
        return snapshot._replace(head=snapshot.head._replace(image=image), is_reencoded=True)
