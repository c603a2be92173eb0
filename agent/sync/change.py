"""One change made public: its layer packed and uploaded, its entry and pointer, then head (design section 6, push)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from agent.archive.writer import PackedLayer
from agent.core.conflict import Conflict
from agent.core.digest import Digest
from agent.core.image import Image, Layer
from agent.core.pack import mark_whiteouts
from agent.core.path import show
from agent.core.record import Record
from agent.core.union import Union, unite
from agent.errors import ConflictError, FileChangedError, IntegrityError, MissingBlobError
from agent.sync.bring import bring_layers
from agent.sync.directory import Directory, Intent
from agent.sync.foreign import adopt
from agent.sync.head import everything, move_head
from agent.sync.memory import Memory
from agent.sync.merging import disagreements, involving, merged_image
from agent.sync.options import PushOptions
from agent.sync.packed import describe
from agent.sync.publish import Packing, publish_entry, wait_until_shown
from agent.sync.report import PushReport, conflict_reports
from agent.sync.site import Site
from agent.sync.squash import ENTRY_LAYERS, compact
from agent.sync.survey import Survey
from agent.sync.target import Target

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
        WorkspaceError, AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    _refuse_replaced(target, memory.union, options)
    bring_layers(site, target, memory)
    memory = memory.now(union=adopt(site, target, memory.union, options.compression)[0])
    intent = directory.begin(target, memory.union, options, site.clock())
    entries = replace(look.entries, rest=mark_whiteouts(look.entries.rest, memory.known))
    packing = Packing(site, directory.root, look, entries, options.compression)
    packed, stored = packing.upload(target.store)
    record = directory.confirm(intent, _record(target, memory, options, intent, packed), site.clock())
    # Exactly what stood on the writer's disk: a superseded change did not.
    past = memory.union.past(intent.parents)
    try:
        entry, own = _entry(site, target, past, describe(record, packed, stored), options, memory.finished)
        if options.on_conflict == "fail":
            _refuse_conflicts(directory, target, entry, record)
        report.digest = publish_entry(site, target, entry, record)
    except (MissingBlobError, IntegrityError) as error:
        entry, own, report.digest = _published_anew(site, target, packing, past, record, options, error)
    report.id, report.layer_size = record.id, stored.size
    packing.written.version = record.version
    later = look.after(memory, packing.written).now(target=target.name, root=directory.root.identity, union=own)
    try:
        _show(site, target, entry, record, options, report)
    except ConflictError:
        # The change counts; that its writer is told so does not make it undone.
        directory.remember(later)
        directory.forget_intent()
        raise
    directory.remember(later)
    directory.forget_intent()


def finish(
    site: Site, directory: Directory, target: Target, record: Record, entry: Image, options: PushOptions
) -> PushReport:
    """Do what remains of a push whose entry is published: pointer and head."""
    report = PushReport(target.name, record.id, publish_entry(site, target, entry, record))
    report.layer_size = next(layer.size for layer in entry.layers if layer.record == record)
    try:
        _show(site, target, entry, record, options, report)
    except ConflictError:
        directory.forget_intent()
        raise
    directory.forget_intent()
    return report


def _entry(
    site: Site, target: Target, past: Union, layer: Layer, options: PushOptions, finished: Collection[str] = ()
) -> tuple[Image, Union]:
    """Return the image of a push, and the changes in it."""
    past = compact(site, target, past, ENTRY_LAYERS - 1, options.compression, finished)
    own = unite([past.image(target.tag), Image((layer,), target.tag)])
    image, _ = merged_image(target, own)
    change = layer.record.id if layer.record else None
    return image._replace(lane=options.lane, attempt=options.attempt, change=change), own


def _published_anew(
    site: Site,
    target: Target,
    packing: Packing,
    past: Union,
    record: Record,
    options: PushOptions,
    error: MissingBlobError | IntegrityError,
) -> tuple[Image, Union, Digest]:
    """Publish a push again, after layers below it were pruned and collected: on what there is now.

    Of what others squashed together with the past of this change, all is in the image then; the record says what
    stood on the writer's disk.

    Raises:
        MissingBlobError, IntegrityError: `error`, if the target has not the changes that the push builds on.
        FileChangedError: a file changed since it was packed.
    """
    for _ in range(TRIES):
        target.forget()
        now = everything(target.look()).reaching(past.ids)
        if not past.ids <= now.ids:
            raise error
        packed, stored = packing.upload(target.store)
        if packed.diff_id != record.diff_id or packed.toc_sha256 != record.toc:
            raise FileChangedError(
                "something changed while it was pushed",
                subject=site.directory,
                remedy="push again when nothing writes to it",
            )
        try:
            entry, own = _entry(site, target, now, describe(record, packed, stored), options)
            return entry, own, publish_entry(site, target, entry, record)
        except (MissingBlobError, IntegrityError) as again:
            error = again
    raise error


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


def _refuse_replaced(target: Target, union: Union, options: PushOptions) -> None:
    """Raise ConflictError if a later attempt lies on the disk already: it would supersede the change from the start."""
    attempts = [record.attempt or 0 for record in union.records.values() if record.lane == options.lane]
    if options.attempt is not None and max(attempts, default=0) > options.attempt:
        raise ConflictError(
            f"attempt {max(attempts)} of this lane was pushed before this directory was pulled",
            subject=f"{target.name}, lane {options.lane}, attempt {options.attempt}",
            remedy="a later attempt replaces an earlier one; push with a higher --attempt if this one shall count",
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
        remedy="let the newest stand with --on-conflict last, or pull with --force and change it again",
    )


def _record(target: Target, memory: Memory, options: PushOptions, intent: Intent, packed: PackedLayer) -> Record:
    return Record(
        target=target.tag,
        parents=intent.parents,
        lane=options.lane,
        attempt=options.attempt,
        stamp=intent.stamp,
        base=min(memory.union.bases, default=None),
        diff_id=packed.diff_id,
        toc=packed.toc_sha256,
        message=options.message,
        annotations=tuple(sorted(options.annotations)),
    )
