"""Write a layer: whiteouts, entries and contents in, compressed chunks out, in one pass and bounded memory.

Reading and hashing contents happens in the caller's thread, compression in a pool. The upload iterates,
and so sets the pace.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple, Protocol, TypeAlias

from agent.archive.layer.frame_cutter import FrameCutter
from agent.archive.stream.compression import Compression, media_type_of
from agent.archive.stream.frames import FramePacker
from agent.archive.stream.limits import damaged
from agent.archive.tar.tar_header import BLOCK, END, PADDING, encode_header, padded, whiteout_header
from agent.archive.toc import trailer
from agent.archive.toc.toc import Toc
from agent.archive.toc.toc_rules import InTar, SquashRules, TocRules, group_of, is_in_tar
from agent.archive.toc.toc_writer import TocWriter
from agent.core.model.change import Kept, Listed, SquashEntry, Tombstone
from agent.core.model.entry import Context, Delete, Kind, Node, TocEntry, Write, new_tuple
from agent.core.spelling.digest import Digest
from agent.core.spelling.path import show
from agent.errors import AgentError, FileChangedError

_FILE = Kind.FILE

Groups: TypeAlias = dict[int, tuple[int, bytes, Node]]
"""Link groups so far: the writer's number for each, its first path and its attributes."""


class Contents(Protocol):
    """Opens a file: returns its current attributes (`size` is used, `sha256` is not) and its content.

    A small content is bytes, a larger one chunks.
    """

    def __call__(self, entry: InTar, /) -> tuple[Node, bytes | Iterator[bytes]]: ...  # noqa: D102


class PackedLayer(NamedTuple):
    """A layer that was written.

    Attributes:
        diff_id: digest of the uncompressed stream; without compression the table of contents is part of that.
        media_type: OCI's.
        size: bytes of the tar, end of archive included.
        toc: the table of contents; its `payload` is what may be inlined.
        toc_offset: offset of its bytes in the blob, wrapped for the compression.
        toc_length: how many bytes these are; they end the blob.
    """

    diff_id: Digest
    media_type: str
    size: int
    toc: Toc
    toc_offset: int
    toc_length: int


class LayerWriter:
    """Iterate to get the layer's bytes; then `result` describes it. An iterator closed early ends all threads.

    Args:
        entries: in `entry.toc_order`. Deletions and touches go to the table of contents only. Offsets are filled
            in, link groups numbered by first appearance. The first name of a group holds the content.
        whiteouts: deleted paths, in bytes order.
        contents: opens the file of an entry; called once for each file, for one name of each group.
        compression: of the layer.
        written: is called with each complete entry once its bytes are in the layer's stream.
        level: of the compression; default 3 for zstd and 4 for gzip.
        threads: that compress; default as many as there are processors for this process.

    Raises (while iterating):
        FileChangedError: a content is longer or shorter than its node says.
        IntegrityError: the entries break a rule of `TocRules`, or a deletion's `whiteout` is not what `whiteouts` says.
    """

    _squash = False

    def __init__(
        self,
        entries: Iterable[TocEntry],
        whiteouts: Sequence[bytes],
        contents: Contents,
        compression: Compression = "zstd",
        *,
        written: Callable[[TocEntry], None] | None = None,
        level: int | None = None,
        threads: int | None = None,
    ) -> None:
        self._entries = entries
        self._whiteouts = whiteouts
        self._contents = contents
        self._compression: Compression = compression
        self._written = written
        self._level = level
        self._threads = threads
        self._result: PackedLayer | None = None

    @property
    def result(self) -> PackedLayer:
        """What was written.

        Raises:
            AgentError: the iterator is not exhausted; a bug of the caller.
        """
        if self._result is None:
            raise AgentError("it is not written yet", subject="layer", remedy="report this")
        return self._result

    def __iter__(self) -> Iterator[bytes]:
        toc = TocWriter(self._whiteouts, self._compression, squash=self._squash)
        packer = FramePacker(self._compression, self._level, self._threads)
        try:
            for data in self._tar(toc):
                yield from packer.add(data)
            yield from packer.finish()
        finally:
            packer.close()
            toc.close()
        table = toc.finish(packer.frames)
        wrapped = 0
        for piece in trailer.wrap(self._compression, table.payload):
            wrapped += len(piece)
            if self._compression == "none":
                packer.diff.update(piece)
            yield piece
        diff_id = Digest("sha256:" + packer.diff.hexdigest())
        self._result = PackedLayer(diff_id, media_type_of(self._compression), table.size, table, table.offset, wrapped)

    def _tar(self, toc: TocWriter) -> Iterator[bytes]:
        """Yield the tar, frame by frame."""
        cutter = FrameCutter()
        for path in self._whiteouts:
            cutter.add(whiteout_header(path))
            yield from cutter.take()
        yield from self._body(toc, cutter)
        if cutter.room < len(END):
            cutter.cut()
        cutter.add(END)
        cutter.cut()
        yield from cutter.take()

    def _body(self, toc: TocWriter, cutter: FrameCutter) -> Iterator[bytes]:
        """Yield the frames that the entries fill."""
        rules, written = TocRules(iter(self._whiteouts)), self._written
        groups: Groups = {}
        for entry in self._entries:
            complete = entry
            if isinstance(entry, (Write, Context)):
                node, offset, group = yield from self._place(entry, entry.group, groups, cutter)
                complete = new_tuple(type(entry), (entry.path, node, entry[2], offset, group))
            rules.admit(complete)
            if isinstance(complete, Delete) and complete.whiteout != rules.has_whiteout(complete.path):
                raise damaged("a deletion and the list of whiteouts disagree", show(complete.path))
            toc.add(complete)
            if written is not None:
                written(complete)

    def _place(
        self, entry: InTar, group: int, groups: Groups, cutter: FrameCutter
    ) -> Generator[bytes, None, tuple[Node, int, int]]:
        """Put one entry into the tar, and return its final node, offset and group."""
        path, node = entry.path, entry.node
        if group and group in groups:
            _, first, node = groups[group]
            offset = cutter.place(path, encode_header(path, node, first), b"")
        elif node.kind is _FILE:
            node, content = self._contents(entry)
            if node.kind is not _FILE:
                raise _changed(path, "it is no regular file any more")
            header, size = encode_header(path, node), node.size
            if isinstance(content, bytes):
                if len(content) != size:
                    raise _changed(path, "it grew" if len(content) > size else "it shrank")
                offset, digest = cutter.place(path, header, content), sha256(content).digest()
            else:
                offset = cutter.begin(path, header, padded(size))
                digest = yield from _copy(path, size, content, cutter)
            node = new_tuple(Node, (*node[:6], digest, *node[7:]))
        else:
            offset = cutter.place(path, encode_header(path, node), b"")
        if cutter.full:
            yield from cutter.take()
        if group:
            group, _, _ = groups.setdefault(group, (len(groups) + 1, path, node))
        return node, offset, group


class SquashWriter(LayerWriter):
    """As `LayerWriter`, for a squash.

    Args:
        entries: in `squash_order`.
        whiteouts: paths of the tombstones with a whiteout, in bytes order.
        contents: opens the file of a kept entry.
    """

    _squash = True

    def __init__(
        self,
        entries: Iterable[SquashEntry],
        whiteouts: Sequence[bytes],
        contents: Contents,
        compression: Compression = "zstd",
        *,
        level: int | None = None,
        threads: int | None = None,
    ) -> None:
        super().__init__((), whiteouts, contents, compression, level=level, threads=threads)
        self._squashed = entries

    def _body(self, toc: TocWriter, cutter: FrameCutter) -> Iterator[bytes]:
        rules = SquashRules(iter(self._whiteouts))
        groups: Groups = {}
        for entry in self._squashed:
            complete = entry
            if is_in_tar(entry):
                node, offset, group = yield from self._place(entry, group_of(entry), groups, cutter)
                complete = Kept(entry.path, node, entry.version, offset, group) if isinstance(entry, Kept) else complete
                complete = entry._replace(node=node, offset=offset) if isinstance(entry, Listed) else complete
            rules.admit_squashed(complete)
            if isinstance(complete, Tombstone) and complete.whiteout and not rules.has_whiteout(complete.path):
                raise damaged("a tombstone and the list of whiteouts disagree", show(complete.path))
            toc.add_squashed(complete)


def _copy(path: bytes, size: int, chunks: Iterator[bytes], cutter: FrameCutter) -> Generator[bytes, None, bytes]:
    """Put a content into the tar, and return its sha256."""
    digest = sha256()
    left = size
    for chunk in chunks:
        digest.update(chunk)
        left -= len(chunk)
        if left < 0:
            raise _changed(path, "it grew")
        cutter.add(chunk)
        if cutter.full:
            yield from cutter.take()
    if left:
        raise _changed(path, "it shrank")
    cutter.add(PADDING[-size % BLOCK])
    return digest.digest()


def _changed(path: bytes, what: str) -> FileChangedError:
    return FileChangedError(
        f"the file changed while it was read: {what}", subject=show(path), remedy="push again when nothing writes to it"
    )
