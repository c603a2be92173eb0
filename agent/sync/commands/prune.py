"""Delete entries that a checkpoint makes needless, or a whole workspace (design, "Prune")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from agent.core.image.change_set import ChangeSet, unite
from agent.core.model.record import Record
from agent.core.spelling.digest import Digest
from agent.core.spelling.tags import checkpoint_ids, entry_ids, entry_tag, mark_tag, pointers
from agent.errors import RefusedError
from agent.store.network.refusal import TO_DELETE
from agent.store.port import Traffic
from agent.sync.operation.workspace_context import Site
from agent.sync.publish.checkpoint import Checkpoint, as_checkpoint, publish_checkpoint
from agent.sync.publish.head import everything
from agent.sync.publish.publish_entry import put_mark
from agent.sync.publish.squash_layers import HEAD_LAYERS, compact
from agent.sync.remote.located_image import this_platform
from agent.sync.remote.missing_target import existing, missing
from agent.sync.remote.retry_vanished import begin_anew
from agent.sync.remote.target import Target

HOUR = 3600 * 10**9
PAUSES = (0.5, 1.0, 2.0)
"""Seconds between looks at what a registry says it deleted, and shows."""
PATIENCE = 3
"""How many deletions are refused before the rest is not tried, if none was done."""


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """What to prune.

    Attributes:
        older_than: the grace time: ns that must have passed since a checkpoint was published before what it holds goes.
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


def prune(site: Site, options: PruneOptions) -> PruneReport:
    """Delete what checkpoints hold that are old enough, and publish one of what no checkpoint holds yet.

    Thus a prune deletes what the one before it made needless (docs/decisions/checkpoints-age.md).

    Raises:
        MissingTargetError: the target holds nothing.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`. What was deleted by then is in a checkpoint.
    """
    target = Target(site.open_store, site.target, this_platform(None), site.sleep, site.limits)
    report = PruneReport(target.name, options.dry_run)
    if options.all:
        _prune_all(site, target, report)
    else:
        _prune(site, target, options, report)
    report.traffic = target.traffic
    return report


def _prune(site: Site, target: Target, options: PruneOptions, report: PruneReport) -> None:
    seen = existing(target)
    whole = everything(seen)
    if not whole.order:
        return
    now = site.clock()
    checkpoints = [found for located in seen.entries if (found := as_checkpoint(target, located))]
    if checkpoints and not options.dry_run:
        put_mark(site, target, max(checkpoints, key=lambda each: each.made).image)
    deletions = _Deletions(site, target, report)
    deletions.run(_needless(target, checkpoints, now - options.older_than, report))
    if report.refused:
        return  # Where nothing is deleted, what is added stays for ever.
    latest = max(now, whole.newest_stamp)
    holders = [each for each in checkpoints if whole.ids <= each.ids and each.made <= latest]
    newest = min(holders, key=lambda each: each.made) if holders else _checkpoint(site, target, whole, options, now)
    before = site.clock() - options.older_than
    if not holders and newest.made <= before:
        deletions.run(_needless(target, [*checkpoints, newest], before, report))
    report.checkpoint = newest.tag or None
    report.due = newest.made + options.older_than if report.kept else None


def _checkpoint(site: Site, target: Target, whole: ChangeSet, options: PruneOptions, now: int) -> Checkpoint:
    """Publish a checkpoint of all that there is, or say what it would be."""
    if options.dry_run:
        return Checkpoint("", whole.image(target.tag), Digest(""), now, whole.ids)

    def publish() -> Checkpoint:
        compacted = compact(site, target, everything(target.look()), HEAD_LAYERS, "zstd")
        made = publish_checkpoint(target, compacted, site.clock())
        put_mark(site, target, made.image)
        return made

    return begin_anew(target, publish)


class _Doomed(NamedTuple):
    """A manifest to delete, with the tags that are on it, counted as `kind`."""

    digest: Digest
    tags: tuple[str, ...]
    kind: Literal["entries", "checkpoints", "head", "mark"]


def _needless(target: Target, checkpoints: Iterable[Checkpoint], before: int, report: PruneReport) -> Iterator[_Doomed]:
    """Yield each entry and checkpoint of which a checkpoint that was made by `before` holds everything."""
    old = [checkpoint for checkpoint in checkpoints if checkpoint.made <= before]
    held = {change[:26] for checkpoint in old for change in checkpoint.ids}
    report.kept = 0
    for start, tag in sorted(entry_ids(target.tag, target.tags()).items()):
        located = target.image(tag) if start in held else None
        image = located.image if located else None
        if located and image and image.target == target.tag and (image.change or "")[:26] == start:
            ids = unite([image]).ids
            if any(ids <= checkpoint.ids for checkpoint in old):
                yield _Doomed(located.digest, (tag,), "entries")
                continue
        # One that is gone by now was deleted by another prune.
        report.kept += located is not None or start not in held
    for checkpoint in checkpoints:
        if any(other.replaces(checkpoint) for other in old):
            yield _Doomed(checkpoint.digest, (checkpoint.tag,), "checkpoints")


class _Refused(NamedTuple):
    """What a registry did not delete."""

    doomed: _Doomed
    error: RefusedError


class _Deletions:
    """Deletes, and counts in a report what is gone: what a registry says is believed after a look."""

    def __init__(self, site: Site, target: Target, report: PruneReport) -> None:
        self._site = site
        self._target = target
        self._report = report
        self._gone: set[Digest] = set()

    def run(self, doomed: Iterable[_Doomed]) -> None:
        """Delete images. Where the registry deletes none of the first few, the rest is not tried."""
        refused: list[_Refused] = []
        by_tag: set[Digest] = set()
        for one in doomed:
            if one.digest in self._gone:
                continue
            if self._report.dry_run:
                self._count(one)
                continue
            try:
                deleted = self._target.store.delete_manifest(one.digest, one.tags)
            except RefusedError as error:
                refused.append(_Refused(one, error))
                if len(refused) == PATIENCE and not self._gone:
                    refused = self._still_there(refused)
                    if not self._gone:
                        break
                continue
            if deleted.found:
                self._count(one)
            if deleted.by_tag:
                by_tag.add(one.digest)
        else:
            refused = self._still_there(refused)
        if by_tag:
            self._delete_pointers(by_tag)
        if refused:
            self._report.refused += len(refused)
            self._report.refusal = self._report.refusal or refused[0].error.what

    def _count(self, one: _Doomed) -> None:
        self._gone.add(one.digest)
        match one.kind:
            case "entries":
                self._report.entries += 1
            case "checkpoints":
                self._report.checkpoints += 1
            case "head":
                self._report.head = True
            case "mark":
                pass  # no part of the workspace

    def _still_there(self, refused: list[_Refused]) -> list[_Refused]:
        """Return what is there after a while, and count the rest: a registry may still show what it has deleted."""
        for pause in (0.0, *PAUSES):
            if not refused:
                break
            self._site.sleep(pause)
            left = []
            for each in refused:
                if self._stands(each.doomed):
                    left.append(each)
                else:
                    self._count(each.doomed)
            refused = left
        return refused

    def _stands(self, one: _Doomed) -> bool:
        found = (self._target.store.get_manifest(tag) for tag in one.tags)
        return any(manifest is not None and manifest.digest == one.digest for manifest in found)

    def _delete_pointers(self, digests: set[Digest]) -> None:
        """Delete the pointers at entries that are gone, in a registry whose tags outlive what they are on."""
        store = self._target.store
        for tag in pointers(self._target.tag, self._target.tags()):
            manifest = store.get_manifest(tag)
            if manifest is not None and manifest.digest in digests:
                store.delete_manifest(manifest.digest, (tag,))


def _prune_all(site: Site, target: Target, report: PruneReport) -> None:
    """Delete everything, head last: whoever is stopped on the way leaves a workspace that can be read."""
    head = target.head()
    is_ours = head is not None and head.image.target == target.tag
    tags: dict[Digest, list[str]] = {}
    for tag, digest in _tags_of(target, head.image.records if head and is_ours else {}):
        tags.setdefault(digest, []).append(tag)
    if head is None and not tags:
        raise missing(target)
    checkpoints = set(checkpoint_ids(target.tag, [tag for on in tags.values() for tag in on]).values())
    doomed = [
        _Doomed(digest, tuple(on), "checkpoints" if checkpoints & set(on) else "entries") for digest, on in tags.items()
    ]
    doomed.sort(key=lambda each: each.kind, reverse=True)
    if head and is_ours:
        doomed.append(_Doomed(head.digest, (target.tag,), "head"))
    elif head:
        site.progress.notice(f"{target.name}@{head.digest}: an image of someone else, which is left there")
    mark = target.store.get_manifest(mark_tag(target.tag))
    if mark is not None:
        doomed.append(_Doomed(mark.digest, (mark_tag(target.tag),), "mark"))
    _Deletions(site, target, report).run(doomed)


def _tags_of(target: Target, known: Mapping[str, Record]) -> Iterator[tuple[str, Digest]]:
    """Yield each tag that is derived from the target's, with what it is on.

    Args:
        known: the changes that head holds. Where the list of tags lags, their entries are found by name.
    """
    listed = target.tags()
    checkpoints, entries = checkpoint_ids(target.tag, listed), entry_ids(target.tag, listed)
    records, held = dict(known), set[str]()
    for tag in (*entries.values(), *pointers(target.tag, listed), *checkpoints.values()):
        located = target.image(tag)
        if located is not None and located.image.target == target.tag:
            yield tag, located.digest
            records |= located.image.records
            held.update(located.image.records if tag in checkpoints.values() else ())
    for change, record in records.items():
        if change[:26] not in entries and change not in held:
            tag = entry_tag(target.tag, record.lane, change)
            located = target.image(tag)
            if located is not None and located.image.target == target.tag:
                yield tag, located.digest
