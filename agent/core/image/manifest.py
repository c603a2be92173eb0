"""Parse an image from its manifest and config (image-spec, manifest.md and config.md; design, "Changes" and "Head").

The metadata of a layer is in two places, its descriptor and the history of the config, because tools strip the one or
the other. The config is needed only if the descriptors lost theirs.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from agent.core.image.conflict_record import parse_conflicts
from agent.core.image.image import Encoding, Image, Layer, LayerKind, Platform
from agent.core.model.record import FORMAT, Record, parse_record
from agent.core.model.squash_record import SquashRecord, is_squash_text, parse_squash
from agent.core.spelling.digest import Digest, parse_digest
from agent.errors import IntegrityError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

PREFIX = "dev.instep."

_OCI_TYPES = {
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_MARKED: dict[str, LayerKind] = {"base": "base", "fixup": "fixup"}


def load_json(data: bytes, subject: str) -> dict[str, Any]:
    """Return the JSON object in `data`.

    Raises:
        IntegrityError: it is none, or holds a string that UTF-8 cannot encode.
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
    """Return whether the descriptors lost metadata that only the config still has."""
    try:
        view = _annotations(manifest).get(PREFIX + "view")
        return view is None or any(PREFIX + "diff-id" not in _annotations(layer) for layer in manifest["layers"])
    except (KeyError, TypeError, AttributeError):
        return True  # `parse_image` raises the error.


def parse_image(manifest: Mapping[str, Any], config: Mapping[str, Any] | None, subject: str) -> Image:
    """Return the image that a manifest (and, where `needs_config`, its config) describes.

    Layers without our metadata have the kind `foreign`.

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
    annotations, descriptors = _annotations(manifest), manifest["layers"]
    own = {key.removeprefix(PREFIX): value for key, value in annotations.items() if key.startswith(PREFIX)}
    image = Image(
        layers=_layers(descriptors, config, subject),
        target=own.get("target", ""),
        lane=own.get("lane", ""),
        attempt=_number(own, "attempt"),
        change=own.get("change"),
        dropped=tuple(parse_record(text) for text in _dropped(own, config)),
        format=_number(own, "format") or 0,
        platform=_platform(own.get("platform"), config),
        annotations=tuple(sorted((k, v) for k, v in annotations.items() if not k.startswith(PREFIX))),
        made=_number(own, "made"),
    )
    if "view" in own and not _fits(own["view"], image, descriptors):
        raise damaged(subject, "was edited: its view does not fit its layers")
    if "conflicts" in own:
        lanes = {record.id: record.lane for record in image.records.values()}
        image = image._replace(conflicts=parse_conflicts(own["conflicts"], lanes))
    return image


def _number(own: Mapping[str, str], key: str) -> int | None:
    return int(own[key]) if key in own else None


def _dropped(own: Mapping[str, str], config: Mapping[str, Any] | None) -> list[str]:
    """Return the texts of the records without a layer."""
    if "view" in own or config is None:
        texts: list[str] = json.loads(own.get("dropped", "[]"))
        return texts
    return [comment for comment in _history_comments(config, empty=True) if _is_record(comment)]


def _layers(
    descriptors: Sequence[Mapping[str, Any]], config: Mapping[str, Any] | None, subject: str
) -> tuple[Layer, ...]:
    comments = _comments(config, len(descriptors)) if config else None
    diff_ids = config["rootfs"]["diff_ids"] if config else [None] * len(descriptors)
    if len(diff_ids) != len(descriptors):
        raise damaged(subject, "has another number of layers than its config")
    return tuple(
        _layer(descriptor, diff_id, comments[i] if comments else None)
        for i, (descriptor, diff_id) in enumerate(zip(descriptors, diff_ids, strict=True))
    )


def _fits(view: str, image: Image, descriptors: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a view is the image's, or that of the image from which another tool built this one.

    Builders copy the manifest's annotations, whether they put layers on top of ours or make one of them all.
    """
    ours = tuple(layer for layer in image.layers if layer.kind != "foreign")
    if view == image.view or (ours and image.layers[: len(ours)] == ours and view == image._replace(layers=ours).view):
        return True
    claimed = any(key.startswith(PREFIX) for descriptor in descriptors for key in _annotations(descriptor))
    return not ours and not claimed and bool(image.layers)


def _layer(descriptor: Mapping[str, Any], diff_id: str | None, comment: str | None) -> Layer:
    annotations = _annotations(descriptor)
    digest, size = parse_digest(descriptor["digest"]), descriptor["size"]
    if type(size) is not int or size < 0:
        raise ValueError("size")
    diff_id = parse_digest(diff_id or annotations[PREFIX + "diff-id"])
    record, squash = _described(annotations, comment, diff_id)
    marker = {} if record or squash else _marker(annotations, comment)
    kind = "change" if record else "squash" if squash else _MARKED.get(marker.get("kind", ""), "foreign")
    encoding = _parse_encoding(annotations.get(PREFIX + "encoding"))
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
        toc=_parse_inline(annotations.get(PREFIX + "toc")) if encoding else None,
        squash=squash,
    )


def _described(
    annotations: Mapping[str, str], comment: str | None, diff_id: Digest
) -> tuple[Record | None, SquashRecord | None]:
    """Return the record in a layer's descriptor, else in its history, if it is about its tar."""
    text = annotations.get(PREFIX + "squash") or (comment if comment and is_squash_text(comment) else None)
    if text:
        squash = parse_squash(text)
        return None, squash if squash.diff_id == diff_id else None
    text = annotations.get(PREFIX + "record") or (comment if comment and _is_record(comment) else None)
    record = parse_record(text) if text else None
    return record if record and record.diff_id == diff_id else None, None


def _marker(annotations: Mapping[str, str], comment: str | None) -> dict[str, Any]:
    if annotations.get(PREFIX + "kind") in ("base", "fixup"):
        return {"kind": annotations[PREFIX + "kind"], "base": annotations.get(PREFIX + "base")}
    try:
        marker = json.loads(comment or "")
    except (ValueError, RecursionError):
        return {}
    return marker if isinstance(marker, dict) and marker.get("format") == FORMAT else {}


def _comments(config: Mapping[str, Any], count: int) -> list[str] | None:
    """Return the comment of each layer's history, None if the history has another number of layers."""
    comments = _history_comments(config, empty=False)
    return comments if len(comments) == count else None


def _history_comments(config: Mapping[str, Any], *, empty: bool) -> list[str]:
    history = config.get("history") or []
    return [str(item.get("comment") or "") for item in history if bool(item.get("empty_layer")) is empty]


def _is_record(comment: str) -> bool:
    return '"diff_id"' in comment


def _platform(annotations: str | None, config: Mapping[str, Any] | None) -> Platform:
    if config and config.get("os"):
        return str(config["os"]), str(config.get("architecture", "")), str(config.get("variant") or "")
    parts = [*(annotations or "linux/amd64").split("/"), "", ""]
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
