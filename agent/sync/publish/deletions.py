"""Deletes images and counts them: what a registry says is believed after a request shows it (design, "Prune")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from agent.core.spelling.digest import Digest
from agent.core.spelling.tags import pointers
from agent.errors import RefusedError
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.remote.target import Target

Kind: TypeAlias = Literal["entries", "checkpoints", "witnesses", "head", "mark"]
PAUSES = (0.5, 1.0, 2.0)
"""Seconds between requests for an image that a registry refused to delete: it may show one that it has deleted."""
REFUSALS = 3
"""How many deletions are refused before the rest is not tried, if none was done."""


class Unneeded(NamedTuple):
    """A manifest to delete, with the tags that are on it, counted as `kind`."""

    digest: Digest
    tags: tuple[str, ...]
    kind: Kind


class _Refused(NamedTuple):
    """An image that a registry did not delete."""

    image: Unneeded
    error: RefusedError


@dataclass(slots=True)
class Deletions:
    """Deletes images of one target.

    Attributes:
        dry_run: only count.
        gone: how many images of each kind were deleted, or would be.
        refused: how many are still there. `refusal` says why the first of them is.
    """

    context: WorkspaceContext
    target: Target
    dry_run: bool = False
    gone: Counter[Kind] = field(init=False, default_factory=Counter)
    refused: int = field(init=False, default=0)
    refusal: str | None = field(init=False, default=None)
    _digests: set[Digest] = field(init=False, default_factory=set)

    def run(self, unneeded: Iterable[Unneeded]) -> None:
        """Delete images. Where the registry deletes none of the first few, the rest is not tried.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
        """
        refused: list[_Refused] = []
        by_tag: set[Digest] = set()
        for image in unneeded:
            if image.digest in self._digests:
                continue
            if self.dry_run:
                self._count(image)
                continue
            try:
                deleted = self.target.store.delete_manifest(image.digest, image.tags)
            except RefusedError as error:
                refused.append(_Refused(image, error))
                if len(refused) == REFUSALS and not self._digests:
                    refused = self._still_there(refused)
                    if not self._digests:
                        break
                continue
            if deleted.found:
                self._count(image)
            if deleted.by_tag:
                by_tag.add(image.digest)
        else:
            refused = self._still_there(refused)
        if by_tag:
            self._delete_pointers(by_tag)
        if refused:
            self.refused += len(refused)
            self.refusal = self.refusal or refused[0].error.what

    def _count(self, image: Unneeded) -> None:
        self._digests.add(image.digest)
        self.gone[image.kind] += 1

    def _still_there(self, refused: list[_Refused]) -> list[_Refused]:
        """Return what is there after a while, and count the rest: a registry may still show what it has deleted."""
        for pause in (0.0, *PAUSES):
            if not refused:
                break
            self.context.sleep(pause)
            left = []
            for each in refused:
                if self._is_there(each.image):
                    left.append(each)
                else:
                    self._count(each.image)
            refused = left
        return refused

    def _is_there(self, image: Unneeded) -> bool:
        found = (self.target.store.get_manifest(tag) for tag in image.tags)
        return any(manifest is not None and manifest.digest == image.digest for manifest in found)

    def _delete_pointers(self, digests: set[Digest]) -> None:
        """Delete the pointers at entries that are gone, in a registry whose tags outlive what they are on."""
        store = self.target.store
        for tag in pointers(self.target.tag, self.target.tags()):
            manifest = store.get_manifest(tag)
            if manifest is not None and manifest.digest in digests:
                store.delete_manifest(manifest.digest, (tag,))
