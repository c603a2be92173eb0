"""Parse many lines of a table of contents at once, by one regular expression for ordinary files and directories.

A workspace has a hundred thousand of these. The expression runs once over a block of lines, and the fields that files
of a directory share are checked once. All other lines go to `toc_line` or `squash_line`, which check them.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Final

from agent.archive.tar.pax import TIME_MAX
from agent.archive.toc.squash_line import check_id, parse_squashed
from agent.archive.toc.toc_line import (
    ID_MAX,
    KIND_BY_NAME,
    check_directory,
    integer,
    malformed,
    parse_line,
    parse_version,
)
from agent.core.model.change import Claim, Kept, Listed, SquashEntry
from agent.core.model.entry import Context, Kind, Node, TocEntry, Write, new_tuple
from agent.errors import UnsafeArchiveError

_FILE: Final = Kind.FILE
_DIR: Final = Kind.DIR
_SIZE_MAX: Final = 1 << 62
_TEXT = r'[^"\\\x00-\x1f\x80-\xff]'
_NAME = r'[^"\\/\x00-\x1f\x80-\xff]{1,255}+'
_MODE = r'"mode":(?:0|[1-9][0-9]{0,3}+)'
_PATH = rf'"path":"((?:{_TEXT}*/)?+)(?!\.wh\.|\.{{1,2}}")({_NAME})"'
_VERSION = r"(\[[^\]\n]++\])"
_PLACE = (
    rf'\{{(?:"by":{_VERSION},)?+((?:"gid":[1-9][0-9]{{0,9}}+,)?+"kind":"(?:(f)ile|dir)",{_MODE},)'
    r'(?:"mtime":(-?[1-9][0-9]{0,27}+),)?+(?:"offset":([1-9][0-9]{0,18}+),)?+'
)
_CONTENT = r'(?(3),"sha256":"([0-9a-f]{64})"(?:,"size":([1-9][0-9]{0,18}+))?+)((?:,"uid":[1-9][0-9]{0,9}+)?+)'
_OTHER = r"|([^\n]*+)\n"
_WRITES = re.compile(
    rf'{_PLACE}(?(1)(?!))"op":"(?:write|(context))",{_PATH}(?(6)|(?:,"seen":{_VERSION})?+){_CONTENT}\}}\n{_OTHER}'
)
_KEPT = re.compile(
    rf'{_PLACE}"op":"(?(1)listed|kept)",{_PATH}(?(1)(?:,"placed":(true))?+){_CONTENT}'
    rf'(?(1)|,"version":{_VERSION})\}}\n'
    rf'(?(1)|(?:\{{"of":"([^"\n]++)","op":"claim","path":"\6\7"(?:,"seen":{_VERSION})?+,"value":'
    rf'\{{(?(3)("kind":"file",{_MODE},)"sha256":"\9"|"kind":"dir","mode":0)\}}\}}\n)?+){_OTHER}'
)
_IS_DIRECTORY: Final = Node(_DIR, 0)


def parse_block(block: bytes) -> list[TocEntry | bytes]:
    """Return the entry of each line of `block`, which ends with a newline; as `toc_line.parse_line`.

    Raises:
        IntegrityError: a line is not exactly what would be written for a valid value.
    """
    entries: list[TocEntry | bytes] = []
    add = entries.append
    # Latin-1 maps each byte to one character: numbers and hashes are read from text faster than from bytes.
    for _, head, _, time, at, context, above, name, seen, digest, size, tail, other in _WRITES.findall(
        block.decode("latin-1")
    ):
        if not head:
            add(parse_line(other.encode("latin-1")))
            continue
        try:
            node, offset = _node(head, time, at, above, digest, size, tail)
            version = parse_version(seen.encode()) if seen else None
        except (ValueError, TypeError, UnsafeArchiveError) as error:
            raise malformed(f"{above}{name}".encode("latin-1")) from error
        add(new_tuple(Context if context else Write, ((above + name).encode(), node, version, offset, 0)))
    return entries


def parse_squash_block(block: bytes, *, claims: bool = True) -> list[SquashEntry | bytes]:
    """Return the entries of each line of `block` of a squash; as `squash_line.parse_squashed`.

    Args:
        claims: whether to yield the claims that share a line pair with a kept entry.

    Raises:
        IntegrityError: a line is not exactly what would be written for a valid value.
    """
    entries: list[SquashEntry | bytes] = []
    add = entries.append
    for line in _KEPT.findall(block.decode("latin-1")):
        by, head, _, time, at, above, name, placed, digest, size, tail, version, of, seen, value, other = line
        if not head:
            add(parse_squashed(other.encode("latin-1")))
            continue
        try:
            path = (above + name).encode()
            node, offset = _node(head, time, at, above, digest, size, tail)
            if by:
                add(_listed(path, node, by, offset, placed))
                continue
            add(new_tuple(Kept, (path, node, parse_version(version.encode()), offset, 0)))
            if claims and of:
                seen_version = parse_version(seen.encode()) if seen else None
                add(new_tuple(Claim, (path, check_id(of), _claimed(value, node), seen_version)))
        except (ValueError, TypeError, UnsafeArchiveError) as error:
            raise malformed(f"{above}{name}".encode("latin-1")) from error
    return entries


def _listed(path: bytes, node: Node, by: str, offset: int, placed: str) -> Listed:
    if node.kind is not _DIR or (offset and not placed):
        raise ValueError("a listing is of no directory, or lies in the tar unplaced")
    return Listed(path, node, parse_version(by.encode()), offset, bool(placed))


def _claimed(value: str, node: Node) -> Node:
    """Return the value of a claim beside a kept entry; raise ValueError if it is invalid."""
    if not value:
        return _IS_DIRECTORY
    _, mode, _, _ = _owner(value, "")
    claimed: Node = new_tuple(Node, (_FILE, mode, 0, 0, 0, 0, node.sha256, b"", (0, 0), ()))
    return claimed


def _node(head: str, time: str, at: str, above: str, digest: str, length: str, tail: str) -> tuple[Node, int]:
    """Return attributes and place of a file or directory; raise ValueError or UnsafeArchiveError if invalid."""
    kind, mode, uid, gid = _owner(head, tail)
    if above:
        _directory(above)
    mtime, offset, size = int(time or 0), int(at or 0), int(length or 0)
    if offset & 511 or offset > _SIZE_MAX or size > _SIZE_MAX or not -TIME_MAX <= mtime < TIME_MAX:
        raise ValueError("a number is out of range")
    return new_tuple(Node, (kind, mode, uid, gid, mtime, size, bytes.fromhex(digest), b"", (0, 0), ())), offset


@lru_cache(maxsize=1024)
def _owner(head: str, tail: str) -> tuple[Kind, int, int, int]:
    """Return kind, mode, uid and gid, which many files share: `head` is before the time, `tail` behind the size."""
    value = json.loads(f'{{{head}"size":0{tail}}}')
    uid, gid = integer(value.get("uid", 0), 0, ID_MAX), integer(value.get("gid", 0), 0, ID_MAX)
    return KIND_BY_NAME[value["kind"]], integer(value["mode"], 0, 0o7777), uid, gid


@lru_cache(maxsize=4096)
def _directory(path: str) -> None:
    check_directory(path[:-1].encode())
