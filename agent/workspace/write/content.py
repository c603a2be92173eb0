"""Write a file's content: verified while it is written, holes left out where they are cheap to find."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from agent.core.model.entry import Node
from agent.core.spelling.path import show
from agent.errors import IntegrityError

HOLE: Final = 64 << 10
"""Blocks of this length, at multiples of it, become holes where all that is written to them is zeros."""

SPARSE_FROM: Final = 1 << 20
"""Files below this size are written as they are."""

_ZEROS = bytes(HOLE)


def write_content(fd: int, path: bytes, node: Node, chunks: Iterable[bytes], verified: bool = False) -> None:
    """Write `chunks` to an empty file.

    Args:
        verified: they have been, or will be before their end is told, compared with `node.sha256` already.

    Raises:
        IntegrityError: they are not `node.size` bytes, or not those of `node.sha256` (if it has one).
        OSError: the system refused.
    """
    size, promised = 0, node[5]
    digest = sha256() if node[6] and not verified else None
    sparse = promised >= SPARSE_FROM
    for chunk in chunks:
        at, size = size, size + len(chunk)
        if size > promised:
            raise _wrong(path, "its content is longer than promised")
        if digest is not None:
            digest.update(chunk)
        if sparse:
            _write_sparse(fd, chunk, at)
        elif (done := os.write(fd, chunk)) < len(chunk):
            _write_at(fd, memoryview(chunk)[done:], at + done)
            os.lseek(fd, size, os.SEEK_SET)
    if size != promised:
        raise _wrong(path, "its content is shorter than promised")
    if digest is not None and digest.digest() != node[6]:
        raise _wrong(path, "its content is not what its sha256 promises")
    if sparse:
        os.ftruncate(fd, size)


def _write_sparse(fd: int, chunk: bytes, at: int) -> None:
    """Write a chunk but for its zeros: block by block of the file, of which a chunk may hold a part at either end."""
    view, size = memoryview(chunk), len(chunk)
    begin = place = 0
    while place < size:
        end = min(place + HOLE - (at + place) % HOLE, size)
        length = end - place
        if chunk.startswith(_ZEROS if length == HOLE else _ZEROS[:length], place):
            _write_at(fd, view[begin:place], at + begin)
            begin = end
        place = end
    _write_at(fd, view[begin:], at + begin)


def _write_at(fd: int, data: memoryview, at: int) -> None:
    while data:
        done = os.pwrite(fd, data, at)
        data, at = data[done:], at + done


def _wrong(path: bytes, what: str) -> IntegrityError:
    return IntegrityError(what, subject=show(path), remedy="the image is damaged; pull again or an older tag")
