"""The layer of a push: read from the directory, packed and uploaded in one pass."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from agent.archive.layer.writer import LayerWriter, PackedLayer
from agent.archive.toc.toc_rules import InTar
from agent.core.directory.scan_diff import ChangeEntries
from agent.core.directory.state_row import Fingerprint, ScannedPath, StateRow
from agent.core.layers.whiteouts import whiteouts
from agent.core.model.entry import Context, Node, TocEntry, Write, new_tuple
from agent.store.port import Store, Stored
from agent.sync.directory_scan.scan_directory import DirectoryDiff
from agent.sync.operation.options import Compression
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.workspace.filesystem.root import Root
from agent.workspace.scan.path_reader import open_content
from agent.workspace.state.row_buffer import RowBuffer
from agent.workspace.state.row_codec import ROWS

BUFFERED = 4 << 20
"""Bytes of a layer that is held in memory: it can be checked for existence first, and sent again."""
SMALL = 16 << 20
"""Bytes of content up to which a layer is compressed thoroughly: a tenth fewer bytes, for a few milliseconds."""
THOROUGH: dict[Compression, int] = {"zstd": 6, "gzip": 6}


class LayerUpload:
    """The upload of one layer: its files are read, packed and sent in one pass.

    Args:
        context: the directory and its target.
        root: the directory, opened.
        diff: the scan that found the entries.
        entries: what the layer holds; marked whiteouts get into the tar, too (`mark_whiteouts`).
        compression: of the layer.

    Attributes:
        written: a state row for each write, as it was packed last.
    """

    def __init__(
        self,
        context: WorkspaceContext,
        root: Root,
        diff: DirectoryDiff,
        entries: ChangeEntries,
        compression: Compression,
    ) -> None:
        self._context = context
        self._root = root
        self._entries = entries
        self._compression: Compression = compression
        self._fingerprints = {
            old.path: found.fingerprint for old, found in (*diff.scan_join.suspects, *diff.scan_join.context.values())
        }
        self._size = diff.size + sum(_size(entry) for entry in entries.rest if entry.path in self._fingerprints)
        self.written = RowBuffer(context.state, ROWS)
        self._advanced = 0

    def send(self, store: Store) -> tuple[PackedLayer, Stored]:
        """Pack the layer and store it; may be called again, which reads the files anew.

        Returns:
            the layer as it was packed, and its blob as it was stored.

        Raises:
            FileChangedError: a file changed while it was read.
            WorkspaceError, AuthError, UnavailableError: see `agent.errors`.
        """
        self._context.progress.stage("read and upload", self._size, "bytes")
        self._advanced = 0
        writer = self._writer()
        chunks = iter(writer)
        head, length = [], 0
        for chunk in chunks:
            head.append(chunk)
            length += len(chunk)
            if length > BUFFERED:
                break
        else:
            data = b"".join(head)
            return writer.result, Stored(store.put_blob(data, new=True), len(data))
        started = [(writer, chain(head, chunks))]
        del head

        def content() -> Iterator[bytes]:
            nonlocal writer
            if started:
                writer, stream = started.pop()
                return stream
            writer = self._writer()
            return iter(writer)

        stored = store.upload(content)
        return writer.result, stored

    def _writer(self) -> LayerWriter:
        root, progress, fingerprints = self._root, self._context.progress, self._fingerprints
        self.written = RowBuffer(self._context.state, ROWS)
        # A broken upload begins again from its start, and so does the progress.
        progress.advance(-self._advanced)
        self._advanced = 0
        put = self.written.append
        fingerprint: Fingerprint | None = None

        def entries() -> Iterator[TocEntry]:
            # The writer takes an entry when it is done with the one before.
            nonlocal fingerprint
            for entry, row in self._entries.with_rows():
                fingerprint = row[3] if row is not None else fingerprints.get(entry[0])
                yield entry

        def contents(entry: InTar) -> tuple[Node, bytes | Iterator[bytes]]:
            assert fingerprint is not None
            size = fingerprint.size
            xattrs, data = open_content(root, new_tuple(ScannedPath, (entry.path, fingerprint, 1, (0, 0))))
            # The scan decided what to record of it; only the content and xattrs of a new file were unread.
            kind, mode, uid, gid, mtime, _, _, target, device, recorded = entry.node
            progress.advance(size)
            self._advanced += size
            return new_tuple(Node, (kind, mode, uid, gid, mtime, size, b"", target, device, recorded or xattrs)), data

        def written(entry: TocEntry) -> None:
            if type(entry) is Write:
                put(new_tuple(StateRow, (entry[0], entry[1], None, fingerprint, 0)))

        gone = list(whiteouts(self._entries.rest))
        level = THOROUGH.get(self._compression) if self._size <= SMALL else None
        return LayerWriter(entries(), gone, contents, self._compression, written=written, level=level)


def _size(entry: TocEntry) -> int:
    return entry.node.size if isinstance(entry, Write | Context) else 0
