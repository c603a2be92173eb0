"""Checks that every store makes: a manifest's size, digest, media type, and the blobs that it needs. Pure."""

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
"""Bytes. Every registry accepts this much (distribution-spec, "Pushing Manifests")."""

MANIFEST_TYPES = (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST)
_IMAGES = (MANIFEST, DOCKER_MANIFEST)
_INDICES = (INDEX, DOCKER_LIST)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


def is_digest(reference: str) -> bool:
    """Return whether a reference is a digest, not a tag (a tag has no colon)."""
    return _DIGEST.fullmatch(reference) is not None


def check_reference(reference: str) -> str:
    """Return `reference` if it is a tag or a digest.

    Raises:
        InvalidReferenceError: `reference` is neither.
    """
    if is_digest(reference) or is_tag(reference):
        return reference
    raise InvalidReferenceError(
        "neither a tag nor a digest",
        subject=repr(reference)[:200],
        remedy="a tag is of [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}",
    )


def verified_manifest(data: bytes, declared: str, reference: str, subject: str) -> Manifest:
    """Return the manifest that a store returned for `reference`, after checks.

    Args:
        data: its bytes.
        declared: the media type that the store declared, "" for none.
        reference: the tag or digest that was requested.
        subject: its name in errors.

    Raises:
        IntegrityError: the manifest has another digest than was requested, or is larger than `MANIFEST_MAX`. Or its
        kind
            is ambiguous: the declared media type, its own (image-spec, manifest.md, `mediaType`) and its fields differ.
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
    """Return the digest of a manifest that is to be stored at `reference`.

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
    """Check the size of a manifest.

    Raises:
        IntegrityError: it is larger than `MANIFEST_MAX` bytes.
    """
    if len(data) > MANIFEST_MAX:
        raise IntegrityError("the manifest is larger than 4 MiB", subject=subject, remedy="squash the workspace")


def is_manifest(data: bytes) -> bool:
    """Return whether a blob is a manifest or index; a layout stores all blobs in one place."""
    value = _parsed(data)
    return value.get("mediaType") in MANIFEST_TYPES or (
        value.get("schemaVersion") == 2 and ("layers" in value or "manifests" in value)
    )


def referenced_digests(data: bytes) -> list[str]:
    """Return the digests that a manifest or index requires, in its order.

    Layers that may be elsewhere (`urls`) and the `subject` (which may be pushed later) are not required.
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
    # A manifest that is an index to one reader and an image to another is ambiguous (CVE-2021-41190).
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
