"""A checkpoint: an entry without an own change, holding a merge, so that older entries can go (design, "Protocol").

It has an age: what it holds may go only when every list of tags shows it, however far that lags
(docs/decisions/checkpoints-age.md).
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.image import Image
from agent.core.image.manifest import MANIFEST
from agent.core.image.manifest_writer import format_image
from agent.core.spelling.digest import Digest
from agent.core.spelling.tags import checkpoint_tag
from agent.errors import IntegrityError
from agent.sync.remote.located_image import Located
from agent.sync.remote.merged_image import merged_image
from agent.sync.remote.target import Target

TRIES = 4


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was read by its name.

    Attributes:
        image: what it holds, as head would.
        digest: of its own manifest, which is never head's.
        made: when it was published, or the newest change in it, if that says a later time; ns since 1970.
        ids: of the changes in it.
    """

    tag: str
    image: Image
    digest: Digest
    made: int
    ids: Set[str]

    def replaces(self, other: Checkpoint) -> bool:
        """Say whether the other is not needed beside it. Of two that hold the same, everybody chooses the same one."""
        return other.ids < self.ids or (other.ids == self.ids and _rank(self) < _rank(other))


def _rank(checkpoint: Checkpoint) -> tuple[int, str]:
    return len(checkpoint.image.layers), checkpoint.image.view


def as_checkpoint(target: Target, located: Located) -> Checkpoint | None:
    """Return what was read at an entry's or checkpoint's tag, None if it is no checkpoint of this target."""
    image = located.image
    if image.target != target.tag or image.change != image.view or image.made is None:
        return None
    tag, held = checkpoint_tag(target.tag, image.view), image._replace(change=None, made=None)
    return Checkpoint(tag, held, located.digest, image.made, unite([held]).ids)


def publish_checkpoint(target: Target, whole: ChangeSet, now: int) -> Checkpoint:
    """Store a checkpoint of `whole`, unless it is there, and read it again.

    Its id is its view: who holds the same layers publishes the same tag, and the first one says when.

    Args:
        now: ns since 1970. A clock that is behind makes it no older than what is in it.

    Raises:
        IntegrityError: what stands at its tag then is something else.
        MissingBlobError: a layer is gone; look again.
        AuthError, UnavailableError: see `agent.errors`.
    """
    image, _ = merged_image(target, whole)
    made = max(now, whole.newest_stamp)
    tag = checkpoint_tag(target.tag, image.view)
    config, manifest = format_image(image._replace(change=image.view, made=made))
    for _ in range(TRIES):
        located = target.image(tag)
        found = as_checkpoint(target, located) if located else None
        if found is not None and found.tag == tag and found.made <= made:
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
