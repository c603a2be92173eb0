"""A squash by hand: one layer for all settled changes, in a checkpoint and in head (design, "Squashes")."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.image import Image
from agent.core.image.squash_policy import has_room, ids_in, settled
from agent.errors import UsageError
from agent.store.port import Traffic
from agent.sync.operation.options import Compression
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.publish.checkpoint import publish_checkpoint, witnessed
from agent.sync.publish.head import all_changes, move_head, put_head, refuse_foreign
from agent.sync.remote.missing_target import existing
from agent.sync.remote.resolved_image import ResolvedImage, this_platform
from agent.sync.remote.retry_vanished import retry_vanished
from agent.sync.remote.target import Target
from agent.sync.remote.target_snapshot import TargetSnapshot
from agent.sync.upload.merged_image import merged_image
from agent.sync.upload.squash_layers import squash_changes


@dataclass(frozen=True, slots=True)
class SquashOptions:
    """How to squash.

    Attributes:
        after: lanes that are finished, so that no retry supersedes their changes.
        compression: of the layer.
    """

    after: tuple[str, ...] = ()
    compression: Compression = "zstd"


@dataclass(slots=True)
class SquashReport:
    """The result of a squash. `id` is None if there was nothing to squash; `layers` counts head's, base included."""

    target: str
    id: str | None
    covered: int = 0
    layers_before: int = 0
    layers: int = 0
    layer_size: int = 0
    checkpoint: str | None = None
    head_moved: bool = False
    traffic: Traffic = field(default_factory=Traffic)


def squash_target(context: WorkspaceContext, options: SquashOptions) -> SquashReport:
    """Put one layer in place of all layers of settled changes; the base stays as it is.

    Raises:
        UsageError: the workspace's records leave no room in a manifest.
        MissingTargetError: the target holds nothing.
        ConflictError: head is an image of someone else.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    target = Target(context.open_store, context.target, this_platform(None), context.sleep, context.limits)
    report = retry_vanished(target, lambda: _squash(context, target, options))
    report.traffic = target.traffic
    return report


def _squash(context: WorkspaceContext, target: Target, options: SquashOptions) -> SquashReport:
    """Squash the changes that the target has now.

    Raises:
        MissingBlobError, VanishedError: a layer was pruned and collected meanwhile; read the target again.
    """
    snapshot = existing(target, options.after)
    whole = all_changes(snapshot)
    refuse_foreign(target, snapshot, whole)
    free = settled(whole, _finished(context, snapshot))
    report = SquashReport(target.name, None, layers_before=whole.layer_count, layers=whole.layer_count)
    if len(free.order) > 1:
        if not has_room(whole):
            raise UsageError(
                f"the records of {len(whole.ids):,} changes do not fit into one manifest",
                subject=target.name,
                remedy="push the workspace to a new target",
            )
        made = squash_changes(context, target, whole, free, ids_in(free.order), options.compression)
        checkpoint = publish_checkpoint(target, made)
        witnessed(target, checkpoint, context.clock)
        (new,) = made.squashes.keys() - whole.squashes.keys() or {next(iter(made.squashes))}
        layer = made.squashes[new]
        report.id, report.layer_size, report.layers = new, layer.size, len(checkpoint.image.layers)
        report.covered = len(layer.squash.ids) if layer.squash else 0
        report.checkpoint = checkpoint.tag
        report.head_moved = _move_head(context, target, made, checkpoint.image, options)
    elif snapshot.is_ours and not _shows(snapshot.head, whole):
        # An earlier squash could not move head, or a late write replaced head by an older one.
        report.head_moved = _move_head(context, target, whole, merged_image(target, whole)[0], options)
    return report


def _move_head(
    context: WorkspaceContext, target: Target, union: ChangeSet, image: Image, options: SquashOptions
) -> bool:
    """Move head to the image of a squashed union; say whether it is there: the registry may refuse."""
    put_head(context, target, target.read_snapshot(), image)
    return move_head(context, target, image, options.compression).complete and _shows(target.head(), union)


def _shows(head: ResolvedImage | None, union: ChangeSet) -> bool:
    """Say whether head has the squashes of a union in place of what they cover."""
    return head is not None and union.squashes.keys() <= unite([head.image]).squashes.keys()


def _finished(context: WorkspaceContext, snapshot: TargetSnapshot) -> set[str]:
    """Return the newest changes of the named lanes."""
    for lane, found in snapshot.pointers.items():
        if not found:
            context.progress.notice(f"lane {lane}: it published nothing, or was pruned")
    return set(snapshot.finished)
