"""A workspace image as a value: layers, changes, and records (design, "Changes" and "Head")."""

from __future__ import annotations

from hashlib import sha256
from typing import Literal, NamedTuple

from agent.core.image.conflict_record import NO_CONFLICTS, ConflictRecord
from agent.core.model.record import FORMAT, Record
from agent.core.model.squash_record import SquashRecord
from agent.core.spelling.canonical import canonical
from agent.core.spelling.digest import Digest

LayerKind = Literal["base", "change", "squash", "fixup", "foreign"]
Platform = tuple[str, str, str]
"""os, architecture, variant."""

DEFAULT_PLATFORM: Platform = ("linux", "amd64", "")


class Encoding(NamedTuple):
    """The place of the table of contents in one blob, `digest`; it does not hold for a recompressed one."""

    digest: Digest
    diff_id: Digest
    toc_offset: int
    toc_length: int
    toc_sha256: str


class Layer(NamedTuple):
    """One layer of an image.

    `record` is set for changes, `squash` for squashes, `base` (an id) for the base's own layers.
    """

    media_type: str
    digest: Digest
    size: int
    diff_id: Digest
    kind: LayerKind
    record: Record | None = None
    base: str | None = None
    encoding: Encoding | None = None
    toc: bytes | None = None
    squash: SquashRecord | None = None

    @property
    def entries_sha256(self) -> str | None:
        """The expected sha256 (hex) of the entry part of its table of contents; None for a base or foreign layer."""
        described = self.record or self.squash
        return described.toc if described else None


class Image(NamedTuple):
    """A workspace image: its layers, lowest first, and its metadata.

    `change` is the id of the change that an entry was pushed for. `dropped` are records without a layer. `format`
    is that of its writer, 0 for an image of another tool. `conflicts` are those among its changes. `made` is the time
    of a checkpoint, ns since 1970.
    """

    layers: tuple[Layer, ...]
    target: str
    lane: str = ""
    attempt: int | None = None
    change: str | None = None
    dropped: tuple[Record, ...] = ()
    platform: Platform = DEFAULT_PLATFORM
    annotations: tuple[tuple[str, str], ...] = ()
    format: int = FORMAT
    conflicts: ConflictRecord = NO_CONFLICTS
    made: int | None = None

    @property
    def records(self) -> dict[str, Record]:
        """The records of all changes in the image, by id."""
        kept = (layer.record for layer in self.layers if layer.record)
        squashed = (record for layer in self.layers if layer.squash for record in layer.squash.records)
        return {record.id: record for record in (*kept, *squashed, *self.dropped)}

    @property
    def base(self) -> str | None:
        """The id of the base, None if the workspace started empty."""
        return next((layer.base for layer in self.layers if layer.base), None)

    @property
    def view(self) -> str:
        """sha256 (hex) over the ordered (diff_id, id) pairs, by which an edited manifest is detected."""
        pairs = [[layer.diff_id, _id_of(layer)] for layer in self.layers]
        return sha256(canonical([*pairs, *([record.text, ""] for record in self.dropped)])).hexdigest()


def _id_of(layer: Layer) -> str:
    described = layer.record or layer.squash
    return described.id if described else layer.base or ""
