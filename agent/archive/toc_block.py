"""Many lines of a table of contents at once, ordinary files at the speed of one regular expression.

A workspace has a hundred thousand of these: they are taken apart in one sweep over a block of lines, and what all files
of a directory share is looked at once. Any other line goes to `toc_line`, which decides what is canonical.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, Final

from agent.archive.pax import TIME_MAX
from agent.archive.toc_line import ID_MAX, check_directory, integer, malformed, parse_line, parse_version
from agent.core.entry import Kind, Node, TocEntry, Write
from agent.errors import UnsafeArchiveError

_FILE: Final = Kind.FILE
_SIZE_MAX: Final = 1 << 62
_TEXT = r'[^"\\\x00-\x1f\x80-\xff]'
_NAME = r'[^"\\/\x00-\x1f\x80-\xff]{1,255}+'
_LINES = re.compile(
    r'(\{(?:"gid":[1-9][0-9]{0,9}+,)?+"kind":"file","mode":(?:0|[1-9][0-9]{0,3}+),)(?:"mtime":(-?[1-9][0-9]{0,27}+),)?+'
    rf'(?:"offset":([1-9][0-9]{{0,18}}+),)?+"op":"write","path":"((?:{_TEXT}*/)?+)(?!\.wh\.|\.{{1,2}}")({_NAME})"'
    r'(?:,"seen":(\[[^\]\n]++\]))?+,"sha256":"([0-9a-f]{64})"(?:,"size":([1-9][0-9]{0,18}+))?+'
    r'((?:,"uid":[1-9][0-9]{0,9}+)?+\})\n|([^\n]*+)\n'
)
_new: Any = tuple.__new__


def parse_block(block: bytes) -> list[TocEntry | bytes]:
    """Return what each line of `block` says, which ends with a newline; as `toc_line.parse_line`.

    Raises:
        IntegrityError: a line is not exactly what would be written for a valid value.
    """
    entries: list[TocEntry | bytes] = []
    add = entries.append
    # Latin-1 maps each byte to one character: numbers and hashes are read from text faster than from bytes.
    for head, time, at, directory, name, seen, digest, length, tail, other in _LINES.findall(block.decode("latin-1")):
        if not digest:
            add(parse_line(other.encode("latin-1")))
            continue
        try:
            mode, uid, gid = _owner(head, tail)
            if directory:
                _directory(directory)
            version = parse_version(seen.encode()) if seen else None
        except (ValueError, UnsafeArchiveError) as error:
            raise malformed(f"{directory}{name}".encode("latin-1")) from error
        mtime, offset, size = int(time or 0), int(at or 0), int(length or 0)
        if offset & 511 or offset > _SIZE_MAX or size > _SIZE_MAX or not -TIME_MAX <= mtime < TIME_MAX:
            raise malformed(f"{directory}{name}".encode("latin-1"))
        node = _new(Node, (_FILE, mode, uid, gid, mtime, size, bytes.fromhex(digest), b"", (0, 0), ()))
        add(_new(Write, ((directory + name).encode(), node, version, offset, 0)))
    return entries


@lru_cache(maxsize=1024)
def _owner(head: str, tail: str) -> tuple[int, int, int]:
    """Return mode, uid and gid, which files share: `head` is what stands before the time, `tail` behind the size."""
    value = json.loads(f'{head}"size":0{tail}')
    uid, gid = integer(value.get("uid", 0), 0, ID_MAX), integer(value.get("gid", 0), 0, ID_MAX)
    return integer(value["mode"], 0, 0o7777), uid, gid


@lru_cache(maxsize=4096)
def _directory(path: str) -> None:
    check_directory(path[:-1].encode())
