"""Many lines of a table of contents at once, ordinary files at the speed of one regular expression.

A workspace has a hundred thousand of these: they are taken apart in one sweep over a block of lines, and what all files
of a directory share is looked at once. A line that is none of a file is tried as one of a directory. Any other goes to
`toc_line` or `squash_line`, which decide what is canonical.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, Final

from agent.archive.pax import TIME_MAX
from agent.archive.squash_line import check_id, parse_squashed
from agent.archive.toc_line import ID_MAX, check_directory, integer, malformed, parse_line, parse_version
from agent.core.change import Claim, Kept, SquashEntry
from agent.core.entry import Context, Kind, Node, TocEntry, Write
from agent.errors import UnsafeArchiveError

_FILE: Final = Kind.FILE
_DIR: Final = Kind.DIR
_SIZE_MAX: Final = 1 << 62
_TEXT = r'[^"\\\x00-\x1f\x80-\xff]'
_NAME = r'[^"\\/\x00-\x1f\x80-\xff]{1,255}+'
_MODE = r'"kind":"file","mode":(?:0|[1-9][0-9]{0,3}+),'
_PATH = rf'"path":"((?:{_TEXT}*/)?+)(?!\.wh\.|\.{{1,2}}")({_NAME})"'
_PLACE = (
    rf'(\{{(?:"gid":[1-9][0-9]{{0,9}}+,)?+{_MODE})(?:"mtime":(-?[1-9][0-9]{{0,27}}+),)?+'
    r'(?:"offset":([1-9][0-9]{0,18}+),)?+'
)
_VERSION = r"(\[[^\]\n]++\])"
_CONTENT = r'"sha256":"([0-9a-f]{64})"(?:,"size":([1-9][0-9]{0,18}+))?+((?:,"uid":[1-9][0-9]{0,9}+)?+'
_OTHER = r"|([^\n]*+)\n"
_WRITES = re.compile(rf'{_PLACE}"op":"write",{_PATH}(?:,"seen":{_VERSION})?+,{_CONTENT}\}})\n{_OTHER}')
_KEPT = re.compile(
    rf'{_PLACE}"op":"kept",{_PATH},{_CONTENT}),"version":{_VERSION}\}}\n'
    rf'|\{{"of":"([^"\n]++)","op":"claim",{_PATH}(?:,"seen":{_VERSION})?+,"value":'
    rf'(\{{{_MODE})"sha256":"([0-9a-f]{{64}})"\}}\}}\n{_OTHER}'
)
_DIRECTORY = _PLACE.replace("file", "dir")
_UID = r'(?:,"uid":[1-9][0-9]{0,9}+)?+'
_WRITTEN_DIRECTORY = re.compile(
    rf'{_DIRECTORY}"op":"(?:write",{_PATH}(?:,"seen":{_VERSION})?+|context",{_PATH})({_UID}\}})'
)
_KEPT_DIRECTORY = re.compile(rf'{_DIRECTORY}"op":"kept",{_PATH}({_UID}),"version":{_VERSION}\}}')
_CLAIMED_DIRECTORY = re.compile(
    rf'\{{"of":"([^"]++)","op":"claim",{_PATH}(?:,"seen":{_VERSION})?+,"value":\{{"kind":"dir","mode":0\}}\}}'
)
_IS_DIRECTORY: Final = Node(_DIR, 0)
_new: Any = tuple.__new__


def parse_block(block: bytes) -> list[TocEntry | bytes]:
    """Return what each line of `block` says, which ends with a newline; as `toc_line.parse_line`.

    Raises:
        IntegrityError: a line is not exactly what would be written for a valid value.
    """
    entries: list[TocEntry | bytes] = []
    add = entries.append
    # Latin-1 maps each byte to one character: numbers and hashes are read from text faster than from bytes.
    for head, time, at, directory, name, seen, digest, length, tail, other in _WRITES.findall(block.decode("latin-1")):
        try:
            if not digest:
                add(_written_directory(other) or parse_line(other.encode("latin-1")))
                continue
            version = parse_version(seen.encode()) if seen else None
            node, offset = _node(_FILE, head, time, at, directory, digest, length, tail)
        except (ValueError, TypeError, UnsafeArchiveError) as error:
            raise malformed(f"{directory}{name}".encode("latin-1")) from error
        add(_new(Write, ((directory + name).encode(), node, version, offset, 0)))
    return entries


def parse_squash_block(block: bytes) -> list[SquashEntry | bytes]:
    """Return what each line of `block` of a squash says; as `squash_line.parse_squashed`.

    Raises:
        IntegrityError: a line is not exactly what would be written for a valid value.
    """
    entries: list[SquashEntry | bytes] = []
    add = entries.append
    for line in _KEPT.findall(block.decode("latin-1")):
        head, time, at, directory, name, digest, length, tail, version, of, above, last, seen, value, claimed, other = (
            line
        )
        try:
            if digest:
                node, offset = _node(_FILE, head, time, at, directory, digest, length, tail + "}")
                kept = parse_version(version.encode())
                add(_new(Kept, ((directory + name).encode(), node, kept, offset, 0)))
            elif claimed:
                if above:
                    _directory(above)
                mode, _, _ = _owner(value, "}")
                node = _new(Node, (_FILE, mode, 0, 0, 0, 0, bytes.fromhex(claimed), b"", (0, 0), ()))
                stood = parse_version(seen.encode()) if seen else None
                add(_new(Claim, ((above + last).encode(), check_id(of), node, stood)))
            else:
                add(_squashed_directory(other) or parse_squashed(other.encode("latin-1")))
        except (ValueError, TypeError, UnsafeArchiveError) as error:
            raise malformed(f"{directory}{above}{name}{last}".encode("latin-1")) from error
    return entries


def _written_directory(line: str) -> TocEntry | None:
    """Return what a line says of a directory, None if it is no such line; raises as `_node`."""
    match = _WRITTEN_DIRECTORY.fullmatch(line)
    if match is None:
        return None
    head, time, at, above, name, seen, context_above, context_name, tail = match.groups("")
    directory = above or context_above
    node, offset = _node(_DIR, head, time, at, directory, "", "", tail)
    if context_name:
        return Context((directory + context_name).encode(), node, None, offset)
    return Write((directory + name).encode(), node, parse_version(seen.encode()) if seen else None, offset)


def _squashed_directory(line: str) -> SquashEntry | None:
    """Likewise of a line of a squash: that it is kept, or claimed."""
    if match := _KEPT_DIRECTORY.fullmatch(line):
        head, time, at, above, name, tail, version = match.groups("")
        node, offset = _node(_DIR, head, time, at, above, "", "", tail + "}")
        return Kept((above + name).encode(), node, parse_version(version.encode()), offset)
    if match := _CLAIMED_DIRECTORY.fullmatch(line):
        of, above, name, seen = match.groups("")
        if above:
            _directory(above)
        stood = parse_version(seen.encode()) if seen else None
        return Claim((above + name).encode(), check_id(of), _IS_DIRECTORY, stood)
    return None


def _node(
    kind: Kind, head: str, time: str, at: str, directory: str, digest: str, length: str, tail: str
) -> tuple[Node, int]:
    """Return attributes and place of a file or directory; raise ValueError or UnsafeArchiveError if they are none."""
    mode, uid, gid = _owner(head, tail)
    if directory:
        _directory(directory)
    mtime, offset, size = int(time or 0), int(at or 0), int(length or 0)
    if offset & 511 or offset > _SIZE_MAX or size > _SIZE_MAX or not -TIME_MAX <= mtime < TIME_MAX:
        raise ValueError("a number is out of range")
    return _new(Node, (kind, mode, uid, gid, mtime, size, bytes.fromhex(digest), b"", (0, 0), ())), offset


@lru_cache(maxsize=1024)
def _owner(head: str, tail: str) -> tuple[int, int, int]:
    """Return mode, uid and gid, which files share: `head` is what stands before the time, `tail` behind the size."""
    value = json.loads(f'{head}"size":0{tail}')
    uid, gid = integer(value.get("uid", 0), 0, ID_MAX), integer(value.get("gid", 0), 0, ID_MAX)
    return integer(value["mode"], 0, 0o7777), uid, gid


@lru_cache(maxsize=4096)
def _directory(path: str) -> None:
    check_directory(path[:-1].encode())
