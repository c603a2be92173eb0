"""The record of conflicts in an image (design, "Merge" and "Protocol", G7; docs/reference/format.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.core.merge.conflict import Conflict, ConflictKind
from agent.core.spelling.canonical import canonical, name_from_json, name_to_json

RECORDED_MAX = 100
"""The number of conflicts that an image names."""
ROOM = 256 << 10
"""Bytes of JSON for them: paths may be long, conflicts many, and registries limit the size of a manifest."""


@dataclass(frozen=True, slots=True)
class ConflictRecord:
    """The number of conflicts, and the first of them by path and kind."""

    count: int = 0
    first: tuple[Conflict, ...] = ()


NO_CONFLICTS = ConflictRecord()


def record_conflicts(conflicts: Sequence[Conflict]) -> ConflictRecord:
    """Return the record of all these conflicts, limited to what an image names."""
    first, room = [], ROOM
    for conflict in conflicts[:RECORDED_MAX]:
        room -= len(canonical(_to_json(conflict)))
        if room < 0:
            break
        first.append(conflict)
    return ConflictRecord(len(conflicts), tuple(first))


def format_conflicts(record: ConflictRecord) -> str:
    """Return a record as canonical JSON. Lanes are left out, as the records of the changes name them."""
    return canonical({"count": record.count, "first": [_to_json(conflict) for conflict in record.first]}).decode()


def parse_conflicts(text: str, lanes: Mapping[str, str]) -> ConflictRecord:
    """Return the record that `format_conflicts` wrote.

    Args:
        lanes: the lane of each change by its id; a base has none.

    Raises:
        ValueError, KeyError, TypeError: it did not write this.
    """
    value = json.loads(text)
    first = tuple(_from_json(item, lanes) for item in value["first"])
    if type(value["count"]) is not int or value["count"] < len(first):
        raise ValueError("count")
    record = ConflictRecord(value["count"], first)
    format_conflicts(record)  # raises what it could not have written
    return record


def _to_json(conflict: Conflict) -> dict[str, Any]:
    value = {"path": name_to_json(conflict.path), "kind": conflict.kind, "ids": list(conflict.ids)}
    return {**value, "won": conflict.winner} if conflict.winner else value


def _from_json(value: Mapping[str, Any], lanes: Mapping[str, str]) -> Conflict:
    ids, won = tuple(value["ids"]), value.get("won")
    if not all(isinstance(id_, str) for id_ in (*ids, won or "")):
        raise ValueError("ids")
    path = name_from_json(value["path"])
    return Conflict(path, ConflictKind(value["kind"]), ids, tuple(lanes.get(id_) for id_ in ids), won)
