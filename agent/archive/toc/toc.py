"""Read the table of contents of a layer: the entries of its change, its frames (docs/reference/format.md, "Layers").

A `Toc` holds the compressed payload and parses it each time it is iterated: a million entries are never a list unless a
caller makes one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from hashlib import sha256
from typing import TypeVar

from agent.archive.stream.compression import Compression
from agent.archive.stream.frames import Frame
from agent.archive.stream.limits import DEFAULT_LIMITS, ArchiveLimits, damaged, excessive
from agent.archive.tar.tar_header import END
from agent.archive.toc import trailer
from agent.archive.toc.frame_table import parse_frames
from agent.archive.toc.squash_line import parse_squashed
from agent.archive.toc.toc_block import parse_block, parse_squash_block
from agent.archive.toc.toc_line import HEADER, SQUASH_HEADER, parse_line
from agent.archive.toc.toc_payload import decompress, line_blocks
from agent.archive.toc.toc_rules import InTar, SquashRules, TocRules, increasing, is_in_tar, placed
from agent.core.model.change import SquashEntry, Tombstone
from agent.core.model.entry import Delete, TocEntry
from agent.core.spelling.path import show

_Entry = TypeVar("_Entry", TocEntry, SquashEntry)


class Toc:
    """A table of contents. Iterating gives its entries, `whiteouts` the tar's whiteouts; both read it anew each time.

    For a squash, `squashed` yields the entries. The list of whiteouts decides the `whiteout` of deletions and
    tombstones.

    Attributes:
        payload: the bytes behind the frames of the layer, unwrapped.
        text: bytes of the entry part, uncompressed.

    Args:
        payload: as above.
        limits: what to refuse.
        sha256: of the entry part, in hex, if the caller has just computed it.

    Raises:
        IntegrityError: the payload is malformed. Iterating raises it too; nothing else is raised for any bytes.
        UnsafeArchiveError: a limit is exceeded.
    """

    def __init__(self, payload: bytes, limits: ArchiveLimits = DEFAULT_LIMITS, *, sha256: str | None = None) -> None:
        self.payload = payload
        self._limits = limits
        self._stores = False
        self._stored: list[TocEntry] | None = None
        self._squashed: list[SquashEntry] | None = None
        self._has_claims = False
        self._footer = footer = trailer.parse_footer(payload[-trailer.FOOTER_SIZE :])
        if footer.payload_length != len(payload):
            raise damaged("its table of contents has another length than its footer says")
        if max(footer.entries_size, footer.frames_size, len(payload)) > limits.toc:
            raise excessive(f"its table of contents is larger than {limits.toc} bytes", limit="toc")
        self.text = footer.entries_size
        if sha256 is not None:
            self.__dict__["sha256"] = sha256

    def store_entries(self) -> None:
        """Store the entries in memory when they are read first, so that they are read only once."""
        self._stores = True

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the entry part, in hex, a part of the change's record."""
        digest = sha256()
        for piece in self._entry_pieces():
            digest.update(piece)
        return digest.hexdigest()

    @cached_property
    def payload_sha256(self) -> str:
        """The sha256 of the payload, in hex."""
        return sha256(self.payload).hexdigest()

    @cached_property
    def _table(self) -> tuple[Compression, tuple[Frame, ...]]:
        footer = self._footer
        pieces = decompress(self._part(footer.entries_length, footer.frames_length), footer.frames_size, footer.method)
        return parse_frames(line for block in line_blocks(pieces) for line in block[:-1].split(b"\n"))

    @property
    def compression(self) -> Compression:
        """How the layer is compressed."""
        return self._table[0]

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The layer's frames, which tile the blob from its start."""
        return self._table[1]

    @cached_property
    def size(self) -> int:
        """Bytes of the tar, end of archive included."""
        size = sum(frame.size for frame in self.frames)
        if size > self._limits.expanded:
            raise excessive(f"it expands to more than {self._limits.expanded} bytes", limit="bytes")
        return size

    @cached_property
    def offset(self) -> int:
        """The offset in the blob, in bytes, at which the frames end and the wrapped payload starts."""
        return sum(frame.length for frame in self.frames)

    def whiteouts(self) -> Iterator[bytes]:
        """Yield the paths of the tar's whiteouts, which are its first entries, in their order."""
        return increasing(self._whiteouts())

    @cached_property
    def is_squash(self) -> bool:
        """Whether the layer is a squash."""
        return next(line_blocks(self._entry_pieces()), b"").startswith(SQUASH_HEADER)

    @property
    def may_have_links(self) -> bool:
        """Whether an entry may be one of several names of a file. No path has this text: its quotes are escaped."""
        return any(b'"group":' in block for block in self._entry_blocks())

    @property
    def may_have_unpulled(self) -> bool:
        """Whether an entry is a write of a path that its sparse writer had not pulled; see `may_have_links`."""
        return any(b'"seen":"unpulled"' in block for block in self._entry_blocks())

    def __iter__(self) -> Iterator[TocEntry]:
        if self._stored is None and self._stores:
            self._stored = list(self._checked())
        return self._checked() if self._stored is None else iter(self._stored)

    def _checked(self) -> Iterator[TocEntry]:
        if self.is_squash:
            raise damaged("it is a squash, not a change")
        rules, end = TocRules(self.whiteouts()), self.size - len(END)
        entries: Iterator[TocEntry] = self._parsed(parse_block)
        for entry in entries:
            if rules.admits_plain(entry, end):
                yield entry
                continue
            link_to = rules.admit(entry)
            if is_in_tar(entry):
                _check_place(rules, entry, link_to, end)
            elif isinstance(entry, Delete) and rules.has_whiteout(entry.path):
                entry = entry._replace(whiteout=True)
            yield entry

    def squashed(self, *, claims: bool = True) -> Iterator[SquashEntry]:
        """Yield the entries of a squash.

        Args:
            claims: whether to yield the claims; else they may be left out.

        Raises:
            IntegrityError: it is none, or malformed.
        """
        if not self.is_squash:
            raise damaged("it is a change, not a squash")
        if self._stores and (self._squashed is None or (claims and not self._has_claims)):
            self._squashed, self._has_claims = list(self._checked_squash(claims)), claims
        return self._checked_squash(claims) if self._squashed is None else iter(self._squashed)

    def _checked_squash(self, claims: bool) -> Iterator[SquashEntry]:
        rules, marked, end = SquashRules(self.whiteouts()), b"", self.size - len(END)
        entries: Iterator[SquashEntry] = self._parsed(partial(parse_squash_block, claims=claims))
        for entry in entries:
            if rules.admits_plain_squashed(entry, end):
                yield entry
                continue
            link_to = rules.admit_squashed(entry)
            if is_in_tar(entry):
                _check_place(rules, entry, link_to, end)
            elif isinstance(entry, Tombstone) and entry.path != marked and rules.has_whiteout(entry.path):
                # Of a path's two registers the first one has the whiteout.
                entry, marked = entry._replace(whiteout=True), entry.path
            yield entry

    def placed(self) -> Iterator[tuple[InTar, bytes | None]]:
        """Yield the entries that the tar has, each with the path that it is a hard link to, None if it is none."""
        return placed(self.squashed(claims=False) if self.is_squash else self)

    def _parsed(self, parse: Callable[[bytes], Iterable[_Entry | bytes]]) -> Iterator[_Entry]:
        started, last, limits = False, b"", self._limits
        left = limits.entries
        for block in self._entry_blocks():
            for entry in parse(block):
                left -= 1
                if isinstance(entry, bytes):
                    if started or entry <= last:
                        raise damaged("its table of contents holds a whiteout out of order")
                    last = entry
                    continue
                started = True
                if left < 0:
                    raise excessive(f"its table of contents holds more than {limits.entries} entries", limit="entries")
                if len(entry.path) > limits.depth and entry.path.count(b"/") >= limits.depth:
                    raise excessive(
                        f"a path is deeper than {limits.depth} names", show(entry.path[:300]), limit="depth"
                    )
                yield entry

    def _whiteouts(self) -> Iterator[bytes]:
        parse: Callable[[bytes], TocEntry | SquashEntry | bytes] = parse_squashed if self.is_squash else parse_line
        for block in self._entry_blocks():
            for line in block.split(b"\n")[:-1]:
                path = parse(line)
                if not isinstance(path, bytes):
                    return
                yield path

    def _entry_blocks(self) -> Iterator[bytes]:
        """Yield the lines behind the header, in blocks of many."""
        blocks = line_blocks(self._entry_pieces())
        head, newline, rest = next(blocks, b"").partition(b"\n")
        if head + newline not in (HEADER, SQUASH_HEADER):
            raise damaged("its table of contents is of another format")
        if rest:
            yield rest
        yield from blocks

    def _entry_pieces(self) -> Iterator[bytes]:
        footer = self._footer
        return decompress(self._part(0, footer.entries_length), footer.entries_size, footer.method)

    def _part(self, start: int, length: int) -> memoryview:
        return memoryview(self.payload)[start : start + length]


def _check_place(rules: TocRules, entry: InTar, link_to: bytes | None, end: int) -> None:
    rules.place(entry.path, entry.node, entry.offset, link_to is not None)
    if entry.offset >= end:
        raise damaged("its table of contents goes beyond the tar")
