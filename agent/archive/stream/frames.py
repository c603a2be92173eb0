"""Frames: the pieces of about 4 MiB of tar that a layer is compressed in, so that each can be read alone.

A frame is a zstd frame, a gzip member, or a plain piece of the tar. Compression runs in a pool: zstandard, zlib and
hashlib release the interpreter's lock.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from typing import Final, NamedTuple

import zstandard

from agent.archive.stream.compression import Compression
from agent.archive.stream.gzip import pack_member

FRAME: Final = 4 << 20
"""Bytes of tar that a frame holds, at most."""
FRAME_FULL: Final = 1 << 20
"""A frame with at least this much before an entry's border may end there rather than have an entry cross its end."""
LEVELS: Final[dict[Compression, int]] = {"zstd": 3, "gzip": 4, "none": 0}

_THREADS_MAX = 8


class Frame(NamedTuple):
    """One frame: `length` bytes in the blob with this sha256 (raw), `size` bytes of tar."""

    length: int
    size: int
    sha256: bytes


class FramePacker:
    """Compresses frames in parallel and yields them in order; at most a few are in memory.

    Attributes:
        frames: those that were yielded so far.
        diff: the sha256 of the tar that was yielded so far, or more; complete after `finish`.
    """

    def __init__(self, compression: Compression, level: int | None = None, threads: int | None = None) -> None:
        count = threads or min(len(os.sched_getaffinity(0)), _THREADS_MAX)
        self.frames: list[Frame] = []
        self.diff = sha256()
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="frame")
        # One thread, so that the hash takes the frames in order. The caller hashes contents meanwhile.
        self._order = ThreadPoolExecutor(1, thread_name_prefix="diff")
        self._depth = count + 1
        self._pending: deque[tuple[int, Future[None], Future[tuple[bytes, bytes]]]] = deque()
        self._pack = _packer(compression, LEVELS[compression] if level is None else level)

    def add(self, data: bytes) -> Iterator[bytes]:
        """Add one frame's tar, and yield the compressed frames that are next in order."""
        hashed = self._order.submit(self.diff.update, data)
        self._pending.append((len(data), hashed, self._pool.submit(self._pack, data)))
        while len(self._pending) > self._depth:
            yield self._next()

    def finish(self) -> Iterator[bytes]:
        """Yield the frames that are left."""
        while self._pending:
            yield self._next()

    def close(self) -> None:
        """End the pool's threads; what is pending is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._order.shutdown(wait=True, cancel_futures=True)

    def _next(self) -> bytes:
        size, hashed, future = self._pending.popleft()
        hashed.result()
        frame, digest = future.result()
        self.frames.append(Frame(len(frame), size, digest))
        return frame


def _packer(compression: Compression, level: int) -> Callable[[bytes], tuple[bytes, bytes]]:
    if compression == "none":
        return lambda data: (data, sha256(data).digest())
    if compression == "gzip":
        return lambda data: _with_digest(pack_member(data, level))
    idle: list[zstandard.ZstdCompressor] = []

    def pack(data: bytes) -> tuple[bytes, bytes]:
        # A compressor serves one thread at a time, and its tables are worth keeping.
        try:
            compressor = idle.pop()
        except IndexError:
            compressor = zstandard.ZstdCompressor(level=level, write_checksum=False, write_content_size=True)
        frame = compressor.compress(data)
        idle.append(compressor)
        return _with_digest(frame)

    return pack


def _with_digest(frame: bytes) -> tuple[bytes, bytes]:
    return frame, sha256(frame).digest()
