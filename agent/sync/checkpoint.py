"""A checkpoint: an entry without an own change, holding a merge, so that older entries can go (design section 6)."""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.digest import Digest
from agent.core.image import Image
from agent.core.manifest import MANIFEST, format_image
from agent.core.tags import checkpoint_tag
from agent.core.union import Union, unite
from agent.errors import IntegrityError
from agent.sync.merging import merged_image
from agent.sync.target import Target

TRIES = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was published and read again by its name.

    Attributes:
        image: what it holds, as head would.
        digest: of its own manifest, which is never head's.
    """

    tag: str
    image: Image
    digest: Digest

    @property
    def union(self) -> Union:
        """The changes that it holds."""
        return unite([self.image])


def publish_checkpoint(target: Target, whole: Union) -> Checkpoint:
    """Store a checkpoint of `whole`. Its id is its view: who holds the same layers publishes the same tag.

    Raises:
        IntegrityError: what stands at its tag then is something else.
        MissingBlobError: a layer is gone; look again.
        AuthError, UnavailableError: see `agent.errors`.
    """
    image, _ = merged_image(target, whole)
    view = image.view
    tag = checkpoint_tag(target.tag, view)
    config, manifest = format_image(image._replace(change=view))
    there = None
    for _ in range(TRIES):
        target.put_config(config)
        target.store.put_manifest(tag, manifest, MANIFEST)
        there = target.image(tag)
        if there is not None:
            break
        # Another prune put a checkpoint that holds more, and deleted this one as needless; its config may be gone, too.
        target.forget()
    if there is None or there.image.view != view or there.image.target != target.tag:
        raise IntegrityError(
            "the checkpoint that was just published does not read back",
            subject=f"{target.name} ({tag})",
            remedy="nothing was deleted; try again, and look at the registry's storage",
        )
    return Checkpoint(tag, image, there.digest)
