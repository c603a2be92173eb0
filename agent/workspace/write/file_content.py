"""Writes a file's content: verified while it is written, with holes for blocks of zeros."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from agent.core.model.entry import Node
from agent.core.spelling.path import show
from agent.errors import IntegrityError
from agent.workspace.write.attributes import Attributes

HOLE: Final = 64 << 10
"""Bytes of a block, at multiples of its size, that becomes a hole if it is all zeros."""

SPARSE_FROM: Final = 1 << 20
"""Bytes; smaller files are written without holes."""

_ZEROS = bytes(HOLE)


def fill_file(
    fd: int, path: bytes, node: Node, chunks: Iterable[bytes], verified: bool, attributes: Attributes
) -> os.stat_result:
    """Write content, times and attributes of an empty file, and close it.

    Args:
        fd: its descriptor, which is closed in any case.
        path, node, chunks, verified: as for `write_content`.
        attributes: sets owner, mode and extended attributes.

    Returns:
        The last `fstat`.

    Raises:
        IntegrityError, OSError: as `write_content`.
        OverflowError: a time is out of range.
    """
    try:
        write_content(fd, path, node, chunks, verified)
        os.utime(fd, ns=(node[4], node[4]))
        about = os.fstat(fd)
        if about.st_mode & 0o7777 != node[1] or about.st_uid != node[2] or about.st_gid != node[3] or node[9]:
            about = attributes.apply(fd, path, node, about, fresh=True)
        # Closed before the file is renamed: on a file server close(2) reports a full disk.
        closing, fd = fd, -1
        os.close(closing)
    finally:
        if fd >= 0:
            os.close(fd)
    return about


def write_content(fd: int, path: bytes, node: Node, chunks: Iterable[bytes], verified: bool = False) -> None:
    """Write `chunks` to an empty file.

    Args:
        verified: `chunks` compares itself with `node.sha256` before it ends.

    Raises:
        IntegrityError: the content differs from `node.size`, or from `node.sha256` (unless that is empty).
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
    """Write a chunk without its zeros, by blocks of the file; the chunk's first and last block may be partial."""
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
