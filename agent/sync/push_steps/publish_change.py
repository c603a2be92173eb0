"""The steps of a push that has differences: upload the layer, publish entry and pointer, move head (design, "Push")."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from agent.archive.layer.writer import PackedLayer
from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.image import Image, Layer
from agent.core.layers.whiteouts import mark_whiteouts
from agent.core.model.record import Record
from agent.core.spelling.digest import Digest
from agent.errors import (
    ConflictError,
    FileChangedError,
    ForgottenError,
    IntegrityError,
    MissingBlobError,
    VanishedError,
)
from agent.sync.directory_scan.scan_directory import DirectoryDiff
from agent.sync.local.directory_state import DirectoryState
from agent.sync.local.open_directory import Intent
from agent.sync.operation.options import PushOptions
from agent.sync.operation.report import PushReport, conflict_reports
from agent.sync.publish.adopt_foreign import adopt
from agent.sync.publish.head import all_changes, move_head
from agent.sync.publish.publish_entry import free_number, publish_entry, wait_until_shown
from agent.sync.push_steps.push_conflicts import conflict_error, refuse_conflicts, refuse_replaced
from agent.sync.push_steps.push_start import Push
from agent.sync.remote.target import Target
from agent.sync.upload.copy_layers import copy_layers
from agent.sync.upload.merged_image import conflicts_of, merged_image
from agent.sync.upload.pack_layer import LayerUpload
from agent.sync.upload.squash_layers import ENTRY_LAYERS, limit_layers
from agent.sync.upload.uploaded_layer import uploaded_layer

TRIES = 3


class _Change(NamedTuple):
    """A change whose layer was uploaded.

    Attributes:
        past: the changes that the writer had in its directory; a superseded change is not among them.
        finished: ids of changes of finished lanes.
        is_new: whether this run fixed the record, so that nothing of it can be published yet.
    """

    record: Record
    past: ChangeSet
    upload: LayerUpload
    layer: Layer
    finished: Collection[str] = ()
    is_new: bool = False


class _Published(NamedTuple):
    """An entry that was published: its image, the changes in it, its manifest's digest."""

    entry: Image
    union: ChangeSet
    digest: Digest


def publish(push: Push, state: DirectoryState, diff: DirectoryDiff, report: PushReport) -> None:
    """Publish the differences that a scan found, and fill in `report`.

    The steps, in order: upload the layer, publish entry and pointer, move head, write the directory's state.

    Raises:
        ConflictError: another change disagrees and `on_conflict` is `fail`, or head is an image of someone else.
        FileChangedError: a file changed while it was read; scan again.
        ForgottenError: the target no longer has what the push builds on, nor can it be had elsewhere.
        WorkspaceError, AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    state = _prepared(push, state)
    change = _uploaded(push, state, diff)
    published = _published(push, change)
    record = change.record
    report.id, report.digest, report.layer_size = record.id, published.digest, change.layer.size
    conflict = _move_head(push, published.entry, record, report)
    # The change counts, conflict or not.
    change.upload.written.version = record.version
    push.directory.save(
        diff.after(state, change.upload.written)._replace(
            target=push.target.name,
            root=push.directory.root.identity,
            union=published.union,
            pod=record.pod,
            published=record.id,
        )
    )
    push.directory.end_push(push.target.name, record)
    if conflict:
        raise conflict


def finish(push: Push, record: Record, entry: Image) -> PushReport:
    """Do the rest of a push whose entry is published: pointer and head; return its report.

    Raises:
        ConflictError: as `publish`.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    target = push.target
    report = PushReport(target.name, record.id, publish_entry(push.context, target, entry, record))
    report.layer_size = next(layer.size for layer in entry.layers if layer.record == record)
    conflict = _move_head(push, entry, record, report)
    push.directory.end_push(target.name, record)
    if conflict:
        raise conflict
    return report


def _prepared(push: Push, state: DirectoryState) -> DirectoryState:
    """Bring all layers that the push builds on into the target's repository; return the state with them.

    Raises:
        ConflictError: a later attempt is in the directory already.
        ForgottenError: a layer is gone.
    """
    context, _, target, options = push
    refuse_replaced(target, state.union, state.began_as(options.writer))
    try:
        copy_layers(context, target, state)
    except VanishedError as error:
        raise _forgotten(target) from error
    return state._replace(union=adopt(context, target, state.union, options.compression)[0])


def _uploaded(push: Push, state: DirectoryState, diff: DirectoryDiff) -> _Change:
    """Upload the layer of a change, and fix the change's record."""
    context, directory, target, options = push
    intent = directory.begin_push(target.name, state.union, state.began_as(options.writer), context.clock())
    entries = replace(diff.entries, rest=mark_whiteouts(diff.entries.rest, state.rows))
    upload = LayerUpload(context, directory.root, diff, entries, options.compression)
    packed, stored = upload.send(target.store)
    known = state.union.records.values()
    number = free_number(context, target, options.lane, options.attempt, known, state.published)
    record = directory.confirm(intent, _record(target, state, options, intent, packed, number), context.clock())
    return _Change(
        record,
        state.union.past(intent.parents),
        upload,
        uploaded_layer(record, packed, stored),
        state.finished,
        is_new=record.text != intent.record,
    )


def _published(push: Push, change: _Change) -> _Published:
    """Publish the entry of a change; if layers below it were collected, on those that the target has now.

    Raises:
        ConflictError: another change disagrees and `on_conflict` is `fail`.
        ForgottenError: the target lacks changes that the push builds on.
        FileChangedError: a file changed since it was packed.
    """
    try:
        return _publish(push, change)
    except (MissingBlobError, IntegrityError) as error:
        return _published_anew(push, change, error)


def _publish(push: Push, change: _Change) -> _Published:
    """Publish the entry of a change on its past.

    Raises:
        ConflictError: another change disagrees and `on_conflict` is `fail`.
        MissingBlobError, VanishedError: a layer below it is gone.
    """
    context, directory, target, options = push
    past = limit_layers(context, target, change.past, ENTRY_LAYERS - 1, options.compression, change.finished)
    own = unite([past.image(target.tag), Image((change.layer,), target.tag)])
    image, _ = merged_image(target, own)
    entry = image._replace(lane=options.lane, attempt=options.attempt, change=change.record.id)
    if options.on_conflict == "fail":
        refuse_conflicts(directory, target, entry, change.record)
    return _Published(entry, own, publish_entry(context, target, entry, change.record, is_new=change.is_new))


def _published_anew(push: Push, change: _Change, error: MissingBlobError | IntegrityError) -> _Published:
    """Publish a change after layers below it were pruned and collected, on those that the target has now.

    A squash may hold more changes than the past of this one. All of them are in the image then; the record has the
    changes that the writer had in its directory.

    Raises:
        ForgottenError: the target lacks changes that the push builds on.
        ConflictError, MissingBlobError, IntegrityError: as `_publish`.
        FileChangedError: a file changed since it was packed.
    """
    target, record = push.target, change.record
    for _ in range(TRIES):
        target.forget()
        held = all_changes(target.read_snapshot()).reaching(change.past.ids)
        if not change.past.ids <= held.ids:
            raise _forgotten(target) from error
        packed, stored = change.upload.send(target.store)
        if packed.diff_id != record.diff_id or packed.toc.sha256 != record.toc:
            raise FileChangedError(
                "something changed while it was pushed",
                subject=push.context.directory,
                remedy="push again when nothing writes to it",
            )
        try:
            return _publish(push, _Change(record, held, change.upload, uploaded_layer(record, packed, stored)))
        except (MissingBlobError, IntegrityError) as again:
            error = again
    raise error


def _forgotten(target: Target) -> ForgottenError:
    return ForgottenError(
        "what this push builds on is gone", subject=target.name, remedy="push the directory to a new target"
    )


def _move_head(push: Push, entry: Image, record: Record, report: PushReport) -> ConflictError | None:
    """Bring head up to date with an entry, wait until its pointer is shown, and report both.

    Returns:
        the error, if head is an image of someone else, or there are conflicts and `on_conflict` is `fail`.
    """
    target, options = push.target, push.options
    try:
        moved = move_head(push.context, target, entry, options.compression)
    except ConflictError as error:
        return error
    wait_until_shown(push.context, target)
    conflicts = conflicts_of(record, moved.conflicts)
    report.head_moved, report.conflicts = moved.complete, conflict_reports(conflicts)
    if conflicts and options.on_conflict == "fail":
        return conflict_error(
            target, conflicts, f"they were found after change {record.id[:12]} was published, and it counts"
        )
    return None


def _record(
    target: Target, state: DirectoryState, options: PushOptions, intent: Intent, packed: PackedLayer, number: int
) -> Record:
    return Record(
        target=target.tag,
        parents=intent.parents,
        lane=options.lane,
        attempt=options.attempt,
        number=number,
        pod=intent.pod,
        unpulled=bool(state.sparse) and packed.toc.may_have_unpulled,
        stamp=intent.stamp,
        base=min(state.union.bases, default=None),
        diff_id=packed.diff_id,
        toc=packed.toc.sha256,
        message=options.message,
        annotations=tuple(sorted(options.annotations)),
    )
