"""The record of conflicts in an image (design, "Merge" and "Protocol", G7; docs/reference/format.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.core.merge.conflict import Conflict, ConflictKind
from agent.core.spelling.canonical import canonical, name_from_json, name_to_json

RECORDED_MAX = 100
"""How many conflicts an image names."""
ROOM = 256 << 10
"""Bytes of JSON for them: paths may be long and companies large, and registries bound a manifest's size."""


@dataclass(frozen=True, slots=True)
class ConflictRecord:
    """How many conflicts there are, and the first of them by path and kind."""

    count: int = 0
    first: tuple[Conflict, ...] = ()


NO_CONFLICTS = ConflictRecord()


def record_conflicts(conflicts: Sequence[Conflict]) -> ConflictRecord:
    """Return what an image says of all these conflicts."""
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
    said = json.loads(text)
    first = tuple(_from_json(item, lanes) for item in said["first"])
    if type(said["count"]) is not int or said["count"] < len(first):
        raise ValueError("count")
    record = ConflictRecord(said["count"], first)
    format_conflicts(record)  # what it cannot write, it did not write
    return record


def _to_json(conflict: Conflict) -> dict[str, Any]:
    said = {"path": name_to_json(conflict.path), "kind": conflict.kind, "ids": list(conflict.ids)}
    return {**said, "won": conflict.winner} if conflict.winner else said


def _from_json(said: Mapping[str, Any], lanes: Mapping[str, str]) -> Conflict:
    ids, won = tuple(said["ids"]), said.get("won")
    if not all(isinstance(id_, str) for id_ in (*ids, won or "")):
        raise ValueError("ids")
    path = name_from_json(said["path"])
    return Conflict(path, ConflictKind(said["kind"]), ids, tuple(lanes.get(id_) for id_ in ids), won)
