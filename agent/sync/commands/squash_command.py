"""Squash a target by hand: one layer for all that is settled, kept by a checkpoint and shown by head."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.image import Image
from agent.core.image.squash_policy import has_room, ids_in, settled
from agent.errors import UsageError
from agent.store.port import Traffic
from agent.sync.operation.options import Compression
from agent.sync.operation.workspace_context import Site
from agent.sync.publish.checkpoint import publish_checkpoint
from agent.sync.publish.head import everything, move_head, put_head, refuse_foreign
from agent.sync.publish.squash_layers import squashed
from agent.sync.remote.located_image import Located, this_platform
from agent.sync.remote.merged_image import merged_image
from agent.sync.remote.missing_target import existing
from agent.sync.remote.retry_vanished import begin_anew
from agent.sync.remote.target import Seen, Target


@dataclass(frozen=True, slots=True)
class SquashOptions:
    """How to squash.

    Attributes:
        after: lanes that are finished, so that no retry takes their changes back.
        compression: of the layer.
    """

    after: tuple[str, ...] = ()
    compression: Compression = "zstd"


@dataclass(slots=True)
class SquashReport:
    """What a squash did. `id` is None where there was nothing to squash; `layers` counts head's, base included."""

    target: str
    id: str | None
    covered: int = 0
    layers_before: int = 0
    layers: int = 0
    layer_size: int = 0
    checkpoint: str | None = None
    head_moved: bool = False
    traffic: Traffic = field(default_factory=Traffic)


def squash_target(site: Site, options: SquashOptions) -> SquashReport:
    """Put one layer in place of all layers of settled changes; the base stays as it is.

    Raises:
        UsageError: the workspace's records leave no room in a manifest.
        MissingTargetError: the target holds nothing.
        ConflictError: head is an image of someone else.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    target = Target(site.open_store, site.target, this_platform(None), site.sleep, site.limits)
    report = begin_anew(target, lambda: _squash(site, target, options))
    report.traffic = target.traffic
    return report


def _squash(site: Site, target: Target, options: SquashOptions) -> SquashReport:
    """Squash what there is now.

    Raises:
        MissingBlobError, VanishedError: a layer was pruned and collected meanwhile; look again.
    """
    seen = existing(target, options.after)
    whole = everything(seen)
    refuse_foreign(target, seen, whole)
    free = settled(whole, _finished(site, seen))
    report = SquashReport(target.name, None, layers_before=whole.layer_count, layers=whole.layer_count)
    if len(free.order) > 1:
        if not has_room(whole):
            raise UsageError(
                f"the records of {len(whole.ids):,} changes do not fit into one manifest",
                subject=target.name,
                remedy="push the workspace to a new target",
            )
        made = squashed(site, target, whole, free, ids_in(free.order), options.compression)
        checkpoint = publish_checkpoint(target, made, site.clock())
        (new,) = made.squashes.keys() - whole.squashes.keys() or {next(iter(made.squashes))}
        layer = made.squashes[new]
        report.id, report.layer_size, report.layers = new, layer.size, len(checkpoint.image.layers)
        report.covered = len(layer.squash.ids) if layer.squash else 0
        report.checkpoint = checkpoint.tag
        report.head_moved = _show(site, target, made, checkpoint.image, options)
    elif seen.is_ours and not _shows(seen.head, whole):
        # An earlier squash could not move head, or a late write put an older one back.
        report.head_moved = _show(site, target, whole, merged_image(target, whole)[0], options)
    return report


def _show(site: Site, target: Target, union: ChangeSet, image: Image, options: SquashOptions) -> bool:
    """Move head to the image of a squashed union; say whether it is there then, which the registry may refuse."""
    put_head(site, target, target.look(), image)
    return move_head(site, target, image, options.compression).complete and _shows(target.head(), union)


def _shows(head: Located | None, union: ChangeSet) -> bool:
    """Say whether head has the squashes of a union in place of what they cover."""
    return head is not None and union.squashes.keys() <= unite([head.image]).squashes.keys()


def _finished(site: Site, seen: Seen) -> set[str]:
    """Return the newest changes of the lanes that were named."""
    for lane, found in seen.pointers.items():
        if not found:
            site.progress.notice(f"lane {lane}: it published nothing, or was pruned")
    return set(seen.finished)
