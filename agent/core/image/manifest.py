"""Images as manifest and config, and back (image-spec, manifest.md and config.md; design, "Changes" and "Head").

Metadata stands twice, on a layer's descriptor and in the config's history, because tools strip the one or the
other. The config is needed only where the descriptors lost theirs.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from agent.core.image.conflict_record import format_conflicts, parse_conflicts
from agent.core.image.image import Encoding, Image, Layer, LayerKind, Platform
from agent.core.model.record import FORMAT, Record, parse_record
from agent.core.model.squash_record import SquashRecord, is_squash_text, parse_squash
from agent.core.spelling.canonical import canonical
from agent.core.spelling.digest import Digest, digest_of, parse_digest
from agent.core.spelling.rfc3339 import format_time
from agent.errors import IntegrityError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

PREFIX = "dev.instep."
INLINE_MAX = 2 << 10
INLINE_TOTAL_MAX = 512 << 10

_OCI_TYPES = {
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_MARKED: dict[str, LayerKind] = {"base": "base", "fixup": "fixup"}


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
    said = {
        "kind": layer.kind,
        "record": layer.record.text if layer.record else None,
        "squash": layer.squash.text if layer.squash else None,
        "base": layer.base,
        "diff-id": layer.diff_id,
        "encoding": _format_encoding(layer.encoding) if layer.encoding else None,
        "toc": base64.b64encode(layer.toc).decode() if inline and layer.toc is not None else None,
    }
    return {
        "annotations": {PREFIX + key: value for key, value in said.items() if value is not None},
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


def load_json(data: bytes, subject: str) -> dict[str, Any]:
    """Return the JSON object in `data`.

    Raises:
        IntegrityError: it is none, or holds a string that UTF-8 cannot write: what was made of it could not be kept.
    """
    try:
        value = json.loads(data.decode())
        if _SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise damaged(subject, "is not JSON") from error
    if not isinstance(value, dict):
        raise damaged(subject, "is not a JSON object")
    return value


def needs_config(manifest: Mapping[str, Any]) -> bool:
    """Say whether the descriptors lost what only the config still has."""
    try:
        view = _annotations(manifest).get(PREFIX + "view")
        return view is None or any(PREFIX + "diff-id" not in _annotations(layer) for layer in manifest["layers"])
    except (KeyError, TypeError, AttributeError):
        return True  # Whoever parses it will say what is wrong with it.


def parse_image(manifest: Mapping[str, Any], config: Mapping[str, Any] | None, subject: str) -> Image:
    """Return the image that a manifest (and, where `needs_config`, its config) describes.

    Layers that nothing ours explains have the kind `foreign`.

    Raises:
        IntegrityError: it is not an image manifest, or its own statements contradict each other.
    """
    try:
        return _parse(manifest, config, subject)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise damaged(subject, f"is no image manifest ({type(error).__name__})") from error


def _parse(manifest: Mapping[str, Any], config: Mapping[str, Any] | None, subject: str) -> Image:
    if "manifests" in manifest or not isinstance(manifest["config"], dict):
        raise damaged(subject, "is both an index and an image, or neither")
    own = {key.removeprefix(PREFIX): value for key, value in _annotations(manifest).items() if key.startswith(PREFIX)}
    descriptors = manifest["layers"]
    comments = _comments(config, len(descriptors)) if config else None
    diff_ids = config["rootfs"]["diff_ids"] if config else [None] * len(descriptors)
    if len(diff_ids) != len(descriptors):
        raise damaged(subject, "has another number of layers than its config")
    layers = tuple(
        _layer(descriptor, diff_id, comments[i] if comments else None)
        for i, (descriptor, diff_id) in enumerate(zip(descriptors, diff_ids, strict=True))
    )
    if "view" in own or config is None:
        dropped = json.loads(own.get("dropped", "[]"))
    else:
        dropped = [comment for comment in _history_comments(config, empty=True) if _is_record(comment)]
    image = Image(
        layers=layers,
        target=own.get("target", ""),
        lane=own.get("lane", ""),
        attempt=int(own["attempt"]) if "attempt" in own else None,
        change=own.get("change"),
        dropped=tuple(parse_record(text) for text in dropped),
        format=int(own.get("format", "0")),
        platform=_platform(own.get("platform"), config),
        annotations=tuple(sorted((k, v) for k, v in _annotations(manifest).items() if not k.startswith(PREFIX))),
        made=int(own["made"]) if "made" in own else None,
    )
    if "view" in own and not _fits(own["view"], image, descriptors):
        raise damaged(subject, "was edited: its view does not fit its layers")
    if "conflicts" in own:
        lanes = {record.id: record.lane for record in image.records.values()}
        image = image._replace(conflicts=parse_conflicts(own["conflicts"], lanes))
    return image


def _fits(view: str, image: Image, descriptors: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether a view is the image's, or that of the one which someone else built this image from.

    Builders hand the manifest's annotations on, whether they put layers on top of ours or make one of them all.
    """
    ours = tuple(layer for layer in image.layers if layer.kind != "foreign")
    if view == image.view or (ours and image.layers[: len(ours)] == ours and view == image._replace(layers=ours).view):
        return True
    claimed = any(key.startswith(PREFIX) for descriptor in descriptors for key in _annotations(descriptor))
    return not ours and not claimed and bool(image.layers)


def _layer(descriptor: Mapping[str, Any], diff_id: str | None, comment: str | None) -> Layer:
    said = _annotations(descriptor)
    digest, size = parse_digest(descriptor["digest"]), descriptor["size"]
    if type(size) is not int or size < 0:
        raise ValueError("size")
    diff_id = parse_digest(diff_id or said[PREFIX + "diff-id"])
    record, squash = _described(said, comment, diff_id)
    marker = {} if record or squash else _marker(said, comment)
    kind = "change" if record else "squash" if squash else _MARKED.get(marker.get("kind", ""), "foreign")
    encoding = _parse_encoding(said.get(PREFIX + "encoding"))
    if encoding and (encoding.digest != digest or encoding.diff_id != diff_id):
        encoding = None
    return Layer(
        media_type=oci_type(str(descriptor["mediaType"])),
        digest=digest,
        size=size,
        diff_id=diff_id,
        kind=kind,
        record=record,
        base=str(parse_digest(marker["base"])) if kind == "base" else None,
        encoding=encoding,
        toc=_parse_inline(said.get(PREFIX + "toc")) if encoding else None,
        squash=squash,
    )


def _described(
    said: Mapping[str, str], comment: str | None, diff_id: Digest
) -> tuple[Record | None, SquashRecord | None]:
    """Return what a layer's descriptor, else its history, says that it is, if that is about its tar."""
    text = said.get(PREFIX + "squash") or (comment if comment and is_squash_text(comment) else None)
    if text:
        squash = parse_squash(text)
        return None, squash if squash.diff_id == diff_id else None
    text = said.get(PREFIX + "record") or (comment if comment and _is_record(comment) else None)
    record = parse_record(text) if text else None
    return record if record and record.diff_id == diff_id else None, None


def _marker(said: Mapping[str, str], comment: str | None) -> dict[str, Any]:
    if said.get(PREFIX + "kind") in ("base", "fixup"):
        return {"kind": said[PREFIX + "kind"], "base": said.get(PREFIX + "base")}
    try:
        marker = json.loads(comment or "")
    except (ValueError, RecursionError):
        return {}
    return marker if isinstance(marker, dict) and marker.get("format") == FORMAT else {}


def _comments(config: Mapping[str, Any], count: int) -> list[str] | None:
    """Return the comment of each layer's history, None where the history does not tell which layer is which."""
    comments = _history_comments(config, empty=False)
    return comments if len(comments) == count else None


def _history_comments(config: Mapping[str, Any], *, empty: bool) -> list[str]:
    history = config.get("history") or []
    return [str(item.get("comment") or "") for item in history if bool(item.get("empty_layer")) is empty]


def _is_record(comment: str) -> bool:
    return '"diff_id"' in comment


def _platform(said: str | None, config: Mapping[str, Any] | None) -> Platform:
    if config and config.get("os"):
        return str(config["os"]), str(config.get("architecture", "")), str(config.get("variant") or "")
    parts = [*(said or "linux/amd64").split("/"), "", ""]
    return parts[0], parts[1], parts[2]


def _parse_encoding(text: str | None) -> Encoding | None:
    if text is None:
        return None
    value = json.loads(text)
    if (
        type(value["offset"]) is not int
        or type(value["length"]) is not int
        or min(value["offset"], value["length"]) < 0
    ):
        raise ValueError("encoding")
    sha = str(value["sha256"])
    return Encoding(
        parse_digest(value["digest"]), parse_digest(value["diff_id"]), value["offset"], value["length"], sha
    )


def _parse_inline(text: str | None) -> bytes | None:
    try:
        return None if text is None else base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("toc") from error


def _annotations(thing: Mapping[str, Any]) -> dict[str, str]:
    found = thing.get("annotations") or {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise TypeError("annotations")
    return found


def oci_type(media_type: str) -> str:
    """Return OCI's media type of a layer for Docker's; what is stored under either is the same."""
    return _OCI_TYPES.get(media_type, media_type)


def damaged(subject: str, what: str) -> IntegrityError:
    """Return the error for a manifest that cannot be used."""
    return IntegrityError(what, subject=subject, remedy="name an image that holds a workspace, or an older tag of it")
