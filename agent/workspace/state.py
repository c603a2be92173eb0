"""What the agent remembers of a directory: one file, versioned, verified before it is believed (design section 7).

    magic line, with the format's number
    u32 length, header: JSON as the caller gave it
    u32 length, block (see `rows`); …
    u32 0
    u64 number of rows
    32 bytes: sha256 of everything before

Lengths are little-endian. The file is replaced by rename, so a kill at any instant leaves the old or the new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from itertools import islice
from types import TracebackType
from typing import Any, BinaryIO, Final

from agent.core.entry import Version
from agent.core.known import Known
from agent.core.path import show
from agent.errors import WorkspaceError
from agent.workspace.durable import Durable
from agent.workspace.failure import failed
from agent.workspace.rows import ROWS, UNREADABLE, Versions, pack, unpack
from agent.workspace.spill import MOST

FORMAT: Final = 1
_MAGIC = b"instep state "
_DIGEST = 32
_TAIL = 4 + 8 + _DIGEST
_READ = 1 << 20


class StateDamagedError(WorkspaceError):
    """What was remembered of a directory is damaged, or of a newer agent: it must be rebuilt from the image.

    WorkspaceError
    └── StateDamagedError
    """


class State:
    """What was remembered, verified as a whole. Iterating it, any number of times, yields the `Known` rows in order.

    Attributes:
        header: the JSON object that was written with them.
        rows: how many there are.
    """

    def __init__(self, file: BinaryIO, path: bytes) -> None:
        self._file = file
        self._path = path
        self._begin = 0
        self._keeps = False
        self._kept: list[Known] | None = None
        self.header: dict[str, Any] = {}
        self.rows = 0
        self._verify()

    def __enter__(self) -> State:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[Known]:
        if self._keeps and self._kept is None:
            self._kept = list(self._unpacked())
        return self._unpacked() if self._kept is None else iter(self._kept)

    def keep(self) -> None:
        """Keep the rows in memory when they are read, if they are few: reading them again costs nothing then."""
        self._keeps = self.rows <= MOST

    def _unpacked(self) -> Iterator[Known]:
        at = self._begin
        versions: list[Version | None] = [None]
        while length := int.from_bytes(self._read(4, at), "little"):
            try:
                # Verified against the checksum already: what is wrong here was written wrong.
                yield from unpack(self._read(length, at + 4), versions)
            except UNREADABLE as error:
                raise _damaged(self._path, f"has an unreadable block ({type(error).__name__})") from error
            at += 4 + length

    def close(self) -> None:
        """Close the file. Further calls are an error, closing again is not."""
        self._file.close()

    def _verify(self) -> None:
        self._size = size = os.fstat(self._file.fileno()).st_size
        line = self._file.readline(64)
        if not line.startswith(_MAGIC) or not line.endswith(b"\n") or not line[len(_MAGIC) : -1].isdigit():
            raise _damaged(self._path, "is no state")
        if int(line[len(_MAGIC) :]) != FORMAT:
            raise _damaged(self._path, f"has format {int(line[len(_MAGIC) :])}, this agent reads {FORMAT}")
        if size < len(line) + 4 + _TAIL or not self._sums_up(size):
            raise _damaged(self._path, "does not fit its checksum")
        length = int.from_bytes(self._read(4, len(line)), "little")
        self.header = self._parsed(self._read(length, len(line) + 4))
        self.rows = int.from_bytes(self._read(8, size - _DIGEST - 8), "little")
        self._begin = len(line) + 4 + length

    def _parsed(self, text: bytes) -> dict[str, Any]:
        try:
            header = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _damaged(self._path, "has a header that is not JSON") from error
        if not isinstance(header, dict):
            raise _damaged(self._path, "has a header that is no object")
        return header

    def _sums_up(self, size: int) -> bool:
        digest, at, end = sha256(), 0, size - _DIGEST
        while at < end:
            chunk = self._read(min(_READ, end - at), at)
            digest.update(chunk)
            at += len(chunk)
        return digest.digest() == self._read(_DIGEST, end)

    def _read(self, length: int, at: int) -> bytes:
        if at + length > self._size:
            raise _damaged(self._path, "ends too early")
        try:
            data = os.pread(self._file.fileno(), length, at)
        except OSError as error:
            raise failed(error, self._path, "cannot be read") from error
        if len(data) != length:
            raise _damaged(self._path, "ends too early")
        return data


def write_state(path: str | bytes, header: Mapping[str, Any], known: Iterable[Known]) -> int:
    """Replace the state at `path`, in one step, and return the number of rows.

    Args:
        path: the file; its directory must be there.
        header: what else to remember, values of JSON.
        known: the rows, in the bytes order of their paths; taken one block at a time.

    Raises:
        WorkspaceError: it cannot be written. Then, as when `known` raises, the old state stays.
    """
    name = os.fsencode(path)
    rows, numbers, source = 0, Versions(), iter(known)
    with Durable(name) as file:
        digest = sha256()

        def put(data: bytes) -> None:
            digest.update(data)
            file.write(data)

        text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
        put(_MAGIC + b"%d\n" % FORMAT + len(text).to_bytes(4, "little") + text)
        while block := list(islice(source, ROWS)):
            packed = pack(block, numbers)
            put(len(packed).to_bytes(4, "little"))
            put(packed)
            rows += len(block)
        put(bytes(4) + rows.to_bytes(8, "little"))
        file.write(digest.digest())
    return rows


def read_state(path: str | bytes) -> State | None:
    """Open and verify the state at `path`; None if there is none.

    Raises:
        StateDamagedError: it is damaged or of another format. Nothing of it can be used.
        WorkspaceError: it cannot be read.
    """
    name = os.fsencode(path)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failed(error, name, "cannot be read") from error
    file = os.fdopen(fd, "rb")
    try:
        return State(file, name)
    except BaseException as error:
        file.close()
        if isinstance(error, OSError):
            raise failed(error, name, "cannot be read") from error
        raise


def senseless(path: str) -> StateDamagedError:
    """Return the error for a state whose header is none that this program writes."""
    return _damaged(os.fsencode(path), "has a header that makes no sense")


def _damaged(path: bytes, what: str) -> StateDamagedError:
    return StateDamagedError(
        f"the state {what}", subject=show(path), remedy="pull again, which rebuilds it from the image"
    )
