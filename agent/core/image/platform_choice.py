"""Decide what a manifest at a reference is: an image, an index, or another artifact; and choose a platform.

Registries keep more than images: Helm charts, signatures, bills of materials (image-spec, manifest.md, "Guidelines for
Artifact Usage"). A workspace can start from an image only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.core.image.image import Platform
from agent.core.image.manifest import CONFIG, DOCKER_CONFIG, damaged
from agent.core.spelling.digest import Digest, parse_digest
from agent.errors import IntegrityError, UnsupportedError
from agent.remedy import OTHER_PLATFORM


def check_is_image(manifest: Mapping[str, Any], subject: str) -> None:
    """Refuse the manifest of another artifact than an image, such as a Helm chart.

    Raises:
        UnsupportedError: it is another artifact.
    """
    config = manifest.get("config")
    kind = config.get("mediaType") if isinstance(config, dict) else None
    # Old tools called the config of an image application/octet-stream, application/json, or nothing.
    if isinstance(kind, str) and "/vnd." in kind and kind not in (CONFIG, DOCKER_CONFIG):
        raise _no_image(str(manifest.get("artifactType") or kind), subject)


def other_kind(media_type: str, subject: str) -> UnsupportedError | IntegrityError:
    """Return the error for something else than an image: another artifact, or an unknown media type."""
    if "/vnd." in media_type:
        return _no_image(media_type, subject)
    return damaged(subject, f"is no image: its media type is {media_type[:100] or 'not known'}")


def _no_image(media_type: str, subject: str) -> UnsupportedError:
    return UnsupportedError(
        f"it is no container image: its media type is {media_type[:100]}",
        subject=subject,
        remedy="name a container image",
    )


def choose_platform(index: Mapping[str, Any], wanted: Platform, subject: str) -> Digest:
    """Return the digest of the manifest in an image index that fits `wanted` best.

    Raises:
        UnsupportedError: none fits; the text names those there are.
        IntegrityError: it names none at all.
    """
    there = index.get("manifests")
    offered = [item for item in there if isinstance(item, dict)] if isinstance(there, list) else []
    platforms = [_offered_platform(item) for item in offered]
    variants = (wanted[2], "") if wanted[2] else {variant: None for _, _, variant in platforms}
    for variant in variants:
        for item, platform in zip(offered, platforms, strict=True):
            if platform == (*wanted[:2], variant):
                return parse_digest(item.get("digest"))
    if len(offered) == 1 and not offered[0].get("platform"):
        return parse_digest(offered[0].get("digest"))
    names = ", ".join(sorted({"/".join(filter(None, platform)) for platform in platforms if any(platform)}))
    what = f"an index without an image for {'/'.join(filter(None, wanted))} (it has {names or 'none'})"[:300]
    if not names:
        raise damaged(subject, what)
    raise UnsupportedError(what, subject=subject, remedy=OTHER_PLATFORM)


def _offered_platform(item: Mapping[str, Any]) -> Platform:
    platform = item.get("platform")
    fields = platform if isinstance(platform, dict) else {}
    named = (fields.get(key) for key in ("os", "architecture", "variant"))
    system, architecture, variant = (name if isinstance(name, str) else "" for name in named)
    return system, architecture, variant
