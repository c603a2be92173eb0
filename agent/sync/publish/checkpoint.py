"""A checkpoint: an entry without an own change, holding a merge, so that older entries can go (design, "Prune").

It has an age: what it holds may go only when every list of tags shows it, however far that lags
(docs/decisions/checkpoints-age.md). Its witness, an image at a tag of its own, tells a time by which it was there.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from contextlib import suppress
from dataclasses import dataclass

from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.image import Image
from agent.core.image.manifest import MANIFEST
from agent.core.image.manifest_writer import format_image
from agent.core.spelling.digest import Digest
from agent.core.spelling.tags import checkpoint_tag, witness_tag
from agent.errors import IntegrityError, MissingBlobError, TagRefusedError
from agent.sync.remote.resolved_image import ResolvedImage
from agent.sync.remote.target import Target
from agent.sync.upload.merged_image import merged_image

TRIES = 4


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was read by its name.

    Attributes:
        image: what it holds, as head would.
        digest: of its own manifest, which is never head's.
        ids: of the changes in it.
        newest: the largest stamp of a change in it; ns since 1970.
    """

    tag: str
    image: Image
    digest: Digest
    ids: Set[str]
    newest: int

    def replaces(self, other: Checkpoint) -> bool:
        """Say whether the other is not needed beside it. Of two that hold the same, everybody chooses the same one."""
        return other.ids < self.ids or (other.ids == self.ids and _rank(self) < _rank(other))


def _rank(checkpoint: Checkpoint) -> tuple[int, str]:
    return len(checkpoint.image.layers), checkpoint.image.view


def as_checkpoint(target: Target, resolved: ResolvedImage) -> Checkpoint | None:
    """Return what was read at an entry's or checkpoint's tag, None if it is no checkpoint of this target."""
    image = resolved.image
    if image.target != target.tag or image.change != image.view or image.made is not None:
        return None
    held = image._replace(change=None)
    union = unite([held])
    return Checkpoint(checkpoint_tag(target.tag, image.view), held, resolved.digest, union.ids, union.newest_stamp)


def publish_checkpoint(target: Target, whole: ChangeSet) -> Checkpoint:
    """Store a checkpoint of `whole`, unless it is there, and read it again.

    Its id is its view: two prunes that hold the same layers publish the same tag.

    Raises:
        IntegrityError: another image is at its tag then.
        MissingBlobError: a layer is gone; read the target again.
        AuthError, UnavailableError: see `agent.errors`.
    """
    image, _ = merged_image(target, whole)
    tag = checkpoint_tag(target.tag, image.view)
    config, manifest = format_image(image._replace(change=image.view))
    for _ in range(TRIES):
        resolved = target.image(tag)
        found = as_checkpoint(target, resolved) if resolved else None
        if found is not None and found.tag == tag:
            return found
        target.put_config(config)
        target.store.put_manifest(tag, manifest, MANIFEST)
        # Another prune may have one that holds more, and delete this one as needless; its config may go, too.
        target.forget()
    raise IntegrityError(
        "the checkpoint that was just published does not read back",
        subject=f"{target.name} ({tag})",
        remedy="nothing was deleted; try again, and look at the registry's storage",
    )


def witnessed(target: Target, checkpoint: Checkpoint, clock: Callable[[], int], *, keep: bool = True) -> int:
    """Return a time by which a checkpoint was there, in ns since 1970: its witness tells it, else it is the present.

    The clock is read after the checkpoint was: a writer that hangs before its PUT makes nothing old. A clock that is
    behind makes a checkpoint no older than the newest change in it. A time in the future is replaced by the present.

    Args:
        clock: ns since 1970.
        keep: publish a witness if there is none that can be believed.
    """
    tag = witness_tag(target.tag, checkpoint.image.view)
    resolved = target.image(tag)
    now = max(clock(), checkpoint.newest)
    image = resolved.image if resolved else None
    if image and (image.target, image.change) == (target.tag, checkpoint.image.view):
        since = image.made
        if since is not None and since <= now:
            return since
    if keep:
        config, manifest = format_image(checkpoint.image._replace(change=checkpoint.image.view, made=now))
        # In a registry whose tags never move, the one that is there stays. Without a layer, the checkpoint is gone.
        with suppress(TagRefusedError, MissingBlobError):
            target.put_config(config)
            target.store.put_manifest(tag, manifest, MANIFEST)
    return now
