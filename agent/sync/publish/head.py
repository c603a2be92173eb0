"""Head, brought up to date: a cached merge of all entries (design, "Head" and "Protocol")."""

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
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.publish.adopt_foreign import adopt_head
from agent.sync.publish.publish_entry import put_manifest, put_mark
from agent.sync.remote.retry_vanished import VanishedLog
from agent.sync.remote.target import ListErrorHandler, Target
from agent.sync.remote.target_snapshot import TargetSnapshot
from agent.sync.upload.merged_image import conflicts_in, merged_image
from agent.sync.upload.squash_layers import HEAD_LAYERS, limit_layers

LOOKS = 24
"""How often head is read, at most, waits included."""
WAIT_EACH = 0.03
"""Seconds to wait at most, in the first round, for each change of others that head lacks."""
WAIT_MAX = 2.0
CREW = 4
"""How many writers merge in the first round, on average."""


class Moved(NamedTuple):
    """The result of an update of head.

    Attributes:
        complete: whether head holds every change that was read.
        conflicts: between all changes that were read.
    """

    complete: bool
    conflicts: Sequence[Conflict]


def move_head(context: WorkspaceContext, target: Target, own: Image, compression: Compression = "zstd") -> Moved:
    """Bring head up to date with the entry `own` and with every other that is listed.

    Raises:
        ConflictError: head is a foreign image that was not made from ours.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    return _merge_into_head(context, target, own, compression)


def repair(context: WorkspaceContext, target: Target, snapshot: TargetSnapshot) -> bool:
    """Bring head up to date if it lacks a change; never because its bytes differ (design, "Head")."""
    return (
        bool(all_changes(snapshot).ids - snapshot.head_ids) and _merge_into_head(context, target, None, "zstd").complete
    )


def _merge_into_head(context: WorkspaceContext, target: Target, own: Image | None, compression: Compression) -> Moved:
    """Merge into head the changes that it lacks.

    There is no compare-and-swap on a tag. So each writer reads head again after its write, a bounded number of times:
    an image from an older snapshot must not stay. If the number is used up, that is a warning, because entries are
    durable and readers merge.
    """
    mine = unite([own] if own else [])
    # Not the entry's own manifest: a deletion of head by its digest must not delete an entry.
    image, merged = own and own._replace(lane="", attempt=None, change=None), _image_key(mine)
    conflicts = _conflicts_with_past(target, mine, own)
    company, losses, is_marked = _Company(context), VanishedLog(target), False
    on_list_error = _list_error_handler(context, target)
    for _ in range(LOOKS):
        try:
            snapshot = _without_own(target.list_snapshot(on_list_error=on_list_error), mine)
            if company.rests(len(snapshot.missing)):
                continue
            snapshot = target.read_listed(snapshot)
            if own:
                refuse_foreign(target, snapshot, mine)
            snapshot = adopt_head(context, target, snapshot, compression)
            whole = all_changes(snapshot, *([own] if own else []))
            if own and not is_marked:
                is_marked = _mark_rival(context, target, whole, own)
            if whole.ids <= snapshot.head_ids:
                return Moved(True, conflicts if whole.ids == merged[0] else conflicts_in(target, whole))
            if image is None or _image_key(whole) != merged:
                merged = _image_key(whole)
                image, conflicts = merged_image(target, limit_layers(context, target, whole, HEAD_LAYERS, compression))
            if not put_head(context, target, snapshot, image):
                return Moved(False, conflicts)
        except (MissingBlobError, VanishedError) as error:
            # Pruned and collected since the snapshot; a checkpoint has the changes.
            losses.note(error)
            image = None
    context.progress.notice(f"{target.name}: others keep moving head; it lacks changes until the next push or repair")
    return Moved(False, conflicts)


def _conflicts_with_past(target: Target, mine: ChangeSet, own: Image | None) -> Sequence[Conflict]:
    """Return the conflicts of an entry's change with its own past: only a sparse writer's can have some."""
    record = mine.records.get(own.change or "") if own else None
    return conflicts_in(target, mine) if record is not None and record.unpulled else ()


def _mark_rival(context: WorkspaceContext, target: Target, whole: ChangeSet, own: Image) -> bool:
    """Put the mark if another change took the pointer of an entry's change: one may have replaced the other.

    Returns:
        whether that is so.
    """
    record = whole.records.get(own.change or "")
    if record is None or not has_rival(record, whole.records.values()):
        return False
    with suppress(MissingBlobError):  # pruned and collected by now, after another put the mark
        put_mark(context, target, own)
    return True


def _image_key(union: ChangeSet) -> tuple[set[str], set[str]]:
    """Return the key of a union's image: its changes, and the squashes in their place."""
    return union.ids, set(union.squashes)


def _without_own(snapshot: TargetSnapshot, mine: ChangeSet) -> TargetSnapshot:
    """Return the snapshot without the own entry and its past, which need not be read."""
    own = {change[:26] for change in mine.ids}
    return snapshot._replace(missing={tag: short for tag, short in snapshot.missing.items() if short not in own})


@dataclass(slots=True)
class _Company:
    """All writers that would move head now. Each decides by chance whether it merges, or waits for others to do so.

    A few writers are enough in the first round; if head did not move, twice as many merge in the next, and so on.
    """

    context: WorkspaceContext
    others: int = 0
    rounds: int = 0

    def rests(self, others: int) -> bool:
        """Wait and return True, or return False: this agent merges the changes of `others`."""
        if not others:
            return False
        if others < self.others:
            self.rounds = 1  # Another merges.
        self.others = others
        if self.rounds and self.context.random() * (others + 1) < CREW << (self.rounds - 1):
            self.rounds = 0
            return False
        self.context.sleep(min(WAIT_EACH * others * 2**self.rounds, WAIT_MAX) * self.context.random())
        self.rounds += 1
        return True


def all_changes(snapshot: TargetSnapshot, *own: Image) -> ChangeSet:
    """Return all changes that head should hold."""
    head = snapshot.own_head
    return unite([*own, *([head] if head else []), *snapshot.others])


def put_head(context: WorkspaceContext, target: Target, snapshot: TargetSnapshot, image: Image) -> bool:
    """Put an image at the target's tag; False, with a warning, if the registry refuses or a newer agent wrote head."""
    if snapshot.head and snapshot.head.image.format > FORMAT:
        context.progress.notice(f"{target.name}: head was written by a newer agent and is left alone; readers merge")
        return False
    config, manifest = format_image(image)
    target.put_config(config)
    try:
        put_manifest(context, target, target.tag, manifest)
    except TagRefusedError as error:
        context.progress.notice(f"{error.subject}: {error.what}; head stays behind, readers merge")
        return False
    return True


def refuse_foreign(target: Target, snapshot: TargetSnapshot, mine: ChangeSet) -> None:
    """Raise ConflictError if head is a foreign image that was not made from ours, and no base of `mine`."""
    if snapshot.head is None or snapshot.own_head is not None or str(snapshot.head.digest) in mine.bases:
        return
    raise ConflictError(
        "the image at the target's tag was put there by someone else; the change is published as an entry",
        subject=f"{target.name}@{snapshot.head.digest}",
        remedy=FOREIGN_HEAD,
    )


def _list_error_handler(context: WorkspaceContext, target: Target) -> ListErrorHandler:
    """Return the handler for a list that cannot be read: it warns once, because the entry is durable."""

    warned: list[AgentError] = []

    def warn(error: AgentError) -> None:
        if warned:
            return
        warned.append(error)
        context.progress.notice(
            f"{error.subject}: {error.what}; what others pushed to {target.name} is merged by readers"
        )

    return warn
