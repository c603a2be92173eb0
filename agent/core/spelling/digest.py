"""Digests as OCI writes them: `sha256:<64 hex>` (image-spec, descriptor.md, "Digests")."""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from agent.errors import IntegrityError

Digest = NewType("Digest", str)

_FORMAT = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


def parse_digest(text: object) -> Digest:
    """Return `text` as a digest.

    Raises:
        IntegrityError: it is not one of the registered algorithms in canonical spelling.
    """
    if isinstance(text, str) and _FORMAT.fullmatch(text):
        return Digest(text)
    raise IntegrityError(
        "not a digest of a known algorithm",
        subject=repr(text)[:120] if isinstance(text, str) else f"a value of type {type(text).__name__}",
        remedy="the image is damaged or not OCI",
    )


def digest_of(data: bytes) -> Digest:
    """Return the sha256 digest of `data`."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())
