"""Derived tags: slugs help people, hashes decide (design, "Derived tags").

An entry's tag is written once. A pointer is found by its lane without listing. A checkpoint holds a merge. Its witness
tells a time by which it was there. The mark says that the first pointers do not tell everything.
"""

from __future__ import annotations

import base64
import re
from hashlib import sha256

from agent.errors import InvalidReferenceError

SLUG_MAX = 30
_DERIVED = re.compile(
    r"\._(?:e[a-z2-7]{10}[0-9a-f]{26}|p[a-z2-7]{26}-[0-9]+-[0-9]+|[cw][a-z2-7]{10}[0-9a-f]{26}|m[a-z2-7]{10})\Z"
)
_ENTRY = re.compile(r"\._e([a-z2-7]{10})([0-9a-f]{26})\Z")
_CHECKPOINT = re.compile(r"\._c([a-z2-7]{10})([0-9a-f]{26})\Z")
_WITNESS = re.compile(r"\._w([a-z2-7]{10})([0-9a-f]{26})\Z")
_POINTER = re.compile(r"\._p([a-z2-7]{10})[a-z2-7]{16}-[0-9]+-[0-9]+\Z")


def slug(text: str) -> str:
    """Return `text` as people may still recognise it in a tag, at most 30 characters."""
    safe = re.sub(r"[^a-z0-9_-]", "-", text.lower())
    if safe.startswith("-"):
        safe = "_" + safe[1:]
    return safe[:SLUG_MAX]


def entry_tag(tag: str, lane: str, change: str) -> str:
    """Return the tag of the entry of `change` (an id) by `lane` for the target tag `tag`."""
    return f"{slug(tag)}.{slug(lane)}._e{_hash(tag, 10)}{change[:26]}"


def pointer_tag(tag: str, lane: str, attempt: int | None, number: int) -> str:
    """Return the tag that points at an entry of a lane: `number` counts the pushes of one attempt, from 0.

    A lane without attempts has the pointers of a first one.
    """
    return f"{slug(tag)}.{slug(lane)}._p{_hash(tag, 10)}{_hash(lane, 16)}-{attempt or 0}-{number}"


def mark_tag(tag: str) -> str:
    """Return the tag that is there if a lane goes on behind its first pointer, or something was pruned."""
    return f"{slug(tag)}._m{_hash(tag, 10)}"


def checkpoint_tag(tag: str, change: str) -> str:
    """Return the tag of a checkpoint."""
    return f"{slug(tag)}._c{_hash(tag, 10)}{change[:26]}"


def witness_tag(tag: str, change: str) -> str:
    """Return the tag of the witness of the checkpoint with this id."""
    return f"{slug(tag)}._w{_hash(tag, 10)}{change[:26]}"


def derived_prefix(tag: str) -> str:
    """Return what every derived tag of a target starts with; other targets' tags may start with it, too."""
    return f"{slug(tag)}."


def entry_ids(tag: str, tags: list[str]) -> dict[str, str]:
    """Return the first 26 digits of the ids of a target's entries among `tags`, each with its tag."""
    return _ids(_ENTRY, tag, tags)


def checkpoint_ids(tag: str, tags: list[str]) -> dict[str, str]:
    """Return the first 26 digits of the ids of a target's checkpoints among `tags`, each with its tag."""
    return _ids(_CHECKPOINT, tag, tags)


def witness_ids(tag: str, tags: list[str]) -> dict[str, str]:
    """Return the first 26 digits of the ids of checkpoints, each with the tag of its witness among `tags`."""
    return _ids(_WITNESS, tag, tags)


def is_derived(tag: str) -> bool:
    """Say whether a tag looks like one that is derived from a target's."""
    return _DERIVED.search(tag) is not None


def check_target_tag(tag: str) -> str:
    """Return `tag` if a workspace may be kept at it.

    Raises:
        InvalidReferenceError: it looks like a derived tag.
    """
    if is_derived(tag):
        raise InvalidReferenceError(
            "the tag looks like one that is derived from a target's",
            subject=tag,
            remedy="name the target itself, without the part that starts with ._",
        )
    return tag


def pointers(tag: str, tags: list[str]) -> list[str]:
    """Return a target's pointers among `tags`."""
    ours = _hash(tag, 10)
    matches = ((_POINTER.search(found), found) for found in tags)
    return [found for match, found in matches if match and match[1] == ours]


def _ids(pattern: re.Pattern[str], tag: str, tags: list[str]) -> dict[str, str]:
    ours = _hash(tag, 10)
    matches = ((pattern.search(found), found) for found in tags)
    return {match[2]: found for match, found in matches if match and match[1] == ours}


def _hash(text: str, length: int) -> str:
    return base64.b32encode(sha256(text.encode()).digest()).decode().lower()[:length]
