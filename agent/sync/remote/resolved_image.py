"""An image, resolved by its tag or digest: its manifest, parsed, and any image as a base."""

from __future__ import annotations

import platform as machine
from typing import NamedTuple

from agent.archive.stream.compression import check_layer_type
from agent.core.image.image import Image, Layer, Platform
from agent.core.image.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEX,
    MANIFEST,
    damaged,
    load_json,
    needs_config,
    parse_image,
)
from agent.core.image.platform_choice import check_is_image, choose_platform, other_kind
from agent.core.spelling.digest import Digest, digest_of, parse_digest
from agent.errors import IntegrityError, VanishedError
from agent.store.port import Manifest, Store

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "ppc64le": "ppc64le"}
CONFIG_MAX = 8 << 20


class ResolvedImage(NamedTuple):
    """An image, and the digest of the manifest that it was read from."""

    image: Image
    digest: Digest


def this_platform(wanted: str | None) -> Platform:
    """Return the platform that `wanted` (os/architecture[/variant]) names; this machine's if it names none."""
    if wanted:
        parts = [*wanted.split("/"), "", ""]
        return parts[0], parts[1], parts[2]
    return "linux", _MACHINES.get(machine.machine(), machine.machine()), ""


def read_image(store: Store, reference: str, wanted: Platform, subject: str) -> ResolvedImage | None:
    """Return the image at a tag or digest; of an index, the manifest for a platform. None if there is none.

    Raises:
        IntegrityError: it is damaged.
        VanishedError: an index names a manifest that is not there.
        UnsupportedError: it is no image, or an index without an image for the platform.
        AuthError, UnavailableError: see `agent.errors`.
    """
    manifest = store.get_manifest(reference)
    if manifest is None:
        return None
    value = load_json(manifest.data, subject)
    if manifest.media_type in (INDEX, DOCKER_LIST):
        manifest = _must_exist(store.get_manifest(choose_platform(value, wanted, subject)), subject)
        value = load_json(manifest.data, subject)
    if manifest.media_type not in (MANIFEST, DOCKER_MANIFEST):
        raise other_kind(manifest.media_type, subject)
    check_is_image(value, subject)
    config = None
    if needs_config(value):
        config = load_json(_read_config(store, value, subject), subject)
    return ResolvedImage(parse_image(value, config, subject), manifest.digest)


def _must_exist(manifest: Manifest | None, subject: str) -> Manifest:
    if manifest is None:
        raise VanishedError(
            "is an index that names a manifest which is not there", subject=subject, remedy="name another image"
        )
    return manifest


def _read_config(store: Store, manifest: dict[str, object], subject: str) -> bytes:
    config = manifest.get("config")
    digest = config.get("digest") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(digest, str):
        raise damaged(subject, "is no image manifest")
    size = config.get("size")
    if type(size) is not int or not 0 <= size <= CONFIG_MAX:
        raise damaged(subject, f"has a config of more than {CONFIG_MAX >> 20} MiB, or of no size")
    return read_small_blob(store, parse_digest(digest), size)


def read_small_blob(store: Store, digest: Digest, size: int) -> bytes:
    """Return a whole blob, checked against its digest.

    Raises:
        IntegrityError: it has another digest or size.
    """
    data = b"".join(store.read_blob(digest, 0, size))
    if digest_of(data) != digest:
        raise IntegrityError(
            "a blob has another digest than its name", subject=str(digest), remedy="the registry's storage is damaged"
        )
    return data


def as_base(resolved: ResolvedImage) -> Image:
    """Return any image as a base: its layers count as one change, with the manifest's digest as id.

    Raises:
        UnsupportedError: a layer is encrypted, or holds no files.
    """
    base = str(resolved.digest)
    for layer in resolved.image.layers:
        check_layer_type(layer.media_type, base)
    layers = tuple(
        Layer(layer.media_type, layer.digest, layer.size, layer.diff_id, "base", base=base)
        for layer in resolved.image.layers
    )
    return Image(layers=layers, target="", platform=resolved.image.platform)
