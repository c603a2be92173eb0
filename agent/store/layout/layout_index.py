"""The `index.json` of an image layout, which maps tags to manifests (image-spec, image-layout.md). Pure.

Unknown fields and entries survive a change.
"""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from agent.core.image.manifest import INDEX
from agent.core.spelling.digest import Digest, parse_digest
from agent.core.spelling.reference import is_tag
from agent.errors import IntegrityError

REF_NAME = "org.opencontainers.image.ref.name"
Index: TypeAlias = dict[str, Any]
EMPTY: Index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}


def parse_index(data: bytes, subject: str) -> Index:
    """Return the index in `data`.

    Raises:
        IntegrityError: `data` is no index.
    """
    try:
        index = json.loads(data)
        entries = index.get("manifests") or []
        if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
            return {**index, "manifests": entries}
    except (ValueError, AttributeError, RecursionError):
        pass
    raise IntegrityError("not an image index", subject=subject, remedy="the layout is damaged; restore it")


def find_tag(index: Index, tag: str) -> tuple[Digest, str] | None:
    """Return digest and media type of the last entry named `tag`, None if there is none.

    Raises:
        IntegrityError: the entry has no valid digest.
    """
    for entry in reversed(index["manifests"]):
        if _ref_name(entry) == tag:
            return parse_digest(entry.get("digest")), str(entry.get("mediaType", ""))
    return None


def tags_in(index: Index) -> set[str]:
    """Return the names of entries that are valid tags."""
    return {name for entry in index["manifests"] if is_tag(name := _ref_name(entry))}


def with_tag(index: Index, tag: str, descriptor: dict[str, Any]) -> Index:
    """Return the index with `descriptor` as the only entry for `tag`."""
    others = [entry for entry in index["manifests"] if _ref_name(entry) != tag]
    return {**index, "manifests": [*others, {**descriptor, "annotations": {REF_NAME: tag}}]}


def without_digest(index: Index, digest: str) -> Index:
    """Return the index without the entries for a manifest."""
    return {**index, "manifests": [entry for entry in index["manifests"] if entry.get("digest") != digest]}


def _ref_name(entry: dict[str, Any]) -> str:
    annotations = entry.get("annotations")
    name = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else ""
