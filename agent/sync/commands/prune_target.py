"""Delete entries that a checkpoint makes needless, or a whole workspace (design, "Prune")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.core.image.change_set import ChangeSet, unite
from agent.core.model.record import Record
from agent.core.spelling.digest import Digest
from agent.core.spelling.tags import checkpoint_ids, entry_ids, entry_tag, mark_tag, pointers, witness_ids, witness_tag
from agent.errors import RefusedError
from agent.store.port import Traffic
from agent.store.registry.refusals import TO_DELETE
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.publish.checkpoint import Checkpoint, as_checkpoint, publish_checkpoint, witnessed
from agent.sync.publish.deletions import Deletions, Unneeded
from agent.sync.publish.head import all_changes
from agent.sync.publish.publish_entry import put_mark
from agent.sync.remote.missing_target import existing, missing
from agent.sync.remote.resolved_image import this_platform
from agent.sync.remote.retry_vanished import retry_vanished
from agent.sync.remote.target import Target
from agent.sync.upload.squash_layers import HEAD_LAYERS, limit_layers

HOUR = 3600 * 10**9


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """What to prune.

    Attributes:
        older_than: the grace time, ns: how old a checkpoint must be before a prune deletes what it covers.
        dry_run: say what would be deleted; publish and delete nothing.
        all: delete the whole workspace at once: entries, pointers, checkpoints, head.
    """

    older_than: int = HOUR
    dry_run: bool = False
    all: bool = False


@dataclass(slots=True)
class PruneReport:
    """What a prune did: how many tags were deleted, or would be. `kept` counts entries that are still needed or young.

    `due` says from when on (ns since 1970) a prune deletes what was kept. `refused` counts what is still there although
    it should have gone, and `refusal` says why the first of it is.
    """

    target: str
    dry_run: bool = False
    checkpoint: str | None = None
    entries: int = 0
    checkpoints: int = 0
    head: bool = False
    kept: int = 0
    due: int | None = None
    refused: int = 0
    refusal: str | None = None
    traffic: Traffic = field(default_factory=Traffic)

    def check(self) -> None:
        """Raise RefusedError if something is still there that should have gone."""
        if self.refused:
            images = "an image that should have gone is" if self.refused == 1 else "images that should have gone are"
            raise RefusedError(
                f"{self.refused:,} {images} still there ({self.refusal})", subject=self.target, remedy=TO_DELETE
            )


def prune(context: WorkspaceContext, options: PruneOptions) -> PruneReport:
    """Delete the entries that old checkpoints cover, and publish a checkpoint of the rest.

    So a prune deletes the entries that the prune before it covered (docs/decisions/checkpoints-age.md).

    Raises:
        MissingTargetError: the target holds nothing.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`. What was deleted by then is in a checkpoint.
    """
    target = Target(context.open_store, context.target, this_platform(None), context.sleep, context.limits)
    report = PruneReport(target.name, options.dry_run)
    deletions = Deletions(context, target, options.dry_run)
    if options.all:
        deletions.run(_everything(context, target))
    else:
        _prune(context, target, options, report, deletions)
    report.entries, report.checkpoints = deletions.gone["entries"], deletions.gone["checkpoints"]
    report.head = deletions.gone["head"] > 0
    report.refused, report.refusal = deletions.refused, deletions.refusal
    report.traffic = target.traffic
    return report


def _prune(
    context: WorkspaceContext, target: Target, options: PruneOptions, report: PruneReport, deletions: Deletions
) -> None:
    snapshot = existing(target)
    whole = all_changes(snapshot)
    if not whole.order:
        return
    checkpoints = [found for resolved in snapshot.entries if (found := as_checkpoint(target, resolved))]
    if checkpoints and not options.dry_run:
        # The mark names layers, too: those of a checkpoint that stays.
        lasting = [each for each in checkpoints if not any(other.replaces(each) for other in checkpoints)]
        put_mark(context, target, lasting[0].image)
    aged = [_aged(context, target, checkpoint, options) for checkpoint in checkpoints]
    before = context.clock() - options.older_than
    deletions.run(_needless(target, aged, before, report))
    if deletions.refused:
        return  # Where nothing is deleted, what is added stays for ever.
    holders = [each for each in aged if whole.ids <= each.checkpoint.ids]
    newest = min(holders, key=lambda each: each.since) if holders else _publish(context, target, whole, options)
    before = context.clock() - options.older_than
    if not holders and newest.since <= before:
        deletions.run(_needless(target, [*aged, newest], before, report))
    report.checkpoint = newest.checkpoint.tag or None
    report.due = newest.since + options.older_than if report.kept else None


class _Aged(NamedTuple):
    """A checkpoint, and a time by which it was there; ns since 1970."""

    checkpoint: Checkpoint
    since: int


def _aged(context: WorkspaceContext, target: Target, checkpoint: Checkpoint, options: PruneOptions) -> _Aged:
    return _Aged(checkpoint, witnessed(target, checkpoint, context.clock, keep=not options.dry_run))


def _publish(context: WorkspaceContext, target: Target, whole: ChangeSet, options: PruneOptions) -> _Aged:
    """Publish a checkpoint of all that there is, or say what it would be."""
    if options.dry_run:
        planned = Checkpoint("", whole.image(target.tag), Digest(""), whole.ids, whole.newest_stamp)
        return _Aged(planned, max(context.clock(), whole.newest_stamp))

    def publish() -> Checkpoint:
        compacted = limit_layers(context, target, all_changes(target.read_snapshot()), HEAD_LAYERS, "zstd")
        published = publish_checkpoint(target, compacted)
        put_mark(context, target, published.image)
        return published

    return _aged(context, target, retry_vanished(target, publish), options)


def _needless(target: Target, checkpoints: Iterable[_Aged], before: int, report: PruneReport) -> Iterator[Unneeded]:
    """Yield each entry and checkpoint of which a checkpoint that was there by `before` holds everything."""
    old = [each.checkpoint for each in checkpoints if each.since <= before]
    held = {change[:26] for checkpoint in old for change in checkpoint.ids}
    listed = target.tags()
    report.kept = 0
    for start, tag in sorted(entry_ids(target.tag, listed).items()):
        resolved = target.image(tag) if start in held else None
        image = resolved.image if resolved else None
        if resolved and image and image.target == target.tag and (image.change or "")[:26] == start:
            ids = unite([image]).ids
            if any(ids <= checkpoint.ids for checkpoint in old):
                yield Unneeded(resolved.digest, (tag,), "entries")
                continue
        # One that is gone by now was deleted by another prune.
        report.kept += resolved is not None or start not in held
    replaced = [each.checkpoint for each in checkpoints if any(other.replaces(each.checkpoint) for other in old)]
    for checkpoint in replaced:
        yield Unneeded(checkpoint.digest, (checkpoint.tag,), "checkpoints")
    left = checkpoint_ids(target.tag, listed).keys() - {checkpoint.image.view[:26] for checkpoint in replaced}
    yield from _witnesses(target, [tag for short, tag in witness_ids(target.tag, listed).items() if short not in left])


def _witnesses(target: Target, tags: Iterable[str]) -> Iterator[Unneeded]:
    """Yield the witnesses of checkpoints that are gone.

    One that goes too early, because a list lags, does no harm: the next prune publishes another.
    """
    for tag in tags:
        resolved = target.image(tag)
        if resolved is not None and resolved.image.target == target.tag:
            yield Unneeded(resolved.digest, (tag,), "witnesses")


def _everything(context: WorkspaceContext, target: Target) -> list[Unneeded]:
    """Return each image of a workspace, head near the end: a prune that is stopped leaves one that can be read.

    Raises:
        MissingTargetError: there is none.
    """
    head = target.head()
    is_ours = head is not None and head.image.target == target.tag
    tags: dict[Digest, list[str]] = {}
    listed = target.tags()
    for tag, digest in _tags_of(target, listed, head.image.records if head and is_ours else {}):
        tags.setdefault(digest, []).append(tag)
    if head is None and not tags:
        raise missing(target)
    named = checkpoint_ids(target.tag, [tag for on in tags.values() for tag in on])
    checkpoints = set(named.values())
    found = [
        Unneeded(digest, tuple(on), "checkpoints" if checkpoints & set(on) else "entries")
        for digest, on in tags.items()
    ]
    found.sort(key=lambda each: each.kind, reverse=True)
    # A list that lags may show a checkpoint and not its witness.
    witnesses = witness_ids(target.tag, listed).values()
    found.extend(_witnesses(target, sorted({*witnesses, *(witness_tag(target.tag, short) for short in named)})))
    if head and is_ours:
        found.append(Unneeded(head.digest, (target.tag,), "head"))
    elif head:
        context.progress.notice(f"{target.name}@{head.digest}: an image of someone else, which is left there")
    mark = target.store.get_manifest(mark_tag(target.tag))
    if mark is not None:
        found.append(Unneeded(mark.digest, (mark_tag(target.tag),), "mark"))
    return found


def _tags_of(target: Target, listed: list[str], known: Mapping[str, Record]) -> Iterator[tuple[str, Digest]]:
    """Yield each tag that is derived from the target's, with what it is on.

    Args:
        listed: the tags of the repository, as a list shows them.
        known: the changes that head holds. Where the list of tags lags, their entries are found by name.
    """
    checkpoints, entries = checkpoint_ids(target.tag, listed), entry_ids(target.tag, listed)
    records, held = dict(known), set[str]()
    for tag in (*entries.values(), *pointers(target.tag, listed), *checkpoints.values()):
        resolved = target.image(tag)
        if resolved is not None and resolved.image.target == target.tag:
            yield tag, resolved.digest
            records |= resolved.image.records
            held.update(resolved.image.records if tag in checkpoints.values() else ())
    for change, record in records.items():
        if change[:26] not in entries and change not in held:
            tag = entry_tag(target.tag, record.lane, change)
            resolved = target.image(tag)
            if resolved is not None and resolved.image.target == target.tag:
                yield tag, resolved.digest
