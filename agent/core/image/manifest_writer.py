"""Format an image as manifest and config (image-spec, manifest.md and config.md; design, "Changes" and "Head").

The metadata of a layer is written twice, on its descriptor and in the history of the config, because tools strip the
one or the other.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from agent.core.image.conflict_record import format_conflicts
from agent.core.image.image import Encoding, Image, Layer
from agent.core.image.manifest import CONFIG, MANIFEST, PREFIX
from agent.core.model.record import FORMAT, Record
from agent.core.spelling.canonical import canonical
from agent.core.spelling.digest import digest_of
from agent.core.spelling.rfc3339 import format_time

INLINE_MAX: Final = 2 << 10
"""Bytes of a table of contents that its descriptor may carry."""
INLINE_TOTAL_MAX: Final = 512 << 10
"""Bytes of the tables of contents that one manifest may carry."""


def format_image(image: Image) -> tuple[bytes, bytes]:
    """Return the config and the manifest of `image`. Equal images give equal bytes: no clock, no library's version."""
    system, architecture, variant = image.platform
    newest = max((record.stamp for record in image.records.values()), default=0)
    config = canonical(
        {
            "architecture": architecture,
            "config": {},
            "created": format_time(newest),
            "history": [_history(layer) for layer in image.layers] + [_dropped(record) for record in image.dropped],
            "os": system,
            "rootfs": {"diff_ids": [layer.diff_id for layer in image.layers], "type": "layers"},
            **({"variant": variant} if variant else {}),
        }
    )
    room = INLINE_TOTAL_MAX
    descriptors = []
    # Newest first: a reader that knows the older layers already needs the newest tables of contents.
    for layer in reversed(image.layers):
        inline = layer.toc is not None and len(layer.toc) <= min(INLINE_MAX, room)
        room -= len(layer.toc or b"") if inline else 0
        descriptors.append(_descriptor(layer, inline))
    manifest = canonical(
        {
            "annotations": {k: v for k, v in image.annotations if not k.startswith(PREFIX)} | _own_annotations(image),
            "config": {"digest": digest_of(config), "mediaType": CONFIG, "size": len(config)},
            "layers": descriptors[::-1],
            "mediaType": MANIFEST,
            "schemaVersion": 2,
        }
    )
    return config, manifest


def _own_annotations(image: Image) -> dict[str, str]:
    own = {
        "format": str(FORMAT),
        "view": image.view,
        "target": image.target,
        "lane": image.lane or None,
        "attempt": None if image.attempt is None else str(image.attempt),
        "change": image.change,
        "made": None if image.made is None else str(image.made),
        "dropped": canonical([record.text for record in image.dropped]).decode() if image.dropped else None,
        "platform": "/".join(filter(None, image.platform)),
        "conflicts": format_conflicts(image.conflicts) if image.conflicts.count else None,
    }
    return {PREFIX + key: value for key, value in own.items() if value is not None}


def _history(layer: Layer) -> dict[str, Any]:
    if layer.record:
        return {
            "comment": layer.record.text,
            "created": format_time(layer.record.stamp),
            "created_by": f"agent push --lane {layer.record.lane}",
        }
    if layer.squash:
        return {
            "comment": layer.squash.text,
            "created": format_time(layer.squash.version.stamp),
            "created_by": "agent squash",
        }
    marker = {"format": FORMAT, "kind": layer.kind, **({"base": layer.base} if layer.base else {})}
    return {"comment": canonical(marker).decode(), "created_by": f"instep {layer.kind}"}


def _dropped(record: Record) -> dict[str, Any]:
    return {"comment": record.text, "created_by": "instep superseded", "empty_layer": True}


def _descriptor(layer: Layer, inline: bool) -> dict[str, Any]:
    own = {
        "kind": layer.kind,
        "record": layer.record.text if layer.record else None,
        "squash": layer.squash.text if layer.squash else None,
        "base": layer.base,
        "diff-id": layer.diff_id,
        "encoding": _format_encoding(layer.encoding) if layer.encoding else None,
        "toc": base64.b64encode(layer.toc).decode() if inline and layer.toc is not None else None,
    }
    return {
        "annotations": {PREFIX + key: value for key, value in own.items() if value is not None},
        "digest": layer.digest,
        "mediaType": layer.media_type,
        "size": layer.size,
    }


def _format_encoding(encoding: Encoding) -> str:
    return canonical(
        {
            "diff_id": encoding.diff_id,
            "digest": encoding.digest,
            "length": encoding.toc_length,
            "offset": encoding.toc_offset,
            "sha256": encoding.toc_sha256,
        }
    ).decode()
