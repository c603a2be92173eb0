"""One change made public: its layer packed and uploaded, its entry and pointer, then head (design, "Push")."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from agent.archive.layer.writer import PackedLayer
from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.image import Image, Layer
from agent.core.layers.whiteouts import mark_whiteouts
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
from agent.sync.local.scan_directory import Survey
from agent.sync.operation.options import PushOptions
from agent.sync.operation.report import PushReport, conflict_reports
from agent.sync.operation.workspace_context import Site
from agent.sync.publish.adopt_foreign import adopt
from agent.sync.publish.copy_layers import bring_layers
from agent.sync.publish.head import everything, move_head
from agent.sync.publish.packed_layer import describe
from agent.sync.publish.publish_entry import Packing, free_number, publish_entry, wait_until_shown
from agent.sync.publish.squash_layers import ENTRY_LAYERS, compact
from agent.sync.remote.merged_image import disagreements, involving, merged_image
from agent.sync.remote.target import Target

TRIES = 3
SHOWN = 5


def publish(
    site: Site,
    directory: Directory,
    target: Target,
    memory: Memory,
    options: PushOptions,
    look: Survey,
    report: PushReport,
) -> None:
    """Publish what a look at a directory found, remember it, and say so in `report`.

    Raises:
        ConflictError: another change disagrees and `on_conflict` is `fail`, or head is an image of someone else.
        FileChangedError: a file changed while it was read; look again.
        ForgottenError: the target no longer has what the push builds on, nor can it be had elsewhere.
        WorkspaceError, AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    writer = memory.began_as(options.writer)
    _refuse_replaced(target, memory.union, writer)
    try:
        bring_layers(site, target, memory)
    except VanishedError as error:
        raise _forgotten(target) from error
    memory = memory.now(union=adopt(site, target, memory.union, options.compression)[0])
    intent = directory.begin(target, memory.union, writer, site.clock())
    entries = replace(look.entries, rest=mark_whiteouts(look.entries.rest, memory.known))
    packing = Packing(site, directory.root, look, entries, options.compression)
    packed, stored = packing.upload(target.store)
    known = memory.union.records.values()
    number = free_number(site, target, options.lane, options.attempt, known, memory.published)
    record = directory.confirm(intent, _record(target, memory, options, intent, packed, number), site.clock())
    # Exactly what stood on the writer's disk: a superseded change did not.
    past = memory.union.past(intent.parents)
    layer = describe(record, packed, stored)
    try:
        is_new = record.text != intent.record
        entry, own, report.digest = _published(
            site, directory, target, past, layer, options, memory.finished, is_new=is_new
        )
    except (MissingBlobError, IntegrityError) as error:
        entry, own, report.digest = _published_anew(site, directory, target, packing, past, record, options, error)
    report.id, report.layer_size = record.id, stored.size
    packing.written.version = record.version
    later = look.after(memory, packing.written).now(
        target=target.name, root=directory.root.identity, union=own, pod=record.pod, published=record.id
    )
    try:
        _show(site, target, entry, record, options, report)
    except ConflictError:
        # The change counts; that its writer is told so does not make it undone.
        directory.remember(later)
        directory.end_push(target, record)
        raise
    directory.remember(later)
    directory.end_push(target, record)


def finish(
    site: Site, directory: Directory, target: Target, record: Record, entry: Image, options: PushOptions
) -> PushReport:
    """Do what remains of a push whose entry is published: pointer and head."""
    report = PushReport(target.name, record.id, publish_entry(site, target, entry, record))
    report.layer_size = next(layer.size for layer in entry.layers if layer.record == record)
    try:
        _show(site, target, entry, record, options, report)
    except ConflictError:
        directory.end_push(target, record)
        raise
    directory.end_push(target, record)
    return report


def _entry(
    site: Site, target: Target, past: ChangeSet, layer: Layer, options: PushOptions, finished: Collection[str] = ()
) -> tuple[Image, ChangeSet]:
    """Return the image of a push, and the changes in it."""
    past = compact(site, target, past, ENTRY_LAYERS - 1, options.compression, finished)
    own = unite([past.image(target.tag), Image((layer,), target.tag)])
    image, _ = merged_image(target, own)
    change = layer.record.id if layer.record else None
    return image._replace(lane=options.lane, attempt=options.attempt, change=change), own


def _published(
    site: Site,
    directory: Directory,
    target: Target,
    past: ChangeSet,
    layer: Layer,
    options: PushOptions,
    finished: Collection[str] = (),
    *,
    is_new: bool = False,
) -> tuple[Image, ChangeSet, Digest]:
    """Publish the entry of a push; return its image, the changes in it, and its manifest's digest.

    Raises:
        ConflictError: another change disagrees and `on_conflict` is `fail`.
        MissingBlobError, VanishedError: a layer below it is gone.
    """
    entry, own = _entry(site, target, past, layer, options, finished)
    record = layer.record
    assert record is not None
    if options.on_conflict == "fail":
        _refuse_conflicts(directory, target, entry, record)
    return entry, own, publish_entry(site, target, entry, record, is_new=is_new)


def _published_anew(
    site: Site,
    directory: Directory,
    target: Target,
    packing: Packing,
    past: ChangeSet,
    record: Record,
    options: PushOptions,
    error: MissingBlobError | IntegrityError,
) -> tuple[Image, ChangeSet, Digest]:
    """Publish a push again, after layers below it were pruned and collected: on what there is now.

    Of what others squashed together with the past of this change, all is in the image then; the record says what
    stood on the writer's disk.

    Raises:
        ForgottenError: the target has not the changes that the push builds on.
        ConflictError, MissingBlobError, IntegrityError: as `_published`.
        FileChangedError: a file changed since it was packed.
    """
    for _ in range(TRIES):
        target.forget()
        now = everything(target.look()).reaching(past.ids)
        if not past.ids <= now.ids:
            raise _forgotten(target) from error
        packed, stored = packing.upload(target.store)
        if packed.diff_id != record.diff_id or packed.toc.sha256 != record.toc:
            raise FileChangedError(
                "something changed while it was pushed",
                subject=site.directory,
                remedy="push again when nothing writes to it",
            )
        try:
            return _published(site, directory, target, now, describe(record, packed, stored), options)
        except (MissingBlobError, IntegrityError) as again:
            error = again
    raise error


def _forgotten(target: Target) -> ForgottenError:
    return ForgottenError(
        "what this push builds on is gone", subject=target.name, remedy="push the directory to a new target"
    )


def _show(site: Site, target: Target, entry: Image, record: Record, options: PushOptions, report: PushReport) -> None:
    """Bring head up to date with an entry, and report it.

    Raises:
        ConflictError: head is an image of someone else, or there are conflicts and `on_conflict` is `fail`.
    """
    moved = move_head(site, target, entry, options.compression)
    wait_until_shown(site, target)
    conflicts = involving(record, moved.conflicts)
    report.head_moved, report.conflicts = moved.complete, conflict_reports(conflicts)
    if conflicts and options.on_conflict == "fail":
        raise _conflict(
            target, conflicts, f"they were found after change {record.id[:12]} was published, and it counts"
        )


def _refuse_replaced(target: Target, union: ChangeSet, writer: Writer) -> None:
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
        toc=packed.toc.sha256,
        message=options.message,
        annotations=tuple(sorted(options.annotations)),
    )
