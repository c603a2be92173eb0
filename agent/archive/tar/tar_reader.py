"""Read the tars of all tools: V7, ustar, pax (global and extended headers), old GNU; sparse files as their content.

A tar that two common readers understand differently is refused: two extended headers for one entry, an extended
header together with a GNU long name, global names and sizes. Nothing is extracted here; paths are checked, never
followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.archive.stream.byte_source import ByteSource
from agent.archive.stream.limits import DEFAULT_LIMITS, ArchiveLimits, damaged, excessive
from agent.archive.tar import sparse
from agent.archive.tar.header_decoder import STORED, Fields, check_sum, decode, parse_size
from agent.archive.tar.member import interpret
from agent.archive.tar.pax import parse_records
from agent.archive.tar.tar_header import BLOCK, END, padded
from agent.core.model.entry import Kind
from agent.core.model.tar_item import Placed, TarItem
from agent.core.spelling.path import show

_ZERO = END[:BLOCK]
_EXTENDED, _GLOBAL, _LONG_NAME, _LONG_TARGET, _VOLUME, _SPARSE = b"xgLKVS"
_LONG = frozenset((_LONG_NAME, _LONG_TARGET))
_NOT_GLOBAL = (b"path", b"linkpath", b"size", b"GNU.sparse.")
_PIECE = 1 << 20
_AHEAD = 16
"""The number of extended headers of the largest size that may precede one entry."""

Records = list[tuple[bytes, bytes]]


def read_tar(
    chunks: Iterable[bytes], limits: ArchiveLimits = DEFAULT_LIMITS, *, end_required: bool = True
) -> Iterator[tuple[TarItem, Iterator[bytes]]]:
    """Yield the items of a tar, with each file's content.

    A content that was not consumed when the next entry is asked for is skipped, and must not be used after that.

    Args:
        chunks: the tar's bytes, in pieces of any size.
        limits: what to refuse.
        end_required: whether a tar without end of archive (two zero blocks) is truncated. Some writers leave it out;
            if the whole stream has a digest, accepting that is safe.

    Raises:
        IntegrityError: it is damaged or truncated, or readers disagree about what it says.
        UnsafeArchiveError: a path leaves the root, a whiteout is malformed, a limit is exceeded.
    """
    reader = TarReader(chunks, limits, end_required=end_required)
    for item, data in reader.members():
        yield item, reader.stream() if data is None else iter((data,) if data else ())


class TarReader:
    """The parser of `read_tar`, for readers that need the headers' bytes, too.

    Attributes:
        header: the bytes of the current entry in front of its content, extended headers included.
    """

    def __init__(
        self, chunks: Iterable[bytes], limits: ArchiveLimits = DEFAULT_LIMITS, *, end_required: bool = True
    ) -> None:
        self.header = b""
        self._source = ByteSource(chunks, "the tar")
        self._limits = limits
        self._end_required = end_required
        self._globals: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self._left = 0
        self._padding = 0
        self._expansion: tuple[int, tuple[sparse.Segment, ...]] | None = None
        self._entries = 0
        self._described = 0
        self._ahead = 0

    @property
    def offset(self) -> int:
        """How many bytes of the tar were taken so far."""
        return self._source.offset

    def rest(self) -> Iterator[bytes]:
        """Yield what follows the end of archive."""
        return self._source.rest()

    def members(self) -> Iterator[tuple[TarItem, bytes | None]]:
        """Yield each entry with its content, None where that is to be read with `stream`; see `read_tar`."""
        source, limits = self._source, self._limits
        expanded = 0
        while (found := self._next_member()) is not None:
            self._entries += 1
            if self._entries > limits.entries:
                raise excessive(f"it holds more than {limits.entries} entries", limit="entries")
            item, data = found
            if item is not None:
                if type(item) is Placed:
                    expanded += item.node.size
                    if expanded > limits.expanded:
                        raise excessive(f"it holds more than {limits.expanded} bytes", limit="bytes")
                yield item, data
            if self._end_required:
                source.skip(self._left + self._padding)
            else:
                # A writer that leaves out the end of archive may leave out the last padding with it (umoci insert).
                source.skip(self._left)
                source.skip_most(self._padding)

    def stream(self) -> Iterator[bytes]:
        """Return the content of the current entry, if `members` gave None for it."""
        stored = self._stored(self._entries)
        return stored if self._expansion is None else sparse.expand(*self._expansion, stored)

    def _stored(self, entry: int) -> Iterator[bytes]:
        while self._left:
            if entry != self._entries:
                raise RuntimeError("the content of an earlier entry was asked for")
            data = self._source.some(min(self._left, _PIECE))
            self._left -= len(data)
            yield data

    def _next_member(self) -> tuple[TarItem | None, bytes | None] | None:
        source = self._source
        offset = source.offset
        parts = self._parts = []
        self._ahead = 0
        records: Records = []
        names: dict[int, bytes] = {}
        while True:
            block = self._next_header(pending=bool(records or names))
            if block is None:
                return None
            parts.append(block)
            flag = block[156]
            if flag == _EXTENDED:
                if records or names:
                    raise damaged("an entry has two extended headers")
                records = parse_records(self._take_data(block))
            elif flag == _GLOBAL:
                self._take_globals(block, pending=bool(records or names))
            elif flag in _LONG:
                if flag in names or records:
                    raise damaged("an entry has two long names")
                names[flag] = self._take_long_name(block)
            elif flag == _VOLUME:
                if records or names:
                    raise damaged("a volume's label has an extended header")
                self._describe(BLOCK)
                source.skip(padded(parse_size(block[124:136])))
            else:
                break
        values = {**self._globals, **dict(records)} if self._globals or len(records) > 1 else dict(records)
        fields = decode(block, values, names.get(_LONG_NAME), names.get(_LONG_TARGET))
        return self._place(fields, self._sparse(block, records), offset)

    def _place(self, fields: Fields, holes: sparse.Sparse | None, offset: int) -> tuple[TarItem | None, bytes | None]:
        source, parts = self._source, self._parts
        if holes is not None and holes.name:
            fields = fields._replace(name=holes.name)
        item = interpret(fields, offset, self._limits)
        stored = fields.size
        self._left, self._padding, self._expansion = stored, -stored % BLOCK, None
        self.header = parts[0] if len(parts) == 1 else b"".join(parts)
        if type(item) is not Placed or item.node.kind is not Kind.FILE:
            return item, b""
        if holes is not None:
            return self._open_sparse(item, holes), None
        end = source.at + stored
        if end > len(source.chunk):
            return item, None
        data = source.chunk[source.at : end]
        source.at = end
        self._left = 0
        return item, data

    def _open_sparse(self, item: Placed, holes: sparse.Sparse) -> Placed:
        segments = holes.segments
        if segments is None:
            segments, taken = sparse.read_map(self._source)
            self._left -= taken
        if self._left < 0:
            raise damaged("a sparse file's map is longer than its data", show(item.path))
        sparse.check(holes, segments, self._left)
        self._expansion = (holes.size, segments)
        return item._replace(node=item.node._replace(size=holes.size))

    def _sparse(self, block: bytes, records: Records) -> sparse.Sparse | None:
        flag = block[156]
        alone = len(records) == 1 and records[0][0] == b"mtime"  # what nearly every entry has
        holes = sparse.parse_pax(records) if records and not alone else None
        if holes is not None and (flag not in STORED or flag == _SPARSE):
            raise damaged("an entry is sparse that is no file, or is sparse in two ways")
        if flag != _SPARSE:
            return holes

        def extensions() -> Iterator[bytes]:
            while True:
                self._parts.append(self._source.take(BLOCK))
                yield self._parts[-1]

        return sparse.parse_old(block, ByteSource(extensions(), "the tar"), parse_size)

    def _next_header(self, *, pending: bool) -> bytes | None:
        """Return the next header of any type, None at the end of archive."""
        source = self._source
        end = source.at + BLOCK
        if end <= len(source.chunk):
            block = source.chunk[source.at : end]
            source.at = end
        elif not self._end_required and not pending and source.at_end():
            return None
        else:
            block = source.take(BLOCK)
        if block != _ZERO:
            check_sum(block)
            return block
        if pending:
            raise damaged("the tar ends after an extended header")
        if (self._end_required or not source.at_end()) and source.take(BLOCK) != _ZERO:
            raise damaged("the tar has a lone zero block")
        return None

    def _take_data(self, block: bytes) -> bytes:
        size = parse_size(block[124:136])
        if size > self._limits.header:
            raise excessive(f"an extended header is larger than {self._limits.header} bytes")
        self._describe(size)
        data = self._source.take(padded(size))
        self._parts.append(data)
        return data[:size]

    def _take_long_name(self, block: bytes) -> bytes:
        """Return a long name. One that is empty, or goes on in the padding, means different things to readers."""
        size = len(self._take_data(block))
        name = self._parts[-1].partition(b"\0")[0]
        if not 0 < len(name) <= size:
            raise damaged("an entry has a long name of another length than it says")
        return name

    def _describe(self, size: int) -> None:
        """Count the bytes of headers in memory: names, targets, attributes, and headers that no entry follows."""
        self._described += size
        self._ahead += size
        if self._ahead > _AHEAD * self._limits.header:
            raise excessive("too many extended headers stand before one entry")
        if self._described > self._limits.toc:
            raise excessive(f"its extended headers hold more than {self._limits.toc} bytes", limit="toc")

    def _take_globals(self, block: bytes, *, pending: bool) -> None:
        self._describe(BLOCK)
        found = parse_records(self._take_data(block))
        if pending or any(key.startswith(_NOT_GLOBAL) for key, _ in found):
            raise damaged("a global header says what only an entry's own can")
        self._globals.update(found)
        if sum(len(key) + len(value) for key, value in self._globals.items()) > self._limits.header:
            raise excessive("the global headers are larger than the limit")
