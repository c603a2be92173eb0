"""One change made public: its layer packed and uploaded, its entry and pointer, then head (design, "Push")."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from agent.archive.layer.writer import PackedLayer
from agent.core.image.change_set import Union, unite
from agent.core.image.image import Image, Layer
from agent.core.layers.pack import mark_whiteouts
from agent.core.merge.conflict import Conflict
from agent.core.model.ancestry import Writer
from agent.core.model.record import Record
from agent.core.spelling.digest import Digest
from agent.core.spelling.path import show
from agent.errors import (
    ConflictError,
    FileChangedError,
    ForgottenError,
    IntegrityError,
    MissingBlobError,
    VanishedError,
)
from agent.remedy import DISAGREE, REPLACED
from agent.sync.local.directory_state import Memory
from agent.sync.local.open_directory import Directory, Intent
from agent.sync.operation.options import PushOptions
from agent.sync.operation.report import PushReport, conflict_reports
from agent.sync.publish.adopt_foreign import adopt
from agent.sync.publish.head import everything, move_head
from agent.sync.publish.publish_entry import free_number, publish_entry, wait_until_shown
from agent.sync.push_steps.push_start import Push
from agent.sync.remote.target import Target
from agent.sync.scan.scan_directory import Survey
from agent.sync.upload.copy_layers import bring_layers
from agent.sync.upload.merged_image import disagreements, involving, merged_image
from agent.sync.upload.pack_layer import Packing
from agent.sync.upload.squash_layers import ENTRY_LAYERS, compact
from agent.sync.upload.uploaded_layer import describe

TRIES = 3
SHOWN = 5


class _Change(NamedTuple):
    """A change whose layer was uploaded.

    Attributes:
        past: the changes that stood on the writer's disk; a superseded change did not.
        is_new: whether this run fixed the record, so that nothing of it can be published yet.
    """

    record: Record
    past: Union
    upload: Packing
    layer: Layer
    finished: Collection[str] = ()
    is_new: bool = False


class _Published(NamedTuple):
    """An entry that was published: its image, the changes in it, its manifest's digest."""

    entry: Image
    union: Union
    digest: Digest


def publish(push: Push, memory: Memory, look: Survey, report: PushReport) -> None:
    """Publish the differences that a scan found, remember them, and say so in `report`.

    The steps, in order: upload the layer, publish entry and pointer, move head, write the directory's state.

    Raises:
        ConflictError: another change disagrees and `on_conflict` is `fail`, or head is an image of someone else.
        FileChangedError: a file changed while it was read; scan again.
        ForgottenError: the target no longer has what the push builds on, nor can it be had elsewhere.
        WorkspaceError, AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    memory = _prepared(push, memory)
    change = _uploaded(push, memory, look)
    published = _published(push, change)
    record = change.record
    report.id, report.digest, report.layer_size = record.id, published.digest, change.layer.size
    conflict = _move_head(push, published.entry, record, report)
    # The change counts, conflict or not.
    change.upload.written.version = record.version
    push.directory.remember(
        look.after(memory, change.upload.written).now(
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
    """Do what remains of a push whose entry is published: pointer and head."""
    target = push.target
    report = PushReport(target.name, record.id, publish_entry(push.site, target, entry, record))
    report.layer_size = next(layer.size for layer in entry.layers if layer.record == record)
    conflict = _move_head(push, entry, record, report)
    push.directory.end_push(target.name, record)
    if conflict:
        raise conflict
    return report


def _prepared(push: Push, memory: Memory) -> Memory:
    """Make available in the target's repository what the push builds on; return the state with it.

    Raises:
        ConflictError: a later attempt is on the disk already.
        ForgottenError: a layer is gone.
    """
    site, _, target, options = push
    _refuse_replaced(target, memory.union, memory.began_as(options.writer))
    try:
        bring_layers(site, target, memory)
    except VanishedError as error:
        raise _forgotten(target) from error
    return memory.now(union=adopt(site, target, memory.union, options.compression)[0])


def _uploaded(push: Push, memory: Memory, look: Survey) -> _Change:
    """Upload the layer of a change, and fix the change's record."""
    site, directory, target, options = push
    intent = directory.begin(target.name, memory.union, memory.began_as(options.writer), site.clock())
    entries = replace(look.entries, rest=mark_whiteouts(look.entries.rest, memory.known))
    upload = Packing(site, directory.root, look, entries, options.compression)
    packed, stored = upload.upload(target.store)
    known = memory.union.records.values()
    number = free_number(site, target, options.lane, options.attempt, known, memory.published)
    record = directory.confirm(intent, _record(target, memory, options, intent, packed, number), site.clock())
    return _Change(
        record,
        memory.union.past(intent.parents),
        upload,
        describe(record, packed, stored),
        memory.finished,
        is_new=record.text != intent.record,
    )


def _published(push: Push, change: _Change) -> _Published:
    """Publish the entry of a change, on the layers that there are now if those below it were collected.

    Raises:
        ConflictError: another change disagrees and `on_conflict` is `fail`.
        ForgottenError: the target has not the changes that the push builds on.
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
    site, directory, target, options = push
    past = compact(site, target, change.past, ENTRY_LAYERS - 1, options.compression, change.finished)
    own = unite([past.image(target.tag), Image((change.layer,), target.tag)])
    image, _ = merged_image(target, own)
    entry = image._replace(lane=options.lane, attempt=options.attempt, change=change.record.id)
    if options.on_conflict == "fail":
        _refuse_conflicts(directory, target, entry, change.record)
    return _Published(entry, own, publish_entry(site, target, entry, change.record, is_new=change.is_new))


def _published_anew(push: Push, change: _Change, error: MissingBlobError | IntegrityError) -> _Published:
    """Publish a change after layers below it were pruned and collected: on those that there are now.

    Of what others squashed together with the past of this change, all is in the image then; the record says what
    stood on the writer's disk.

    Raises:
        ForgottenError: the target has not the changes that the push builds on.
        ConflictError, MissingBlobError, IntegrityError: as `_publish`.
        FileChangedError: a file changed since it was packed.
    """
    target, record = push.target, change.record
    for _ in range(TRIES):
        target.forget()
        now = everything(target.look()).reaching(change.past.ids)
        if not change.past.ids <= now.ids:
            raise _forgotten(target) from error
        packed, stored = change.upload.upload(target.store)
        if packed.diff_id != record.diff_id or packed.toc_sha256 != record.toc:
            raise FileChangedError(
                "something changed while it was pushed",
                subject=push.site.directory,
                remedy="push again when nothing writes to it",
            )
        try:
            return _publish(push, _Change(record, now, change.upload, describe(record, packed, stored)))
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
        moved = move_head(push.site, target, entry, options.compression)
    except ConflictError as error:
        return error
    wait_until_shown(push.site, target)
    conflicts = involving(record, moved.conflicts)
    report.head_moved, report.conflicts = moved.complete, conflict_reports(conflicts)
    if conflicts and options.on_conflict == "fail":
        return _conflict(
            target, conflicts, f"they were found after change {record.id[:12]} was published, and it counts"
        )
    return None


def _refuse_replaced(target: Target, union: Union, writer: Writer) -> None:
    """Raise ConflictError if a later try lies on the disk already: it would supersede the change from the start."""
    later = [record for record in union.records.values() if record.writer.replaces(writer)]
    if later:
        attempt = max(record.attempt or 0 for record in later)
        of_pod = "" if attempt != writer.attempt else ", by a later pod,"
        raise ConflictError(
            f"attempt {attempt} of this lane was pushed{of_pod} before this directory was pulled",
            subject=f"{target.name}, lane {writer.lane}, attempt {writer.attempt}",
            remedy=REPLACED,
        )


def _refuse_conflicts(directory: Directory, target: Target, entry: Image, record: Record) -> None:
    conflicts = involving(record, disagreements(target, everything(target.look(), entry)))
    if conflicts:
        directory.forget_intent()
        raise _conflict(target, conflicts, "nothing was published")


def _conflict(target: Target, conflicts: list[Conflict], outcome: str) -> ConflictError:
    named = ", ".join(f"{show(conflict.path) or 'base'} ({conflict.kind})" for conflict in conflicts[:SHOWN])
    more = f" and {len(conflicts) - SHOWN} more" if len(conflicts) > SHOWN else ""
    return ConflictError(
        f"parallel changes disagree about {named}{more}; {outcome}",
        subject=target.name,
        remedy=DISAGREE,
    )


def _record(
    target: Target, memory: Memory, options: PushOptions, intent: Intent, packed: PackedLayer, number: int
) -> Record:
    return Record(
        target=target.tag,
        parents=intent.parents,
        lane=options.lane,
        attempt=options.attempt,
        number=number,
        pod=intent.pod,
        unpulled=bool(memory.sparse) and packed.toc.may_have_unpulled,
        stamp=intent.stamp,
        base=min(memory.union.bases, default=None),
        diff_id=packed.diff_id,
        toc=packed.toc_sha256,
        message=options.message,
        annotations=tuple(sorted(options.annotations)),
    )
