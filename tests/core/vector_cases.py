"""The merge vectors as the core's values."""

import base64
import json
from importlib.resources import files

from agent.core.model.change import Ancestor, Change, Claim, Kept, Listed, Squash, Tombstone, Touched, squash_order
from agent.core.model.entry import Context, Delete, Kind, Node, Touch, Version, Write, toc_order


def load():
    """Return the cases, each as the dictionary of the file."""
    return json.loads((files("tests") / "vectors" / "merge-vectors.json").read_bytes())


def sets(case):
    """Return (changes, squashes) of a case."""
    changes = [change(value) for value in case["changes"] if "covers" not in value]
    return changes, [squash(value) for value in case["changes"] if "covers" in value]


def change(value):
    entries = sorted((_entry(entry) for entry in value["entries"]), key=toc_order)
    return Change(
        value["id"],
        value["stamp"],
        tuple(value["parents"]),
        entries,
        "layer:" + value["id"],
        value["lane"],
        value["attempt"],
    )


def squash(value):
    return Squash(
        value["id"],
        frozenset(value["covers"]),
        frozenset(value["dropped"]),
        tuple(Ancestor(r["id"], r["stamp"], tuple(r["parents"]), r["lane"], r["attempt"]) for r in value["records"]),
        sorted((_squashed(entry) for entry in value["entries"]), key=squash_order),
        "layer:" + value["id"],
    )


def shown(rows):
    """Return tree rows in the spelling of the vectors."""
    return {row.path.decode(): _shown(row) for row in rows}


def _entry(entry):
    path = entry["path"].encode()
    match entry["op"]:
        case "write":
            return Write(path, _node(entry), _version(entry["seen"]))
        case "delete":
            return Delete(path, Kind(entry["kind"]), _version(entry["seen"]))
        case "touch":
            return Touch(path, _version(entry["version"]), entry["mtime"])
        case "context":
            return Context(path, _node({"kind": "dir", "content": None, **entry}))
    raise AssertionError(entry)


def _squashed(entry):
    path = entry["path"].encode()
    match entry["op"]:
        case "write":
            return Kept(path, _node(entry), _version(entry["version"]))
        case "tombstone":
            return Tombstone(path, Kind(entry["kind"]), _version(entry["version"]))
        case "touch":
            return Touched(path, _version(entry["version"]), entry["mtime"], _version(entry["by"]))
        case "context":
            return Listed(path, _node({"kind": "dir", "content": None, **entry}), _version(entry["by"]))
        case "claim":
            return Claim(path, entry["of"], _value(entry["value"]), _version(entry["seen"]))
    raise AssertionError(entry)


def _node(entry):
    attrs = entry["attrs"]
    xattrs = tuple(sorted((name.encode(), base64.b64decode(v)) for name, v in attrs.get("xattrs", {}).items()))
    content = (entry["content"] or "").encode()
    return Node(
        Kind(entry["kind"]),
        attrs["mode"],
        attrs["uid"],
        attrs["gid"],
        attrs.get("mtime", 0),
        sha256=content if entry["kind"] == "file" else b"",
        target=content if entry["kind"] == "link" else b"",
        xattrs=xattrs,
    )


def _value(value):
    if value is None:
        return None
    if value == ["dir"]:
        return Node(Kind.DIR, 0)
    kind, mode, content, xattrs = value
    attrs = {"mode": mode, "uid": 0, "gid": 0, "xattrs": xattrs}
    return _node({"kind": kind, "content": content, "attrs": attrs})


def _version(value):
    return Version(*value) if isinstance(value, list) else value


def _shown(row):
    node = row.node
    xattrs = {name.decode(): base64.b64encode(value).decode() for name, value in node.xattrs}
    attrs = {"mode": node.mode, "uid": node.uid, "gid": node.gid, "xattrs": xattrs}
    if node.kind is not Kind.DIR:
        attrs["mtime"] = node.mtime
    content = None if node.kind is Kind.DIR else (node.sha256 or node.target).decode()
    version = list(row.version) if row.version else None
    return {"kind": str(node.kind), "attrs": attrs, "content": content, "version": version}
