"""Publish what changed in a directory as one new layer (design section 6, push)."""

from __future__ import annotations

from dataclasses import replace

from agent.archive.writer import PackedLayer
from agent.core.diff import remembered
from agent.core.entry import Delete, Touch, Version, Write
from agent.core.image import Image
from agent.core.pack import mark_whiteouts
from agent.core.record import Record
from agent.core.union import Union, unite
from agent.errors import DivergedError, FileChangedError
from agent.sync.bring import bring_layers
from agent.sync.directory import Directory, Intent, open_directory
from agent.sync.head import move_head
from agent.sync.memory import Memory
from agent.sync.merging import merged_image
from agent.sync.options import PushOptions
from agent.sync.publish import Packing, describe, publish_entry
from agent.sync.report import PushReport
from agent.sync.site import Site
from agent.sync.survey import Survey, survey
from agent.sync.target import Target, this_platform

TRIES = 3


def push(site: Site, options: PushOptions) -> PushReport:
    """Publish what changed in the directory since it was pulled or pushed.

    Raises:
        DivergedError: the directory is not the one that was pulled, or everything in it is gone.
        ConflictError: another change disagrees and `on_conflict` is `fail`, or head is an image of someone else.
        WorkspaceError, AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    with open_directory(site) as directory:
        target = Target(site.store, site.target, this_platform(None))
        memory = _memory_for(site, directory, target)
        for tries in range(TRIES):
            try:
                return _push(site, directory, target, memory, options)
            except FileChangedError as error:
                if tries + 1 == TRIES:
                    raise
                site.progress.notice(f"{error}")
        raise AssertionError("unreachable")


def _memory_for(site: Site, directory: Directory, target: Target) -> Memory:
    """Return what is remembered of the directory; nothing, for one that starts a new target.

    Raises:
        DivergedError: the target holds a workspace that this directory was never pulled from.
    """
    memory = directory.memory
    directory.check_identity()
    if directory.is_pulling:
        raise DivergedError(
            "a pull into this directory was interrupted", subject=site.directory, remedy="pull again, then push"
        )
    if memory is not None and memory.target == target.name:
        return directory.adopt(target)
    seen = target.look()
    if seen.head or seen.entries:
        raise DivergedError(
            f"the target already holds a workspace, and {site.directory} was not pulled from it",
            subject=target.name,
            remedy="pull it into an empty directory, or push to another tag",
        )
    return memory or Memory(target.name, directory.root.identity, 0, Union())


def _push(site: Site, directory: Directory, target: Target, memory: Memory, options: PushOptions) -> PushReport:
    look = survey(site, directory.root, memory.known, memory.clean_before)
    report = _report(target, look, options)
    _refuse_emptiness(site, look, options)
    moves = memory.target != target.name
    if options.dry_run:
        return report
    if not look.entries and options.attempt is None and not moves:
        if look.is_refreshed:
            directory.remember(_later(memory, directory, target, look, memory.union, {}, Version(0, "")))
        directory.forget_intent()
        return report
    bring_layers(site, target, memory)
    intent = directory.begin(memory.union, options, site.clock())
    entries = mark_whiteouts(look.entries, memory.known)
    packing = Packing(site, directory.root, look, entries, options.compression)
    packed, stored = packing.upload(target.store)
    record = directory.confirm(intent, _record(target, memory, options, intent, packed), site.clock())
    layer = describe(record, packed, stored)
    own = unite([memory.union.image(target.tag), Image((layer,), target.tag)])
    entry = replace(
        own.image(target.tag) if own.is_chain else merged_image(site, target, own),
        lane=options.lane,
        attempt=options.attempt,
        change=record.id,
        annotations=options.annotations,
    )
    report.id, report.digest = record.id, publish_entry(target, entry, record)
    report.layer_size = stored.size
    report.head_moved = move_head(site, target, entry)
    written = packing.written
    directory.remember(_later(memory, directory, target, look, own, written, record.version))
    directory.forget_intent()
    report.traffic = replace(target.store.traffic)
    return report


def _report(target: Target, look: Survey, options: PushOptions) -> PushReport:
    return PushReport(
        target=target.name,
        id=None,
        digest=None,
        dry_run=options.dry_run,
        paths=look.sifted.total,
        written=sum(type(entry) is Write for entry in look.entries),
        deleted=sum(type(entry) is Delete for entry in look.entries),
        touched=sum(type(entry) is Touch for entry in look.entries),
    )


def _refuse_emptiness(site: Site, look: Survey, options: PushOptions) -> None:
    if look.sifted.gone and not look.sifted.total and not options.allow_empty:
        raise DivergedError(
            "everything in the directory is gone",
            subject=site.directory,
            remedy="if that is meant, push with --allow-empty; else pull with --force",
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


def _later(
    memory: Memory,
    directory: Directory,
    target: Target,
    look: Survey,
    union: Union,
    written: dict[bytes, Write],
    version: Version,
) -> Memory:
    return memory.now(
        target=target.name,
        root=directory.root.identity,
        clean_before=look.clean_before,
        union=union,
        known=remembered(memory.known, look.sifted, look.nodes, written, version),
    )
