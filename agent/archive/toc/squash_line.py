"""One line of a squash's table of contents: an entry as canonical JSON, and back (docs/reference/format.md, "Layers").

A line is parsed as JSON and is canonical if the formatted entry equals it.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from agent.archive.tar.pax import TIME_MAX
from agent.archive.toc.toc_line import (
    KIND_BY_NAME,
    checked,
    format_whiteout,
    integer,
    malformed,
    node_from_json,
    place_from_json,
    seen_from_json,
    version_from_json,
)
from agent.core.model.change import Claim, Grouped, Kept, Listed, SquashEntry, Tombstone, Touched, claim_value
from agent.core.model.entry import Kind, Node, Seen, Version
from agent.core.spelling.canonical import canonical, name_from_json, name_to_json
from agent.errors import UnsafeArchiveError

_ID = re.compile(r"[0-9a-f]{64}|sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_GROUP_MAX = 1 << 62


def format_squashed(entry: SquashEntry) -> bytes:
    """Return the line of a squash's entry, newline included.

    Raises:
        ValueError: a version or an id is none.
    """
    return canonical({"path": name_to_json(entry.path), **_fields(entry)}) + b"\n"


@lru_cache(maxsize=1 << 14)
def parse_squashed(line: bytes) -> SquashEntry | bytes:
    """Return the entry that a line (without newline) describes, or the path of a whiteout.

    Raises:
        IntegrityError: it is not exactly what `format_squashed` or `format_whiteout` writes for a valid value.
    """
    try:
        entry = _parse(json.loads(line))
        canonical_line = format_whiteout(entry) if isinstance(entry, bytes) else format_squashed(entry)
        if canonical_line != line + b"\n":
            raise ValueError("a line is not canonical")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UnsafeArchiveError) as error:
        raise malformed(line) from error
    return entry


def _fields(entry: SquashEntry) -> dict[str, Any]:
    match entry:
        case Tombstone():
            return {"op": "tombstone", "kind": str(entry.kind), "version": _version(entry.version)}
        case Listed():
            placed = {"placed": True} if entry.placed else {}
            offset = {"offset": entry.offset} if entry.offset else {}
            return {"op": "listed", **_node(entry.node), **offset, **placed, "by": _version(entry.by)}
        case Kept():
            place = {"offset": entry.offset, "group": entry.group}
            fields = {key: number for key, number in place.items() if number}
            return {"op": "kept", **_node(entry.node), **fields, "version": _version(entry.version)}
        case Grouped():
            return {"op": "grouped", "version": _version(entry.version), "of": check_id(entry.of), "group": entry.group}
        case Touched():
            mtime = {"mtime": entry.mtime} if entry.mtime else {}
            return {"op": "touched", "version": _version(entry.version), "by": _version(entry.by), **mtime}
        case Claim():
            value = {} if entry.value is None else {"value": _node(entry.value)}
            seen = {} if entry.seen is None else {"seen": _seen(entry.seen)}
            return {"op": "claim", "of": check_id(entry.of), **value, **seen}


def _node(node: Node) -> dict[str, Any]:
    fields = {
        "uid": node.uid,
        "gid": node.gid,
        "mtime": node.mtime,
        "size": node.size,
        "sha256": node.sha256.hex(),
        "target": name_to_json(node.target),
        "device": None if node.device == (0, 0) else list(node.device),
        "xattrs": [[name_to_json(name), name_to_json(value)] for name, value in node.xattrs],
    }
    return {"kind": str(node.kind), "mode": node.mode, **{key: value for key, value in fields.items() if value}}


def _version(version: Version) -> list[Any]:
    version_from_json(list(version))
    return list(version)


def _seen(seen: Seen) -> Any:
    return _version(seen) if isinstance(seen, Version) else seen


def check_id(text: Any) -> str:
    """Return the id of a change that `text` is; raise ValueError if it is none."""
    if type(text) is not str or not _ID.fullmatch(text):
        raise ValueError("an id is none")
    return text


def _parse(value: Any) -> SquashEntry | bytes:
    op, path = value["op"], checked(name_from_json(value["path"]))
    if op == "whiteout":
        return path
    if op == "tombstone":
        return Tombstone(path, KIND_BY_NAME[value["kind"]], version_from_json(value["version"]))
    if op == "listed":
        offset, _ = place_from_json(value)
        node, placed = node_from_json(value), value.get("placed", False)
        if node.kind is not Kind.DIR or (offset and not placed):
            raise ValueError("a listing is of no directory, or lies in the tar unplaced")
        return Listed(path, node, version_from_json(value["by"]), offset, placed is True)
    if op == "kept":
        return Kept(path, node_from_json(value), version_from_json(value["version"]), *place_from_json(value))
    if op == "grouped":
        group = integer(value["group"], 1, _GROUP_MAX)
        return Grouped(path, version_from_json(value["version"]), check_id(value["of"]), group)
    if op == "touched":
        mtime = integer(value.get("mtime", 0), -TIME_MAX, TIME_MAX - 1)
        return Touched(path, version_from_json(value["version"]), mtime, version_from_json(value["by"]))
    if op == "claim":
        claimed = node_from_json(value["value"]) if "value" in value else None
        if claimed is not None and claimed != claim_value(claimed):
            raise ValueError("a claim says what cannot conflict")
        return Claim(path, check_id(value["of"]), claimed, seen_from_json(value.get("seen")))
    raise ValueError("an operation is not known")
