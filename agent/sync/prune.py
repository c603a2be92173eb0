"""Delete entries that a checkpoint makes needless, or a whole workspace (design section 6, prune)."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.core.digest import Digest
from agent.core.image import Image
from agent.core.tags import checkpoint_ids, entry_ids, mark_tag, pointers
from agent.core.union import Union, unite
from agent.errors import MissingBlobError
from agent.store.port import Traffic
from agent.sync.checkpoint import TRIES, Checkpoint, publish_checkpoint
from agent.sync.head import everything
from agent.sync.located import Located, this_platform
from agent.sync.publish import put_mark
from agent.sync.site import Site
from agent.sync.squash import HEAD_LAYERS, compact
from agent.sync.target import Target

HOUR = 3600 * 10**9


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """What to prune.

    Attributes:
        older_than: ns that must have passed since a change's stamp before its entry goes.
        dry_run: say what would be deleted; publish and delete nothing.
        all: delete the whole workspace: entries, pointers, checkpoints, head.
    """

    older_than: int = HOUR
    dry_run: bool = False
    all: bool = False


@dataclass(slots=True)
class PruneReport:
    """What a prune did: how many tags were deleted, or would be. `kept` counts entries that are still needed or young.

    `refused` counts what the registry did not delete.
    """

    target: str
    dry_run: bool = False
    checkpoint: str | None = None
    entries: int = 0
    checkpoints: int = 0
    head: bool = False
    kept: int = 0
    refused: int = 0
    traffic: Traffic = field(default_factory=Traffic)


def prune(site: Site, options: PruneOptions) -> PruneReport:
    """Publish a checkpoint, then delete each entry that holds nothing else and is old enough.

    Raises:
        AuthError, UnavailableError, IntegrityError: see `agent.errors`. What was deleted by then is in the checkpoint.
    """
    target = Target(site.open_store, site.target, this_platform(None), site.sleep, site.limits)
    report = PruneReport(target.name, options.dry_run)
    if options.all:
        _prune_all(site, target, report)
    else:
        _prune(site, target, options, report)
    if report.refused:
        site.progress.notice(f"{target.name}: the registry does not delete; it may have to be allowed there")
    report.traffic = target.traffic
    return report


def _prune(site: Site, target: Target, options: PruneOptions, report: PruneReport) -> None:
    whole = everything(target.look())
    if not whole.order:
        return
    checkpoint = None if options.dry_run else _checkpoint(site, target)
    if checkpoint:
        put_mark(site, target, checkpoint.image)
    held = checkpoint.union if checkpoint else whole
    report.checkpoint = checkpoint.tag if checkpoint else None
    before = site.clock() - options.older_than
    tags = target.tags()
    short = {change[:26]: change for change in held.ids}
    for start, tag in sorted(entry_ids(target.tag, tags).items()):
        record = held.records.get(short.get(start, ""))
        located = target.image(tag) if record is not None and record.stamp <= before else None
        if located is None or not _is_within(target, located, start, held):
            report.kept += 1
        else:
            report.entries += _delete(target, located.digest, report)
    for start, tag in sorted(checkpoint_ids(target.tag, tags).items()):
        located = target.image(tag) if checkpoint is None or tag != checkpoint.tag else None
        if located and _is_within(target, located, start, held) and _is_older(located, held, checkpoint, before):
            report.checkpoints += _delete(target, located.digest, report)


def _checkpoint(site: Site, target: Target) -> Checkpoint:
    """Publish a checkpoint of all that there is. Where a layer is gone by then, another prune was at work: look again.

    Raises:
        MissingBlobError: a layer is gone for good.
    """
    for tries in range(TRIES):
        whole = compact(site, target, everything(target.look()), HEAD_LAYERS, "zstd")
        try:
            return publish_checkpoint(target, whole)
        except MissingBlobError:
            if tries + 1 == TRIES:
                raise
            target.forget()
    raise AssertionError("unreachable")


def _is_within(target: Target, located: Located, start: str, held: Union) -> bool:
    """Say whether an entry or checkpoint is this target's, and every change in it is held."""
    image = located.image
    return image.target == target.tag and (image.change or "")[:26] == start and unite([image]).ids <= held.ids


def _is_older(located: Located, held: Union, checkpoint: Checkpoint | None, before: int) -> bool:
    """Say whether a checkpoint may go: of two that hold the same, one stays, whoever else prunes at this time."""
    union = unite([located.image])
    if union.newest_stamp > before:
        return False
    if union.ids < held.ids:
        return True
    # A dry run makes none; what it would make is most often there already.
    return checkpoint is not None and _rank(located.image) > _rank(checkpoint.image)


def _rank(image: Image) -> tuple[int, str]:
    return len(image.layers), image.view


def _delete(target: Target, digest: Digest, report: PruneReport) -> int:
    """Delete a manifest with all its tags, and return 1 if that was done, or would be."""
    if report.dry_run:
        return 1
    if target.store.delete_manifest(digest):
        return 1
    if target.image(digest) is not None:
        report.refused += 1
    return 0


def _prune_all(site: Site, target: Target, report: PruneReport) -> None:
    """Delete everything, head last: whoever is stopped on the way leaves a workspace that can be read."""
    tags = target.tags()
    entries, checkpoints = entry_ids(target.tag, tags), checkpoint_ids(target.tag, tags)
    done: set[Digest] = set()
    for tag in (*entries.values(), *pointers(target.tag, tags), *checkpoints.values()):
        located = target.image(tag)
        if located is None or located.image.target != target.tag or located.digest in done:
            continue
        done.add(located.digest)
        deleted = _delete(target, located.digest, report)
        if tag in checkpoints.values():
            report.checkpoints += deleted
        else:
            report.entries += deleted
    mark = target.image(mark_tag(target.tag))
    if mark:
        _delete(target, mark.digest, report)
    head = target.head()
    if head and head.image.target == target.tag:
        report.head = bool(_delete(target, head.digest, report))
    elif head:
        site.progress.notice(f"{target.name}@{head.digest}: an image of someone else, which is left there")
