"""The repository of one target: its images, its tags, and the layers of its changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from agent.archive.stream.limits import DEFAULT_LIMITS, Limits
from agent.core.image.change_set import Union, unite
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
from agent.sync.remote.resolved_image import Located, read_image

if TYPE_CHECKING:
    from agent.sync.contents.layer_contents import Layers


class LostLayerError(VanishedError):
    """The layer of a change is gone; a squash that has its effect may be there."""


class TargetRepository:
    """The repository of one target, and what this run knows of it.

    Args:
        open_store: opens the repository, once something is wanted of it: a push of nothing needs no HTTP client, and
            loading one takes longer than many a scan.
        wanted: the platform to choose where the target is an index.

    Attributes:
        unshown: tags that were put here for readers that know their names, and that no list has shown yet; with their
            manifests.
    """

    def __init__(
        self,
        open_store: Callable[[Reference], Store],
        reference: Reference,
        wanted: Platform,
        sleep: Callable[[float], None] = time.sleep,
        limits: Limits = DEFAULT_LIMITS,
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
        self._entries: dict[str, Located] = {}
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
        """What moved so far."""
        return since(self.store.traffic, self._began) if "store" in self.__dict__ else Traffic()

    def layers(self, union: Union) -> Layers:
        """Return the layers of changes, to be read."""
        from agent.sync.contents.layer_contents import (
            Layers,  # what reads archives: a push or pull of nothing reads none
        )

        return Layers(self.store, union, limits=self.limits)

    def head(self) -> Located | None:
        """Return the image at the target's own tag (or digest, if it names one), None if there is none."""
        return self.image(self.digest or self.tag)

    def image(self, reference: str) -> Located | None:
        """Return the image at a tag or digest of the repository, None if there is none."""
        return read_image(self.store, reference, self._wanted, f"{self.name} ({reference})")

    def entry(self, record: Record) -> Located | None:
        """Return the entry of a change, None if there is none.

        Raises:
            IntegrityError: something else stands at its tag.
        """
        tag = entry_tag(record.target, record.lane, record.id)
        located = self.image(tag)
        if located and record.id not in located.image.records:
            raise damaged(f"{self.name} ({tag})", "is not the entry that its tag promises")
        return located

    def entry_at(self, tag: str) -> Located | None:
        """Return what stands at an entry's tag. That is written once, so that it need be read only once."""
        located = self._entries.get(tag) or self.image(tag)
        if located is not None:
            self._entries[tag] = located
        return located

    def tags(self) -> list[str]:
        """Return the tags that may be this target's."""
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
        """Forget what was read and stored, because it may be gone."""
        self._entries.clear()
        self._configs.clear()

    def complete(self, union: Union) -> Union:
        """Return a part of what was seen, with every layer that it needs.

        An image drops the layers of superseded changes; without the later attempt they are not superseded.

        Raises:
            LostLayerError: the entry that has such a layer is gone.
        """
        asked: set[str] = set()
        while lost := (union.dropped.keys() - union.superseded if union.dropped else set()):
            # The newest first: its entry has what lies below it, too.
            record = max((union.dropped[change] for change in lost), key=lambda record: record.version)
            entry = None if record.id in asked else self.entry(record)
            if entry is None:
                raise LostLayerError(
                    "its entry is gone, and no other image has its layer alone",
                    subject=f"{self.name}, change {record.id}",
                    remedy=UNKNOWN_LAYER,
                )
            asked.add(record.id)
            union = unite([union.image(self.tag), entry.image]).only(union.ids)
        return union

    def as_of(self, union: Union, changes: Iterable[str]) -> Union:
        """Return what a writer had on its disk whose newest changes were these, with every layer that it needs.

        Raises:
            UsageError: that cannot be told any longer.
        """
        try:
            return self.complete(union.past(changes))
        except LostLayerError as error:
            raise UsageError(error.what, subject=error.subject, remedy=error.remedies) from error


def resolve(union: Union, prefix: str, name: str) -> str:
    """Return the id of the one change whose id starts with `prefix`.

    Raises:
        UsageError: there is none, or there are several.
    """
    fitting = sorted(change for change in union.ids if change.startswith(prefix))
    if len(fitting) != 1:
        what = "no change has this id" if not fitting else f"{len(fitting)} changes have ids that start so"
        raise UsageError(what, subject=f"{name}, change {prefix}", remedy="look up its id in the log")
    return fitting[0]
