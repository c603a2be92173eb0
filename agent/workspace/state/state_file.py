"""The file with the state of a directory: versioned, and verified before use (design, "State and scan").

    magic line, with the format's number
    u32 length, header: the caller's JSON
    u32 length, block (see `row_codec`); …
    u32 0
    u64 number of rows
    32 bytes: sha256 of everything before

Integers are little-endian. The file is replaced by rename, so a kill at any time leaves the old or the new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from types import TracebackType
from typing import Any, BinaryIO, Final, NamedTuple

from agent.core.directory.state_row import StateRow
from agent.core.model.entry import Version
from agent.core.spelling.path import show
from agent.errors import WorkspaceError
from agent.workspace.filesystem.durable_files import DurableFile
from agent.workspace.filesystem.system_errors import failed
from agent.workspace.state.row_blocks import column_blocks
from agent.workspace.state.row_buffer import MOST
from agent.workspace.state.row_codec import UNREADABLE, pack, read_versions, rows_of, unpack
from agent.workspace.state.row_columns import Columns, Versions

FORMAT: Final = 2
"""The format that is written. Format 1 listed unpulled paths twice; agents of that time would read format 2's single
list as deletions."""
_MAGIC = b"instep state "
_DIGEST = 32
_TAIL = 4 + 8 + _DIGEST
_READ = 1 << 20


class StateDamagedError(WorkspaceError):
    """The state is damaged, or of a newer agent: it must be rebuilt from the image.

    WorkspaceError
    └── StateDamagedError
    """


class Part(NamedTuple):
    """The rows from the path `start` up to `stop` (exclusive); `stop` is None for the last part."""

    start: bytes
    stop: bytes | None
    rows: Iterable[StateRow]


class State:
    """A verified state. Iterating it, any number of times, yields its rows in order.

    Attributes:
        header: the JSON object that was written with the rows.
        rows: the number of rows.
    """

    def __init__(self, file: BinaryIO, path: bytes) -> None:
        self._file = file
        self._path = path
        self._begin = 0
        self._caches = False
        self._cached: list[StateRow] | None = None
        self.header: dict[str, Any] = {}
        self.rows = 0
        self._verify()

    def __enter__(self) -> State:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[StateRow]:
        rows = self._rows(self._begin, None, (None,))
        if self._caches and self._cached is None:
            self._cached = list(rows)
        return rows if self._cached is None else iter(self._cached)

    def cache(self) -> None:
        """Cache the rows in memory when they are read, if they are few."""
        self._caches = self.rows <= MOST

    def columns(self, versions: Versions) -> Iterator[Columns]:
        """Yield the rows by column, in order, their versions numbered by `versions`."""
        found: list[Version | None] = [None]
        for columns in self._columns(self._begin, None, found):
            with self._translate_errors():
                columns.renumber(found, versions)
            yield columns

    def parts(self, most: int) -> list[Part]:
        """Return the rows in at most this many parts of about equal length.

        Raises:
            StateDamagedError: a block is invalid.
        """
        versions: list[Version | None] = [None]
        blocks = list(self._blocks(self._begin, None))
        firsts = {len(blocks) * number // most for number in range(most)}
        starts = []
        for number, (at, length) in enumerate(blocks):
            block, earlier = self._read(length, at + 4), tuple(versions)
            with self._translate_errors():
                read_versions(block, versions)
                if number in firsts:
                    starts.append((unpack(block, []).paths[0] if number else b"", at, earlier))
        starts = starts or [(b"", self._begin, (None,))]
        ends = [*starts[1:], (None, None, ())]
        return [
            Part(start, stop, self._rows(at, end, earlier))
            for (start, at, earlier), (stop, end, _) in zip(starts, ends, strict=True)
        ]

    def close(self) -> None:
        """Close the file. May be called twice; other calls are an error then."""
        self._file.close()

    def _rows(self, at: int, end: int | None, earlier: Sequence[Version | None]) -> Iterator[StateRow]:
        versions = list(earlier)
        for columns in self._columns(at, end, versions):
            with self._translate_errors():
                rows = rows_of(columns, versions)
            yield from rows

    def _columns(self, at: int, end: int | None, versions: list[Version | None]) -> Iterator[Columns]:
        for place, length in self._blocks(at, end):
            with self._translate_errors():
                columns = unpack(self._read(length, place + 4), versions)
            yield columns

    def _blocks(self, at: int, end: int | None) -> Iterator[tuple[int, int]]:
        """Yield offset and length of each block from `at` up to `end`."""
        while at != end and (length := int.from_bytes(self._read(4, at), "little")):
            yield at, length
            at += 4 + length

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except UNREADABLE as error:
            # The checksum was right, so the block was written wrong.
            raise _damaged(self._path, f"has an unreadable block ({type(error).__name__})") from error

    def _verify(self) -> None:
        self._size = size = os.fstat(self._file.fileno()).st_size
        line = self._file.readline(64)
        if not line.startswith(_MAGIC) or not line.endswith(b"\n") or not line[len(_MAGIC) : -1].isdigit():
            raise _damaged(self._path, "is no state")
        if not 1 <= int(line[len(_MAGIC) :]) <= FORMAT:
            raise _damaged(self._path, f"has format {int(line[len(_MAGIC) :])}, this agent reads {FORMAT}")
        if size < len(line) + 4 + _TAIL or not self._has_valid_checksum(size):
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

    def _has_valid_checksum(self, size: int) -> bool:
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


def write_state(path: str | bytes, header: Mapping[str, Any], rows: Iterable[StateRow]) -> int:
    """Replace the state at `path`, in one step, and return the number of rows.

    Args:
        path: the file; its directory must exist.
        header: other data, values of JSON.
        rows: state rows, in the bytes order of their paths; taken one block at a time.

    Raises:
        WorkspaceError: the file cannot be written. Then, as after an exception of `rows`, the old state stays.
    """
    name = os.fsencode(path)
    count, versions = 0, Versions()
    with DurableFile(name) as file:
        digest = sha256()

        def put(data: bytes) -> None:
            digest.update(data)
            file.write(data)

        text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
        put(_MAGIC + b"%d\n" % FORMAT + len(text).to_bytes(4, "little") + text)
        for columns in column_blocks(rows, versions):
            packed = pack(columns, versions)
            put(len(packed).to_bytes(4, "little"))
            put(packed)
            count += len(columns)
        put(bytes(4) + count.to_bytes(8, "little"))
        file.write(digest.digest())
    return count


def read_state(path: str | bytes) -> State | None:
    """Open and verify the state at `path`; return None if there is no file.

    Raises:
        StateDamagedError: the state is damaged, or of another format. Nothing of it can be used.
        WorkspaceError: the file cannot be read.
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


def invalid_header(path: str) -> StateDamagedError:
    """Return the error for a state with a header that this program would not write."""
    return _damaged(os.fsencode(path), "has a header that makes no sense")


def _damaged(path: bytes, what: str) -> StateDamagedError:
    return StateDamagedError(
        f"the state {what}", subject=show(path), remedy="pull again, which rebuilds it from the image"
    )
