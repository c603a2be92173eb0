"""Keep head what it is: a cached merge of all entries (design, "Head" and "Protocol")."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.image import Image
from agent.core.image.manifest_writer import format_image
from agent.core.merge.conflict import Conflict
from agent.core.model.pointer_numbers import has_rival
from agent.core.model.record import FORMAT
from agent.errors import AgentError, ConflictError, MissingBlobError, TagRefusedError, VanishedError
from agent.remedy import FOREIGN_HEAD
from agent.sync.operation.options import Compression
from agent.sync.operation.workspace_context import Site
from agent.sync.publish.adopt_foreign import adopt_head
from agent.sync.publish.publish_entry import put_manifest, put_mark
from agent.sync.publish.squash_layers import HEAD_LAYERS, compact
from agent.sync.remote.merged_image import disagreements, merged_image
from agent.sync.remote.retry_vanished import Losses
from agent.sync.remote.target import Seen, Target, Unlisted

LOOKS = 24
"""How often head is looked at, at most, waits included."""
WAIT_EACH = 0.03
"""Seconds to wait at most, the first time, for each change of others that head lacks."""
WAIT_MAX = 2.0
CREW = 4
"""How many of a company merge at first, more or less."""


class Moved(NamedTuple):
    """What became of head.

    Attributes:
        complete: whether head holds every change that was seen.
        conflicts: where all changes that were seen disagree.
    """

    complete: bool
    conflicts: Sequence[Conflict]


def move_head(site: Site, target: Target, own: Image, compression: Compression = "zstd") -> Moved:
    """Bring head up to date with the entry `own` and with every other that is listed.

    Raises:
        ConflictError: head is an image of someone else that was not made from ours.
    """
    return _bring_up(site, target, own, compression)


def repair(site: Site, target: Target, seen: Seen) -> bool:
    """Bring head up to date if it lacks a change; never because its bytes differ (design, "Head")."""
    return bool(everything(seen).ids - seen.head_ids) and _bring_up(site, target, None, "zstd").complete


def _bring_up(site: Site, target: Target, own: Image | None, compression: Compression) -> Moved:
    """Merge into head what it lacks.

    There is no compare-and-swap on a tag, so whoever wrote it looks again, a bounded number of times: what was put
    from an older look must not stay. Running out is a warning, because entries are durable and readers merge.
    """
    mine = unite([own] if own else [])
    # Not the entry's own manifest: who deletes head by its digest must not take an entry with it.
    image, merged = own and own._replace(lane="", attempt=None, change=None), _layers_of(mine)
    conflicts = _with_own_past(target, mine, own)
    company, unlisted, losses, is_marked = _Company(site), _unlisted(site, target), Losses(target), False
    for _ in range(LOOKS):
        try:
            seen = _of_others(target.glance(unlisted=unlisted), mine)
            if company.rests(len(seen.missing)):
                continue
            seen = target.read(seen)
            if own:
                refuse_foreign(target, seen, mine)
            seen = adopt_head(site, target, seen, compression)
            whole = everything(seen, *([own] if own else []))
            if own and not is_marked and _has_rival(whole, own):
                # Either's pointer may have replaced the other's.
                with suppress(MissingBlobError):  # pruned and collected by now, by somebody who put the mark before
                    put_mark(site, target, own)
                is_marked = True
            if whole.ids <= seen.head_ids:
                return Moved(True, conflicts if whole.ids == merged[0] else disagreements(target, whole))
            if image is None or _layers_of(whole) != merged:
                merged = _layers_of(whole)
                image, conflicts = merged_image(target, compact(site, target, whole, HEAD_LAYERS, compression))
            if not put_head(site, target, seen, image):
                return Moved(False, conflicts)
        except (MissingBlobError, VanishedError) as error:
            # Pruned and collected since it was seen; what replaced it is in a checkpoint.
            losses.note(error)
            image = None
    site.progress.notice(f"{target.name}: others keep moving head; it lacks changes until the next push or repair")
    return Moved(False, conflicts)


def _with_own_past(target: Target, mine: ChangeSet, own: Image | None) -> Sequence[Conflict]:
    """Return where an entry's change disagrees with what it was made on: only a sparse writer's can."""
    record = mine.records.get(own.change or "") if own else None
    return disagreements(target, mine) if record is not None and record.unpulled else ()


def _has_rival(whole: ChangeSet, own: Image) -> bool:
    """Say whether another took the pointer of the change that an entry was pushed for."""
    record = whole.records.get(own.change or "")
    return record is not None and has_rival(record, whole.records.values())


def _layers_of(union: ChangeSet) -> tuple[set[str], set[str]]:
    """Return what two unions must agree in for one image to do for both: changes, and squashes in their place."""
    return union.ids, set(union.squashes)


def _of_others(seen: Seen, mine: ChangeSet) -> Seen:
    """Return what was seen; one's own entry and its past need not be read, whether head has them or not."""
    own = {change[:26] for change in mine.ids}
    return seen._replace(missing={tag: short for tag, short in seen.missing.items() if short not in own})


@dataclass(slots=True)
class _Company:
    """Those who would all move head now, seen by one of them: who merges, and who waits for it.

    Whoever else is at work looks, too, so that one may find that another did it already. In a large company, whose
    entries take long to read, a few are enough for a start, twice as many when nothing came of that, and so on.
    """

    site: Site
    others: int = 0
    rounds: int = 0

    def rests(self, others: int) -> bool:
        """Wait and return true, or return false: it is this agent's turn to merge what `others` have published."""
        if not others:
            return False
        if others < self.others:
            self.rounds = 1  # Somebody is at it.
        self.others = others
        if self.rounds and self.site.random() * (others + 1) < CREW << (self.rounds - 1):
            self.rounds = 0
            return False
        self.site.sleep(min(WAIT_EACH * others * 2**self.rounds, WAIT_MAX) * self.site.random())
        self.rounds += 1
        return True


def everything(seen: Seen, *own: Image) -> ChangeSet:
    """Return all changes that head should hold."""
    known = seen.known_head
    return unite([*own, *([known] if known else []), *seen.others])


def put_head(site: Site, target: Target, seen: Seen, image: Image) -> bool:
    """Put an image at the target's tag; False, with a notice, where the registry or a newer agent keeps it."""
    if seen.head and seen.head.image.format > FORMAT:
        site.progress.notice(f"{target.name}: head was written by a newer agent and is left alone; readers merge")
        return False
    config, manifest = format_image(image)
    target.put_config(config)
    try:
        put_manifest(site, target, target.tag, manifest)
    except TagRefusedError as error:
        site.progress.notice(f"{error.subject}: {error.what}; head stays behind, readers merge")
        return False
    return True


def refuse_foreign(target: Target, seen: Seen, mine: ChangeSet) -> None:
    """Raise ConflictError if head is an image of someone else that was not made from ours, and no base of `mine`."""
    if seen.head is None or seen.known_head is not None or str(seen.head.digest) in mine.bases:
        return
    raise ConflictError(
        "the image at the target's tag was put there by someone else; the change is published as an entry",
        subject=f"{target.name}@{seen.head.digest}",
        remedy=FOREIGN_HEAD,
    )


def _unlisted(site: Site, target: Target) -> Unlisted:
    """Return what a push does where the list cannot be read: its entry is durable, so that it says so and goes on."""

    warned: list[AgentError] = []

    def warn(error: AgentError) -> None:
        if warned:
            return
        warned.append(error)
        site.progress.notice(f"{error.subject}: {error.what}; what others pushed to {target.name} is merged by readers")

    return warn
