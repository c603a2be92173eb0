"""Reading a target: head, the pointers of lanes, the list of tags, and the entries that head lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from agent.core.model.pointer_numbers import FIRST
from agent.core.spelling.tags import checkpoint_ids, entry_ids, mark_tag
from agent.errors import AgentError, AuthError, UnavailableError
from agent.sync.remote.lane_pointers import Pointers, follow, read_pointer
from agent.sync.remote.resolved_image import Located
from agent.sync.remote.target_repository import TargetRepository
from agent.sync.remote.target_snapshot import Seen, readable_ids

POINTER_PAUSES = (0.2, 0.4, 0.8, 1.6)
"""Seconds between looks for a pointer in a registry that is spread over several places: 3 s in all."""
TAG_PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds between looks at a tag that is listed and was not found."""
ENTRY_TRIES = 2
LISTS = 3
"""How often the list is read if what it names stays away: it may have been pruned."""

Unlisted = Callable[[AgentError], None]
"""Told why the list of tags cannot be read."""


class Target(TargetRepository):
    """A target: its repository, read as one snapshot after another."""

    def look(self, after: Sequence[str] = (), unlisted: Unlisted | None = None) -> Seen:
        """Read head, the pointers of lanes, the list of entries, and the entries that those lack.

        The list is not read where every lane of `after` has a pointer, head holds what they lead to, and no mark says
        that there is more: what the caller must see is there (design, "Protocol").

        Args:
            unlisted: called with the error where the list cannot be read; without, it is raised.
        """
        seen = self.read(self.glance(after, unlisted))
        for _ in range(LISTS):
            if not seen.is_behind:
                break
            # What was pruned while its pointers were counted is in a checkpoint that is listed by now.
            seen = self.read(self._with_list(self._followed(seen), unlisted))
        return seen

    def glance(self, after: Sequence[str] = (), unlisted: Unlisted | None = None) -> Seen:
        """Do the same without reading entries: two requests say how many are lacking."""
        head = self.head()
        seen = Seen(head, (), self._pointers(after, head), self.tag, {})
        if self.digest:
            return seen  # An image that cannot move has no entries beside it.
        # Only after the first pointers: without a mark by then, nothing but these was acknowledged when they were read.
        if after and self.is_marked():
            seen = self._followed(seen)
        elif seen.has_all_named:
            return seen
        return self._with_list(seen, unlisted)

    def is_marked(self) -> bool:
        """Say whether the lanes' first pointers need not tell everything: one has more, or something was pruned."""
        return self.store.get_manifest(mark_tag(self.tag)) is not None

    def _followed(self, seen: Seen) -> Seen:
        """Return what was seen, with the pointers of the lanes that were asked for counted to their ends."""
        known = list(seen.union.records.values())
        followed = {lane: follow(self.image, self.tag, lane, known, found) for lane, found in seen.pointers.items()}
        return seen._replace(
            pointers={lane: each.found for lane, each in followed.items()},
            ends={lane: each.end for lane, each in followed.items()},
        )

    def _with_list(self, seen: Seen, unlisted: Unlisted | None) -> Seen:
        """Return what was seen, and what the list of tags names besides."""
        for _ in range(LISTS):
            try:
                tags = self.tags()
            except (AuthError, UnavailableError) as error:
                if unlisted is None:
                    raise
                unlisted(error)
                return seen
            if seen.head is None and self.tag in tags:
                seen = seen._replace(head=self._once_more(self.head))
            seen, is_whole = self._listed(seen, tags)
            if is_whole:
                break
            self._sleep(TAG_PAUSES[0])
        return seen

    def read(self, seen: Seen) -> Seen:
        """Read the entries that a glance found missing."""
        found, is_whole = self._lacking(seen)
        for _ in range(LISTS - 1):
            if is_whole:
                break
            # What was pruned after it was listed is in a checkpoint that is older, so that the next list has it.
            with suppress(AuthError, UnavailableError):
                seen, _ = self._listed(seen, self.tags())
            found, is_whole = self._lacking(seen)
        return self._judged(seen._replace(entries=(*seen.entries, *found), missing={}))

    def _listed(self, seen: Seen, tags: list[str]) -> tuple[Seen, bool]:
        """Return what was seen with the checkpoints of a list, and what is missing then.

        And whether every checkpoint was there.
        """
        named = sorted(checkpoint_ids(self.tag, tags).items())
        found = [(self.entry_at(tag), short) for short, tag in named]
        checkpoints = [located for located, short in found if located and self._fits(located, short)]
        seen = seen._replace(entries=tuple(checkpoints))
        held = {change[:26] for change in readable_ids(seen.union)}
        listed = sorted(entry_ids(self.tag, tags).items())
        missing = {tag: short for short, tag in listed if short not in held}
        return seen._replace(missing=missing), all(located for located, _ in found)

    def _fits(self, located: Located, short: str) -> bool:
        return located.image.target == self.tag and (located.image.change or "")[:26] == short

    def _pointers(self, after: Iterable[str], head: Located | None) -> dict[str, Pointers]:
        """Return lanes' first pointers.

        One without a pointer published nothing: its writer would have waited until the pointer is shown. Only where a
        registry may show one reader what it does not show another yet, it is looked for again. A
        lane whose change head holds had a pointer before head did, so that it was pruned: the list tells of the
        checkpoint that has it.
        """
        pointers = {lane: self._first(lane) for lane in after}
        pruned = {record.lane for record in head.image.records.values()} if head and head.image.format else set()
        for pause in POINTER_PAUSES if self.store.is_spread else ():
            missing = [lane for lane, pointer in pointers.items() if not pointer and lane not in pruned]
            if not missing:
                break
            self._sleep(pause)
            pointers.update({lane: self._first(lane) for lane in missing})
        return pointers

    def _first(self, lane: str) -> Pointers:
        """Return a lane's first pointer, if there is one: it leads to its first push, or that of a later attempt."""
        located = read_pointer(self.image, self.tag, lane, FIRST)
        return {FIRST: located} if located else {}

    def _lacking(self, seen: Seen) -> tuple[tuple[Located, ...], bool]:
        """Return the listed entries with changes that the rest of what was seen lacks, and whether all were there."""
        held: set[str] = set()
        entries: list[Located] = []
        # Newest first would be best, but a tag says no age: read what is lacking until nothing is.
        listed = seen.missing
        absent: dict[str, str] = {}
        for pause in (*TAG_PAUSES[:ENTRY_TRIES], None):
            absent = {}
            for tag, short in listed.items():
                if short in held:
                    continue
                located = self.entry_at(tag)
                if located is None:
                    absent[tag] = short
                elif self._fits(located, short):
                    entries.append(located)
                    held.update(change[:26] for change in located.image.records)
            if not absent or pause is None:
                break
            # Someone puts it at this moment; or the list is ahead, or tells of what was pruned since.
            self._sleep(pause)
            listed = absent
        return tuple(entries), not absent

    def _once_more(self, read: Callable[[], Located | None]) -> Located | None:
        """Read what a list names and one GET did not find: registries write tags in more than one step."""
        for pause in TAG_PAUSES:
            self._sleep(pause)
            found = read()
            if found is not None:
                return found
        return None

    def _judged(self, seen: Seen) -> Seen:
        """Return what was seen, head as an image of someone else if it is a copy that lost what a squash says."""
        if seen.head is None:
            return seen
        union = seen.union
        unsure = [layer for layer in union.squashes.values() if layer.encoding is None]
        if not unsure or all(map(self.layers(union).has_toc, unsure)):
            return seen
        foreign = tuple(layer._replace(kind="foreign", record=None, base=None) for layer in seen.head.image.layers)
        image = seen.head.image._replace(layers=foreign, dropped=())
        return seen._replace(head=seen.head._replace(image=image), is_encoded_anew=True)
