"""The record of a squash: the changes that one layer covers (design, "Merge"; docs/reference/format.md)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any

from agent.core.model.entry import Version
from agent.core.model.record import FORMAT, Record, parse_record
from agent.core.spelling.canonical import canonical
from agent.core.spelling.digest import Digest, parse_digest
from agent.errors import IntegrityError

_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class SquashRecord:
    """One squash, described.

    Attributes:
        target: the target's tag.
        covers: the records of the changes that it covers, sorted by id; at least one.
        dropped: the records of the changes that its writer found superseded, sorted by id.
        diff_id: digest of the layer's tar.
        toc: sha256 (hex) of the entry part of the layer's table of contents.
        plain: the covered changes are a chain that ended what its writer squashed from, and the layers up to this
            one, applied plainly or by a union file system, give the tree as of the newest of them.
    """

    target: str
    covers: tuple[Record, ...]
    dropped: tuple[Record, ...]
    diff_id: Digest
    toc: str
    plain: bool = False

    @cached_property
    def text(self) -> str:
        """The canonical JSON whose hash is the id."""
        value: dict[str, Any] = {
            "format": FORMAT,
            "target": self.target,
            "covers": [json.loads(record.text) for record in self.covers],
            "dropped": [json.loads(record.text) for record in self.dropped],
            "diff_id": self.diff_id,
            "toc": self.toc,
        }
        if self.plain:
            value["plain"] = True
        return canonical(value).decode()

    @cached_property
    def id(self) -> str:
        """The squash's id: sha256 of `text`, 64 hex digits."""
        return sha256(self.text.encode()).hexdigest()

    @cached_property
    def ids(self) -> frozenset[str]:
        """The ids of the changes that it covers."""
        return frozenset(record.id for record in self.covers)

    @cached_property
    def dropped_ids(self) -> frozenset[str]:
        """The ids of the changes that its writer found superseded."""
        return frozenset(record.id for record in self.dropped)

    @property
    def records(self) -> tuple[Record, ...]:
        """The records of both."""
        return (*self.covers, *self.dropped)

    @cached_property
    def version(self) -> Version:
        """The largest version that it covers, which is its place among the layers (design, "Head")."""
        return max(record.version for record in self.covers)


def is_squash_text(text: str) -> bool:
    """Return whether a text may be the record of a squash, and not of a change, which has no list of that name."""
    return '"covers":[' in text and '"diff_id"' in text


@lru_cache(maxsize=32)
def parse_squash(text: str) -> SquashRecord:
    """Return the record that `SquashRecord.text` wrote.

    Raises:
        IntegrityError: it is not the canonical text of a squash's record of this format.
    """
    try:
        value = json.loads(text)
        squash = SquashRecord(
            target=value["target"],
            covers=tuple(parse_record(canonical(item).decode()) for item in value["covers"]),
            dropped=tuple(parse_record(canonical(item).decode()) for item in value["dropped"]),
            diff_id=parse_digest(value["diff_id"]),
            toc=value["toc"],
            plain=value.get("plain", False) is True,
        )
        is_canonical = squash.text == text
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _not_ours(f"unreadable ({type(error).__name__})", text) from error
    if not is_canonical or type(squash.target) is not str or not _is_hex(squash.toc):
        raise _not_ours("not in canonical form", text)
    for records in (squash.covers, squash.dropped):
        ids = [record.id for record in records]
        if ids != sorted(set(ids)):
            raise _not_ours("not sorted by the changes' ids", text)
    if not squash.covers or squash.ids & squash.dropped_ids:
        raise _not_ours("empty, or drops what it covers", text)
    return squash


def _is_hex(value: Any) -> bool:
    return type(value) is str and _HEX.fullmatch(value) is not None


def _not_ours(what: str, text: str) -> IntegrityError:
    return IntegrityError(
        f"a squash's record is {what}", subject=text[:120], remedy="the image was edited; pull an older tag"
    )
