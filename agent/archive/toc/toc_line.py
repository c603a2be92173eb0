"""One line of a table of contents: an entry as canonical JSON, and back (docs/reference/format.md, "Layers").

A line is formatted without a JSON library, because many are written. It is parsed as JSON, and is canonical if the
formatted entry equals it; `toc_block` parses those of ordinary files.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from json.encoder import encode_basestring as _quote
from typing import Any, Final

from agent.archive.stream.limits import damaged
from agent.archive.tar.pax import TIME_MAX
from agent.core.model.entry import UNPULLED, Context, Delete, Kind, Node, Seen, TocEntry, Touch, Version, Write, Xattrs
from agent.core.spelling.canonical import canonical, name_from_json, name_to_json
from agent.core.spelling.path import NAME_MAX, WHITEOUT, check_path, is_target, show
from agent.errors import IntegrityError, UnsafeArchiveError

HEADER: Final = b'{"format":1}\n'
SQUASH_HEADER: Final = b'{"format":1,"kind":"squash"}\n'

_FILE = Kind.FILE
KIND_BY_NAME = {str(kind): kind for kind in Kind}
_KIND_TEXT = {kind: f'"kind":"{kind}",' for kind in Kind}
_ID = re.compile(r"[0-9a-f]{64}|sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_HEX = re.compile(r"[0-9a-f]{64}")
ID_MAX = (1 << 32) - 2
_SIZE_MAX = 1 << 62
_STAMP_MAX = 1 << 63
_DEVICE_MAX = 8**7 - 1
_NO_NAMES = (b"", b".", b"..")


def format_entry(entry: TocEntry) -> bytes:
    """Return the line of an entry, newline included.

    Raises:
        ValueError: a version is none.
    """
    if isinstance(entry, Write):
        path, node, seen, offset, group = entry
        return _placed('"op":"write",', path, node, _seen(seen), "", offset, group)
    if isinstance(entry, Context):
        path, node, version, offset, group = entry
        text = f',"version":{_version(version)}' if version is not None else ""
        return _placed('"op":"context",', path, node, "", text, offset, group)
    name = _name(entry.path)
    if isinstance(entry, Delete):
        return f'{{{_KIND_TEXT[entry.kind]}"op":"delete","path":{name}{_seen(entry.seen)}}}\n'.encode()
    mtime = f'"mtime":{entry.mtime},' if entry.mtime else ""
    return f'{{{mtime}"op":"touch","path":{name},"version":{_version(entry.version)}}}\n'.encode()


def format_whiteout(path: bytes) -> bytes:
    """Return the line of a whiteout, newline included."""
    return f'{{"op":"whiteout","path":{_name(path)}}}\n'.encode()


def parse_line(line: bytes) -> TocEntry | bytes:
    """Return the entry that a line (without newline) describes, or the path of a whiteout.

    Raises:
        IntegrityError: it is not exactly what `format_entry` or `format_whiteout` writes for a valid value.
    """
    try:
        return _any(line)
    except (ValueError, KeyError, TypeError, RecursionError, UnsafeArchiveError) as error:
        raise malformed(line) from error


def _placed(op: str, path: bytes, node: Node, seen: str, version: str, offset: int, group: int) -> bytes:
    kind, mode, uid, gid, mtime, size, digest, target, device, xattrs = node
    head = f'"device":[{device[0]},{device[1]}],' if device != (0, 0) else ""
    if gid:
        head += f'"gid":{gid},'
    if group:
        head += f'"group":{group},'
    head += f'{_KIND_TEXT[kind]}"mode":{mode},'
    if mtime:
        head += f'"mtime":{mtime},'
    if offset:
        head += f'"offset":{offset},'
    tail = f',"sha256":"{digest.hex()}"' if digest else ""
    if size:
        tail += f',"size":{size}'
    if target:
        tail += f',"target":{_name(target)}'
    if uid:
        tail += f',"uid":{uid}'
    tail += version
    if xattrs:
        pairs = [[name_to_json(name), name_to_json(value)] for name, value in xattrs]
        tail += f',"xattrs":{canonical(pairs).decode()}'
    return f'{{{head}{op}"path":{_name(path)}{seen}{tail}}}\n'.encode()


def _name(name: bytes) -> str:
    try:
        return _quote(name.decode())
    except UnicodeDecodeError:
        return canonical(name_to_json(name)).decode()


def _seen(seen: Seen) -> str:
    if seen is None:
        return ""
    return ',"seen":"unpulled"' if isinstance(seen, str) else f',"seen":{_version(seen)}'


@lru_cache(maxsize=4096)
def _version(version: Version) -> str:
    if not _ID.fullmatch(version.id) or not 0 <= version.stamp < _STAMP_MAX:
        raise ValueError(f"{version!r} is no version")
    return f'[{version.stamp},"{version.id}"]'


@lru_cache(maxsize=4096)
def parse_version(text: bytes) -> Version:
    """Return the version that exactly this text spells.

    Raises:
        ValueError, TypeError: it is none, or not canonical.
    """
    version = version_from_json(json.loads(text))
    if _version(version).encode() != text:
        raise ValueError("a version is not canonical")
    return version


def version_from_json(value: Any) -> Version:
    """Return the version that `[stamp, id]` spells. This and what follows raise ValueError, KeyError or TypeError."""
    stamp, ident = value
    if type(stamp) is not int or type(ident) is not str:
        raise TypeError("a version is not [stamp, id]")
    version = Version(stamp, ident)
    _version(version)
    return version


def _any(line: bytes) -> TocEntry | bytes:
    value = json.loads(line)
    op, path = value["op"], checked(name_from_json(value["path"]))
    entry: TocEntry | bytes
    if op == "write":
        entry = Write(path, node_from_json(value), seen_from_json(value.get("seen")), *place_from_json(value))
    elif op == "context":
        version = version_from_json(value["version"]) if "version" in value else None
        entry = Context(path, node_from_json(value), version, *place_from_json(value))
    elif op == "delete":
        entry = Delete(path, KIND_BY_NAME[value["kind"]], version_from_json(value["seen"]))
    elif op == "touch":
        entry = Touch(
            path, version_from_json(value["version"]), integer(value.get("mtime", 0), -TIME_MAX, TIME_MAX - 1)
        )
    elif op == "whiteout":
        entry = path
    else:
        raise ValueError("an operation is not known")
    if (format_whiteout(entry) if isinstance(entry, bytes) else format_entry(entry)) != line + b"\n":
        raise ValueError("a line is not canonical")
    return entry


def seen_from_json(value: Any) -> Seen:
    """Return the version that a writer had on disk."""
    return value if value is None or value == UNPULLED else version_from_json(value)


def place_from_json(value: dict[str, Any]) -> tuple[int, int]:
    """Return the offset and the link group of an entry."""
    offset = integer(value.get("offset", 0), 0, _SIZE_MAX)
    if offset % 512:
        raise ValueError("an offset is not a multiple of 512")
    return offset, integer(value.get("group", 0), 0, _SIZE_MAX)


def node_from_json(value: dict[str, Any]) -> Node:
    """Return the attributes of an entry."""
    kind = KIND_BY_NAME[value["kind"]]
    digest = value.get("sha256", "")
    if (kind is _FILE) != bool(digest and _HEX.fullmatch(digest)):
        raise ValueError("a file has no sha256, or another kind has one")
    target = name_from_json(value.get("target", ""))
    major, minor = value.get("device", (0, 0))
    node = Node(
        kind,
        integer(value["mode"], 0, 0o7777),
        integer(value.get("uid", 0), 0, ID_MAX),
        integer(value.get("gid", 0), 0, ID_MAX),
        integer(value.get("mtime", 0), -TIME_MAX, TIME_MAX - 1),
        integer(value.get("size", 0), 0, _SIZE_MAX if kind is _FILE else 0),
        bytes.fromhex(digest),
        target,
        (integer(major, 0, _DEVICE_MAX), integer(minor, 0, _DEVICE_MAX)),
        _xattrs(value.get("xattrs", [])),
    )
    if not (is_target(target) and node.mode == 0o777 if kind is Kind.LINK else not target):
        raise ValueError("a symbolic link has no valid target or mode, or another kind has one")
    if node.device != (0, 0) and kind not in (Kind.CHAR, Kind.BLOCK):
        raise ValueError("something that is no device has a number")
    return node


def _xattrs(value: Any) -> Xattrs:
    xattrs = tuple((name_from_json(name), name_from_json(item)) for name, item in value)
    names = [name for name, _ in xattrs]
    if names != sorted(set(names)) or not all(_is_xattr(name) for name in names):
        raise ValueError("extended attributes are not sorted, or of a namespace that is not kept")
    return xattrs


def _is_xattr(name: bytes) -> bool:
    return (name.startswith(b"user.") or name == b"security.capability") and b"\0" not in name


def integer(value: Any, least: int, most: int) -> int:
    """Return a number that lies in a range."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError("a number is none or out of range")
    return value


def checked(path: bytes) -> bytes:
    """Check a path; its directory only once, since hundreds of paths share it."""
    directory, slash, name = path.rpartition(b"/")
    if directory:
        check_directory(directory)
    if (
        name in _NO_NAMES
        or len(name) > NAME_MAX
        or b"\0" in name
        or name.startswith(WHITEOUT)
        or (slash and not directory)
    ):
        raise ValueError("a path is not canonical, or only whiteouts have its name")
    return path


@lru_cache(maxsize=4096)
def check_directory(path: bytes) -> None:
    """Raise ValueError or UnsafeArchiveError if no directory of a tree can have this path."""
    if any(name.startswith(WHITEOUT) for name in check_path(path).split(b"/")):
        raise ValueError("a directory has a name that only whiteouts have")


def malformed(line: bytes) -> IntegrityError:
    """Return the error for a line."""
    return damaged("its table of contents holds a malformed line", show(line[:200]))
