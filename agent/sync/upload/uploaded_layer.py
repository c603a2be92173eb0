"""An uploaded layer, as an image lists it."""

from __future__ import annotations

from agent.archive.layer.writer import PackedLayer
from agent.core.image.image import Encoding, Layer
from agent.core.image.manifest_writer import INLINE_MAX
from agent.core.model.record import Record
from agent.core.model.squash_record import SquashRecord
from agent.store.port import Stored


def uploaded_layer(record: Record | SquashRecord, packed: PackedLayer, stored: Stored) -> Layer:
    """Return the layer of a change or a squash, as an image lists it."""
    encoding = Encoding(stored.digest, packed.diff_id, packed.toc_offset, packed.toc_length, packed.toc.payload_sha256)
    change, squash = (record, None) if isinstance(record, Record) else (None, record)
    return Layer(
        media_type=packed.media_type,
        digest=stored.digest,
        size=stored.size,
        diff_id=packed.diff_id,
        kind="change" if change else "squash",
        record=change,
        encoding=encoding,
        toc=packed.toc.payload if packed.toc_length <= INLINE_MAX else None,
        squash=squash,
    )
