"""The list of a layer's frames at the end of its table of contents, as lines of canonical JSON, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from agent.archive.stream.compression import COMPRESSIONS, Compression
from agent.archive.stream.frames import Frame
from agent.archive.stream.limits import damaged
from agent.core.spelling.canonical import canonical

_SIZE_MAX: Final = 1 << 62


def format_frames(compression: Compression, frames: Iterable[Frame]) -> bytes:
    """Return the lines: one with the compression, then one for each frame, from the blob's start."""
    lines = [canonical({"compression": compression, "format": 1})]
    lines += [canonical({"length": frame.length, "sha256": frame.sha256.hex(), "size": frame.size}) for frame in frames]
    return b"\n".join((*lines, b""))


def parse_frames(lines: Iterator[bytes]) -> tuple[Compression, tuple[Frame, ...]]:
    """Return the compression and the frames that `format_frames` wrote; lines come without newlines.

    Raises:
        IntegrityError: a line is malformed, or there are no frames.
    """
    try:
        head = json.loads(next(lines, b""))
        frames = tuple(_frame(json.loads(line)) for line in lines)
        compression: Compression = head["compression"]
        if head["format"] != 1 or compression not in COMPRESSIONS or not frames:
            raise ValueError("a format or compression is not known, or there are no frames")
        return compression, frames
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged("its list of frames is malformed") from error


def _frame(value: Any) -> Frame:
    frame = Frame(value["length"], value["size"], bytes.fromhex(value["sha256"]))
    if type(frame.length) is not int or type(frame.size) is not int or len(frame.sha256) != 32:
        raise TypeError("a frame's numbers are none")
    if not (0 < frame.length <= _SIZE_MAX and 0 < frame.size <= _SIZE_MAX):
        raise ValueError("a frame's size is out of range")
    return frame
