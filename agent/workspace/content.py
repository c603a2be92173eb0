"""Write a file's content: verified while it is written, holes left out where they are cheap to find."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from agent.core.entry import Node
from agent.core.path import show
from agent.errors import IntegrityError

HOLE: Final = 64 << 10
"""A run of zeros this long, at a multiple of its length, becomes a hole."""

SPARSE_FROM: Final = 1 << 20
"""Files below this size are written as they are."""

_ZEROS = bytes(HOLE)


def write_content(fd: int, path: bytes, node: Node, chunks: Iterable[bytes]) -> None:
    """Write `chunks` to an empty file.

    Raises:
        IntegrityError: they are not `node.size` bytes, or not those of `node.sha256` (if it has one).
        OSError: the system refused.
    """
    size, digest = 0, sha256()
    verified, sparse = bool(node.sha256), node.size >= SPARSE_FROM
    for chunk in chunks:
        at, size = size, size + len(chunk)
        if size > node.size:
            raise _wrong(path, "its content is longer than promised")
        if verified:
            digest.update(chunk)
        if sparse:
            _write_sparse(fd, chunk, at)
        elif (done := os.write(fd, chunk)) < len(chunk):
            _write_at(fd, memoryview(chunk)[done:], at + done)
            os.lseek(fd, size, os.SEEK_SET)
    if size != node.size:
        raise _wrong(path, "its content is shorter than promised")
    if verified and digest.digest() != node.sha256:
        raise _wrong(path, "its content is not what its sha256 promises")
    if sparse:
        os.ftruncate(fd, size)


def _write_sparse(fd: int, chunk: bytes, at: int) -> None:
    view = memoryview(chunk)
    begin = 0
    for place in range(-at % HOLE, len(chunk) - HOLE + 1, HOLE):
        if chunk.startswith(_ZEROS, place):
            _write_at(fd, view[begin:place], at + begin)
            begin = place + HOLE
    _write_at(fd, view[begin:], at + begin)


def _write_at(fd: int, data: memoryview, at: int) -> None:
    while data:
        done = os.pwrite(fd, data, at)
        data, at = data[done:], at + done


def _wrong(path: bytes, what: str) -> IntegrityError:
    return IntegrityError(what, subject=show(path), remedy="the image is damaged; pull again or an older tag")
