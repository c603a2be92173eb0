"""What a store must know of a manifest to keep it: its bound, its media type, what it names. No more."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from agent.core.image.manifest import DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST
from agent.core.spelling.digest import Digest, digest_of
from agent.core.spelling.reference import is_tag
from agent.errors import IntegrityError, InvalidReferenceError
from agent.store.port import Manifest

MANIFEST_MAX = 4 << 20
"""Bytes. Registries accept at least this much (distribution-spec, "Pushing Manifests"), and no one needs more."""

MANIFEST_TYPES = (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST)
_IMAGES = (MANIFEST, DOCKER_MANIFEST)
_INDICES = (INDEX, DOCKER_LIST)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


def is_digest(reference: str) -> bool:
    """Say whether a manifest is asked for by digest rather than by tag (a tag holds no colon)."""
    return _DIGEST.fullmatch(reference) is not None


def check_reference(reference: str) -> str:
    """Return `reference` if it is a tag or a digest.

    Raises:
        InvalidReferenceError: it is neither.
    """
    if is_digest(reference) or is_tag(reference):
        return reference
    raise InvalidReferenceError(
        "neither a tag nor a digest",
        subject=repr(reference)[:200],
        remedy="a tag is of [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}",
    )


def manifest_of(data: bytes, declared: str, reference: str, subject: str) -> Manifest:
    """Return what was found at `reference`, checked; `declared` is the media type its keeper named, "" for none.

    Raises:
        IntegrityError: it was asked for by digest and has another one, is too large, or it is not of one kind: as its
            keeper says, as it says itself (image-spec, manifest.md, `mediaType`), and as it is made.
    """
    check_size(data, subject)
    digest = digest_of(data)
    if is_digest(reference):
        digest = _digest_by(reference.partition(":")[0], data)
        if digest != reference:
            raise IntegrityError(
                "the manifest is not the one its digest promises", subject=subject, remedy="pull another tag"
            )
    return Manifest(data, _media_type(data, declared, subject), digest)


def digest_for(data: bytes, reference: str, subject: str) -> Digest:
    """Return the digest under which `data` is to be put at `reference`.

    Raises:
        IntegrityError: `reference` is a digest, but not that of `data`; or `data` is larger than `MANIFEST_MAX`.
        InvalidReferenceError: `reference` is neither a tag nor a digest.
    """
    check_size(data, subject)
    if not is_digest(check_reference(reference)):
        return digest_of(data)
    digest = _digest_by(reference.partition(":")[0], data)
    if digest != reference:
        raise IntegrityError("the manifest has another digest", subject=subject, remedy="this is a bug; report it")
    return digest


def check_size(data: bytes, subject: str) -> None:
    """Refuse a manifest above `MANIFEST_MAX` bytes.

    Raises:
        IntegrityError: it is larger.
    """
    if len(data) > MANIFEST_MAX:
        raise IntegrityError("the manifest is larger than 4 MiB", subject=subject, remedy="squash the workspace")


def is_manifest(data: bytes) -> bool:
    """Say whether a blob is a manifest or index; a layout keeps both kinds in one place."""
    value = _parsed(data)
    return value.get("mediaType") in MANIFEST_TYPES or (
        value.get("schemaVersion") == 2 and ("layers" in value or "manifests" in value)
    )


def named_digests(data: bytes) -> list[str]:
    """Return the digests that a manifest or index cannot do without, in its order.

    Layers that may lie elsewhere (`urls`) and the `subject` (which may come later) are not among them.
    """
    value = _parsed(data)
    layers = value.get("layers")
    manifests = value.get("manifests")
    descriptors = [value.get("config"), *_list(layers), *_list(manifests)]
    return [
        descriptor["digest"]
        for descriptor in descriptors
        if isinstance(descriptor, dict) and isinstance(descriptor.get("digest"), str) and not descriptor.get("urls")
    ]


def _media_type(data: bytes, declared: str, subject: str) -> str:
    declared = declared.partition(";")[0].strip().lower()
    value = _parsed(data)
    inner = value.get("mediaType")
    if inner in MANIFEST_TYPES and declared in MANIFEST_TYPES and inner != declared:
        raise IntegrityError(
            "the manifest names another media type than its keeper does", subject=subject, remedy="pull another tag"
        )
    # What one reader takes for an index and another for an image is two things under one digest (CVE-2021-41190).
    is_index, is_image = "manifests" in value, "layers" in value or "config" in value
    named = declared if declared in MANIFEST_TYPES else inner
    if (is_index and is_image) or (is_image if named in _INDICES else is_index and named in _IMAGES):
        raise IntegrityError("the manifest is both an index and an image", subject=subject, remedy="pull another tag")
    if isinstance(named, str) and named:
        return named
    if is_index:
        return INDEX
    return MANIFEST if "layers" in value else declared


def _digest_by(algorithm: str, data: bytes) -> Digest:
    return Digest(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
