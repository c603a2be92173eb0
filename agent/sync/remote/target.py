"""Reading what a target's repository holds: head, entries and pointers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from agent.archive.stream.limits import DEFAULT_LIMITS, ArchiveLimits
from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.foreign_layers import absorb
from agent.core.image.image import Image, Platform
from agent.core.image.manifest import damaged
from agent.core.model.pointer_numbers import FIRST, Place
from agent.core.model.record import Record
from agent.core.spelling.digest import Digest, digest_of
from agent.core.spelling.reference import Reference
from agent.core.spelling.tags import (
    check_target_tag,
    checkpoint_ids,
    derived_prefix,
    entry_ids,
    entry_tag,
    mark_tag,
)
from agent.errors import AgentError, AuthError, UnavailableError, UsageError, VanishedError
from agent.remedy import UNKNOWN_LAYER
from agent.store.port import Store, Traffic
from agent.sync.operation.report import since
from agent.sync.remote.located_image import Located, as_base, read_image
from agent.sync.remote.pointers import Pointers, follow, goes_on, newest_of, read_pointer

if TYPE_CHECKING:
    from agent.sync.remote.layers import Layers

POINTER_PAUSES = (0.2, 0.4, 0.8, 1.6)
"""Seconds between looks for a pointer in a registry that is spread over several places: 3 s in all."""
TAG_PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds between looks at a tag that is listed and was not found."""
ENTRY_TRIES = 2
LISTS = 3
"""How often the list is read if what it names stays away: it may have been pruned."""

Unlisted = Callable[[AgentError], None]
"""Told why the list of tags cannot be read."""


class LostLayerError(VanishedError):
    """The layer of a change is gone; a squash that has its effect may be there."""


class Seen(NamedTuple):
    """What one look at a target found.

    Attributes:
        head: the image at the target's tag.
        entries: images that hold changes which head lacks, and checkpoints.
        pointers: what the pointers of each lane that was asked for lead to; nothing for one that published nothing.
        tag: the target's.
        missing: the tags of listed entries that were not read, each with the beginning of its change's id.
        adopted: images of entries that were made since, of what someone else put on top of ours.
        ends: where the pointers of each lane ended, if they had to be counted.
        is_encoded_anew: head is a copy in which a squash lost its table of contents: what it holds can be read, who
            changed it can not.
    """

    head: Located | None
    entries: tuple[Located, ...]
    pointers: Mapping[str, Pointers]
    tag: str
    missing: Mapping[str, str]
    adopted: tuple[Image, ...] = ()
    ends: Mapping[str, Place] = {}
    is_encoded_anew: bool = False

    @property
    def union(self) -> ChangeSet:
        """All changes that were found. A head of someone else, where there is nothing of ours, is the base."""
        others = self.others
        if self.head is None:
            return unite(others)
        known = self.known_head
        if known is not None:
            return unite([known, *others])
        return unite(others or [as_base(self.head)])

    @property
    def known_head(self) -> Image | None:
        """Head, layers that someone else put on top of ours as changes; None if there is none, or nothing of ours."""
        if self.head is None or self.is_ours:
            return self.head.image if self.head else None
        return absorb(self.head.image, self.others, self.tag)

    @property
    def head_ids(self) -> set[str]:
        """The ids of the changes that head holds."""
        return unite([self.head.image]).ids if self.head and self.is_ours else set()

    @property
    def others(self) -> list[Image]:
        """The images of entries and pointers."""
        found = (located for pointers in self.pointers.values() for located in pointers.values())
        return [*(located.image for located in (*self.entries, *found)), *self.adopted]

    @property
    def finished(self) -> tuple[str, ...]:
        """The ids of what the lanes that were asked for published last."""
        return tuple(change for found in self.pointers.values() for change in newest_of(found))

    @property
    def has_all_named(self) -> bool:
        """Whether every lane that was asked for has a pointer, and head holds what they point at."""
        if not self.pointers or self.head is None or not self.is_ours:
            return False
        held = _readable(unite([self.head.image]))
        return all(
            found and all(located.image.records.keys() <= held for located in found.values())
            for found in self.pointers.values()
        )

    @property
    def is_behind(self) -> bool:
        """Whether a lane is known to go on where its pointers ended."""
        known = list(self.union.records.values()) if self.ends else []
        return any(goes_on(lane, end, known, self.tag) for lane, end in self.ends.items())

    @property
    def holds_nothing(self) -> bool:
        """Whether there is neither an image at the target's tag nor any change of the workspace."""
        return self.head is None and not self.union.ids

    @property
    def is_ours(self) -> bool:
        """Whether head is a workspace that this program keeps."""
        return self.head is not None and all(layer.kind != "foreign" for layer in self.head.image.layers)


class Target:
    """The repository of one target, and what this run knows of it.

    Args:
        open_store: opens the repository, once something is wanted of it: a push of nothing needs no HTTP client, and
            loading one takes longer than many a scan.
        wanted: the platform to choose where the target is an index.

    Attributes:
        unshown: tags that were put here for readers that know their names, and that no list has shown yet; with their
            manifests.
    """

    def __init__(
        self,
        open_store: Callable[[Reference], Store],
        reference: Reference,
        wanted: Platform,
        sleep: Callable[[float], None] = time.sleep,
        limits: ArchiveLimits = DEFAULT_LIMITS,
    ) -> None:
        self._open_store = open_store
        self._reference = reference
        self._began = Traffic()
        self.limits = limits
        self.tag = check_target_tag(reference.tag or "latest")
        self.digest = reference.digest
        self.name = str(reference)
        self._wanted = wanted
        self._sleep = sleep
        self._entries: dict[str, Located] = {}
        self._configs: set[Digest] = set()
        self.unshown: dict[str, Digest] = {}
        # Whether head itself is listed matters, too.
        slug = derived_prefix(self.tag)[:-1]
        self._prefix = slug if self.tag.startswith(slug) else ""

    @cached_property
    def store(self) -> Store:
        """The repository."""
        store = self._open_store(self._reference)
        self._began = replace(store.traffic)
        return store

    @property
    def traffic(self) -> Traffic:
        """What moved so far."""
        return since(self.store.traffic, self._began) if "store" in self.__dict__ else Traffic()

    def layers(self, union: ChangeSet) -> Layers:
        """Return the layers of changes, to be read."""
        from agent.sync.remote.layers import Layers  # what reads archives: a push or pull of nothing reads none

        return Layers(self.store, union, limits=self.limits)

    def head(self) -> Located | None:
        """Return the image at the target's own tag (or digest, if it names one), None if there is none."""
        return self.image(self.digest or self.tag)

    def image(self, reference: str) -> Located | None:
        """Return the image at a tag or digest of the repository, None if there is none."""
        return read_image(self.store, reference, self._wanted, f"{self.name} ({reference})")

    def entry(self, record: Record) -> Located | None:
        """Return the entry of a change, None if there is none.

        Raises:
            IntegrityError: something else stands at its tag.
        """
        tag = entry_tag(record.target, record.lane, record.id)
        located = self.image(tag)
        if located and record.id not in located.image.records:
            raise damaged(f"{self.name} ({tag})", "is not the entry that its tag promises")
        return located

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
        found = [(self._entry_at(tag), short) for short, tag in named]
        checkpoints = [located for located, short in found if located and self._fits(located, short)]
        seen = seen._replace(entries=tuple(checkpoints))
        held = {change[:26] for change in _readable(seen.union)}
        listed = sorted(entry_ids(self.tag, tags).items())
        missing = {tag: short for short, tag in listed if short not in held}
        return seen._replace(missing=missing), all(located for located, _ in found)

    def _fits(self, located: Located, short: str) -> bool:
        return located.image.target == self.tag and (located.image.change or "")[:26] == short

    def tags(self) -> list[str]:
        """Return the tags that may be this target's."""
        found = self.store.tags(self._prefix)
        for tag in self.unshown.keys() & found:
            del self.unshown[tag]
        return found

    def put_config(self, config: bytes, *, new: bool = False) -> None:
        """Store a config, once; `new` as for `Store.put_blob`."""
        digest = digest_of(config)
        if digest not in self._configs:
            self.store.put_blob(config, new=new)
            self._configs.add(digest)

    def forget(self) -> None:
        """Forget what was read and stored, because it may be gone."""
        self._entries.clear()
        self._configs.clear()

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
                located = self._entry_at(tag)
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

    def _entry_at(self, tag: str) -> Located | None:
        """Return what stands at an entry's tag. That is written once, so that it need be read only once."""
        located = self._entries.get(tag) or self.image(tag)
        if located is not None:
            self._entries[tag] = located
        return located

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

    def complete(self, union: ChangeSet) -> ChangeSet:
        """Return a part of what was seen, with every layer that it needs.

        An image drops the layers of superseded changes; without the later attempt they are not superseded.

        Raises:
            LostLayerError: the entry that has such a layer is gone.
        """
        asked: set[str] = set()
        while lost := (union.dropped.keys() - union.superseded if union.dropped else set()):
            # The newest first: its entry has what lies below it, too.
            record = max((union.dropped[change] for change in lost), key=lambda record: record.version)
            entry = None if record.id in asked else self.entry(record)
            if entry is None:
                raise LostLayerError(
                    "its entry is gone, and no other image has its layer alone",
                    subject=f"{self.name}, change {record.id}",
                    remedy=UNKNOWN_LAYER,
                )
            asked.add(record.id)
            union = unite([union.image(self.tag), entry.image]).only(union.ids)
        return union

    def as_of(self, union: ChangeSet, changes: Iterable[str]) -> ChangeSet:
        """Return what a writer had on its disk whose newest changes were these, with every layer that it needs.

        Raises:
            UsageError: that cannot be told any longer.
        """
        try:
            return self.complete(union.past(changes))
        except LostLayerError as error:
            raise UsageError(error.what, subject=error.subject, remedy=error.remedies) from error


def _readable(union: ChangeSet) -> set[str]:
    """Return the ids of what need not be looked for elsewhere: a layer that a tool encoded anew may lack its table."""
    lost = {change for change, layer in union.changes.items() if layer.encoding is None}
    for layer in union.squashes.values():
        if layer.squash and layer.encoding is None:
            lost |= layer.squash.ids
    return union.ids - lost


def resolve(union: ChangeSet, prefix: str, name: str) -> str:
    """Return the id of the one change whose id starts with `prefix`.

    Raises:
        UsageError: there is none, or there are several.
    """
    fitting = sorted(change for change in union.ids if change.startswith(prefix))
    if len(fitting) != 1:
        what = "no change has this id" if not fitting else f"{len(fitting)} changes have ids that start so"
        raise UsageError(what, subject=f"{name}, change {prefix}", remedy="look up its id in the log")
    return fitting[0]
