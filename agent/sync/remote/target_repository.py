"""The repository of one target: its images, its tags, and the layers of its changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from agent.archive.stream.limits import DEFAULT_LIMITS, ArchiveLimits
from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.image import Platform
from agent.core.image.manifest import damaged
from agent.core.model.record import Record
from agent.core.spelling.digest import Digest, digest_of
from agent.core.spelling.reference import Reference
from agent.core.spelling.tags import check_target_tag, derived_prefix, entry_tag
from agent.errors import UsageError, VanishedError
from agent.remedy import UNKNOWN_LAYER
from agent.store.port import Store, Traffic
from agent.sync.operation.report import since
from agent.sync.remote.resolved_image import ResolvedImage, read_image

if TYPE_CHECKING:
    from agent.sync.contents.layer_contents import Layers


class LostLayerError(VanishedError):
    """The layer of a change is gone; a squash in its place may be there."""


class TargetRepository:
    """The repository of one target, with a cache of its entries.

    Args:
        open_store: opens the repository at its first use: a push of nothing needs no HTTP client, and to load one
            takes longer than many a scan.
        wanted: the platform to choose if the target is an index.

    Attributes:
        unshown: tags of pointers and marks that were put in this run and that no list has shown yet, with their
            manifests.
    """

    def __init__(
        self,
        open_store: Callable[[Reference], Store],
        reference: Reference,
        wanted: Platform,
        sleep: Callable[[float], None] = time.sleep,
        limits: ArchiveLimits = DEFAULT_LIMITS,
    ) -> None:
        self._open_store = open_store
        self._reference = reference
        self._began = Traffic()
        self.limits = limits
        self.tag = check_target_tag(reference.tag or "latest")
        self.digest = reference.digest
        self.name = str(reference)
        self._wanted = wanted
        self._sleep = sleep
        self._entries: dict[str, ResolvedImage] = {}
        self._configs: set[Digest] = set()
        self.unshown: dict[str, Digest] = {}
        # Whether head itself is listed matters, too.
        slug = derived_prefix(self.tag)[:-1]
        self._prefix = slug if self.tag.startswith(slug) else ""

    @cached_property
    def store(self) -> Store:
        """The repository."""
        store = self._open_store(self._reference)
        self._began = replace(store.traffic)
        return store

    @property
    def traffic(self) -> Traffic:
        """The traffic so far."""
        return since(self.store.traffic, self._began) if "store" in self.__dict__ else Traffic()

    def layers(self, union: ChangeSet) -> Layers:
        """Return a reader of the layers of changes."""
        from agent.sync.contents.layer_contents import (
            Layers,  # reads archives: a push or pull of nothing needs none
        )

        return Layers(self.store, union, limits=self.limits)

    def head(self) -> ResolvedImage | None:
        """Return the image at the target's own tag (or digest, if it names one), None if there is none."""
        return self.image(self.digest or self.tag)

    def image(self, reference: str) -> ResolvedImage | None:
        """Return the image at a tag or digest of the repository, None if there is none."""
        return read_image(self.store, reference, self._wanted, f"{self.name} ({reference})")

    def entry(self, record: Record) -> ResolvedImage | None:
        """Return the entry of a change, None if there is none.

        Raises:
            IntegrityError: its tag has another image.
        """
        tag = entry_tag(record.target, record.lane, record.id)
        resolved = self.image(tag)
        if resolved and record.id not in resolved.image.records:
            raise damaged(f"{self.name} ({tag})", "is not the entry that its tag promises")
        return resolved

    def entry_at(self, tag: str) -> ResolvedImage | None:
        """Return the image at an entry's tag. The tag is written once, so that it is read once."""
        resolved = self._entries.get(tag) or self.image(tag)
        if resolved is not None:
            self._entries[tag] = resolved
        return resolved

    def tags(self) -> list[str]:
        """Return the tags that may be this target's; those that are listed are no longer `unshown`."""
        found = self.store.tags(self._prefix)
        for tag in self.unshown.keys() & found:
            del self.unshown[tag]
        return found

    def put_config(self, config: bytes, *, new: bool = False) -> None:
        """Store a config, once; `new` as for `Store.put_blob`."""
        digest = digest_of(config)
        if digest not in self._configs:
            self.store.put_blob(config, new=new)
            self._configs.add(digest)

    def forget(self) -> None:
        """Empty the cache, because what was read or stored may be gone."""
        self._entries.clear()
        self._configs.clear()

    def complete(self, union: ChangeSet) -> ChangeSet:
        """Return a set of changes with every layer that it needs.

        An image drops the layers of superseded changes. Without the later attempt they are not superseded.

        Raises:
            LostLayerError: the entry that has such a layer is gone.
        """
        tried: set[str] = set()
        while lost := (union.dropped.keys() - union.superseded if union.dropped else set()):
            # The newest first: its entry has the layers below, too.
            record = max((union.dropped[change] for change in lost), key=lambda record: record.version)
            entry = None if record.id in tried else self.entry(record)
            if entry is None:
                raise LostLayerError(
                    "its entry is gone, and no other image has its layer alone",
                    subject=f"{self.name}, change {record.id}",
                    remedy=UNKNOWN_LAYER,
                )
            tried.add(record.id)
            union = unite([union.image(self.tag), entry.image]).only(union.ids)
        return union

    def as_of(self, union: ChangeSet, changes: Iterable[str]) -> ChangeSet:
        """Return the changes that a writer had in its directory if these were its newest, with every layer.

        Raises:
            UsageError: a layer is gone.
        """
        try:
            return self.complete(union.past(changes))
        except LostLayerError as error:
            raise UsageError(error.what, subject=error.subject, remedy=error.remedies) from error


def resolve(union: ChangeSet, prefix: str, name: str) -> str:
    """Return the id of the one change whose id starts with `prefix`.

    Raises:
        UsageError: there is none, or there are several.
    """
    fitting = sorted(change for change in union.ids if change.startswith(prefix))
    if len(fitting) != 1:
        what = "no change has this id" if not fitting else f"{len(fitting)} changes have ids that start so"
        raise UsageError(what, subject=f"{name}, change {prefix}", remedy="look up its id in the log")
    return fitting[0]
