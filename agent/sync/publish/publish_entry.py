"""The entry of a change at its tag, the pointer that leads to it, and the target's mark.

How pointers are numbered, and what the mark is for: docs/decisions/numbered-pointers.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from agent.core.image.image import Image
from agent.core.image.manifest import MANIFEST
from agent.core.image.manifest_writer import format_image
from agent.core.model.pointer_numbers import Place, first_missing, place_of, places
from agent.core.model.record import NUMBER_MAX, Record
from agent.core.spelling.digest import Digest
from agent.core.spelling.duration import format_duration
from agent.core.spelling.tags import entry_tag, mark_tag, pointer_tag
from agent.errors import MissingBlobError, TagRefusedError, UnavailableError, UsageError
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.remote.target import Target

LINK_PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds, on average, between tries to put a manifest whose blobs the registry does not find."""
SHOWN_PAUSE, SHOWN_PAUSE_MAX = 0.05, 2.0
"""Seconds between reads of a tag that was put: the first and the longest; doubled each time."""
MARK = "mark"
"""The value in the mark's manifest in place of a change's id."""


def publish_entry(
    context: WorkspaceContext, target: Target, image: Image, record: Record, *, is_new: bool = False
) -> Digest:
    """Store config, entry and pointer, unless they are there.

    The entry's tag is written once: if it is there, this push was published before and its answer was lost.

    Args:
        image: the entry.
        record: of its change.
        is_new: whether this run fixed the record and its number, so that nothing of it can be there.

    Returns:
        the digest of the entry's manifest.

    Raises:
        IntegrityError: the entry's tag has another image.
        TagRefusedError: the registry takes no new tags.
    """
    config, manifest = format_image(image)
    entry = None if is_new else target.entry(record)
    stored = target.store.get_manifest(entry.digest) if entry else None
    if stored is not None:
        digest, manifest = stored.digest, stored.data
    else:  # or it was pruned at this moment
        target.put_config(config, new=entry is None)
        digest = put_manifest(context, target, entry_tag(target.tag, record.lane, record.id), manifest)
    place = place_of(record)
    if place is not None:
        _put_pointer(context, target, image, record.lane, place, manifest, digest, is_free=is_new)
    return digest


def free_number(
    context: WorkspaceContext,
    target: Target,
    lane: str,
    attempt: int | None,
    known: Iterable[Record],
    acknowledged: str | None,
) -> int:
    """Return the number for the pointer of a push: the first free one, all below it are taken.

    Args:
        known: the records of the changes in the writer's directory.
        acknowledged: the id of the newest change that this directory published to the end: its pointer is there.

    Raises:
        UsageError: no number is left.
    """
    found = places(known, target.tag, lane).items()
    taken = {place.number: record for place, record in found if place.attempt == (attempt or 0)}
    start = max(taken, default=-1) + 1
    if start and taken[start - 1].id != acknowledged:
        _put_missing_pointer(context, target, taken[start - 1])
    return _first_free(target, lane, attempt, start)


def put_mark(context: WorkspaceContext, target: Target, image: Image) -> None:
    """Put the target's mark: from now on who names lanes counts their pointers and reads the list.

    It matters that it is there, not what it holds: its manifest is no entry's and not head's, so that it stays when
    these are deleted.

    Args:
        image: an image of the target that is stored already.
    """
    config, manifest = format_image(image._replace(lane="", attempt=None, change=MARK))
    target.put_config(config)
    with suppress(TagRefusedError):  # it is there, in a registry whose tags never move
        _put_named(context, target, mark_tag(target.tag), manifest)


def put_manifest(context: WorkspaceContext, target: Target, tag: str, manifest: bytes) -> Digest:
    """Put a manifest at a tag; its blobs were stored before.

    Raises:
        MissingBlobError: one of them is gone for good.
        TagRefusedError: the registry does not let the tag move.
    """
    for pause in LINK_PAUSES:
        try:
            return target.store.put_manifest(tag, manifest, MANIFEST)
        except MissingBlobError:
            # A parallel upload of the same blob hides it until its link is written anew (distribution).
            context.sleep(pause * (0.5 + context.random()))
    return target.store.put_manifest(tag, manifest, MANIFEST)


def _put_named(context: WorkspaceContext, target: Target, tag: str, manifest: bytes) -> None:
    """Put a manifest at a tag that others read without a list; see `wait_until_shown`."""
    target.unshown[tag] = put_manifest(context, target, tag, manifest)


def _put_pointer(
    context: WorkspaceContext,
    target: Target,
    image: Image,
    lane: str,
    place: Place,
    manifest: bytes,
    digest: Digest,
    *,
    is_free: bool,
) -> None:
    """Put a pointer to an entry; at the next free place if another push took this one meanwhile."""
    # Readers count attempts from 0 on: an attempt that published nothing must leave no gap.
    for earlier in range(place.attempt):
        with suppress(TagRefusedError):
            _put_named(context, target, pointer_tag(target.tag, lane, earlier, 0), manifest)
    number = place.number
    tag = pointer_tag(target.tag, lane, *place)
    there = None if is_free else target.store.get_manifest(tag)
    while there is None or there.digest != digest:
        if there is not None:
            number = _first_free(target, lane, place.attempt, number + 1)
            tag = pointer_tag(target.tag, lane, place.attempt, number)
        if place.attempt or number == 1:  # the mark must be there before a larger number
            put_mark(context, target, image)
        try:
            _put_named(context, target, tag, manifest)
            return
        except TagRefusedError:  # tags never move there: another push put it, or this one did
            there = target.store.get_manifest(tag)
            if there is None:
                raise


def _first_free(target: Target, lane: str, attempt: int | None, start: int) -> int:
    """Return the first number from `start` on without a pointer.

    Raises:
        UsageError: no number is left.
    """

    def is_taken(number: int) -> bool:
        return target.store.get_manifest(pointer_tag(target.tag, lane, attempt, number)) is not None

    number = first_missing(is_taken, start)
    if number >= NUMBER_MAX:
        raise UsageError("no number is left for a push of this lane", subject=lane, remedy="push under another lane")
    return number


def _put_missing_pointer(context: WorkspaceContext, target: Target, record: Record) -> None:
    """Put the pointer of a change whose writer was stopped before it did, because readers stop at a gap.

    If the entry is gone, too, it was pruned: a checkpoint has the change.
    """
    place = place_of(record)
    assert place is not None
    tag = pointer_tag(target.tag, record.lane, *place)
    if target.store.get_manifest(tag) is not None:
        return
    entry = target.entry(record)
    stored = target.store.get_manifest(entry.digest) if entry else None
    with suppress(MissingBlobError):  # pruned and collected at this moment
        if entry and stored:
            _put_pointer(context, target, entry.image, record.lane, place, stored.data, stored.digest, is_free=True)


def wait_until_shown(context: WorkspaceContext, target: Target) -> None:
    """Wait until the registry shows the pointers that this push put (docs/decisions/writers-wait-for-pointers.md).

    If the manifest is gone as well, another agent pruned it, and a checkpoint has its changes.

    Raises:
        UnavailableError: the registry does not show one within the command's patience.
    """
    waited, pause = 0.0, SHOWN_PAUSE
    while target.unshown:
        tag, digest = min(target.unshown.items())
        if target.store.get_manifest(tag) is not None or target.store.get_manifest(digest) is None:
            del target.unshown[tag]
            continue
        if waited >= context.patience:
            raise UnavailableError(
                f"the registry does not show this tag {format_duration(context.patience)} after it took it",
                subject=f"{target.name} ({tag})",
                remedy="push again, which publishes nothing twice",
            )
        context.sleep(pause)
        waited, pause = waited + pause, min(2 * pause, SHOWN_PAUSE_MAX)
