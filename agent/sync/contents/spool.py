"""Contents in a temporary file: they come in the order of a tar, and are needed in the order of paths."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from types import TracebackType

from agent.core.model.entry import Kind, TreeEntry
from agent.sync.contents.layer_contents import Layers
from agent.workspace.filesystem.system_errors import failed

_PIECE = 1 << 20


class Spool:
    """A file without a name in `directory`, gone when the context ends."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._places: dict[int, int] = {}

    def __enter__(self) -> Spool:
        self._file = tempfile.TemporaryFile(dir=self._directory)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def fill(self, layers: Layers, layer: str, rows: Iterable[TreeEntry]) -> None:
        """Store the contents of those rows that are files; all are in `layer` (see `Layers.contents`).

        Raises:
            WorkspaceError: the disk has no room for them.
            IntegrityError, AuthError, UnavailableError: a content cannot be read.
        """
        wanted = {row.offset: row for row in rows if row.node.kind is Kind.FILE}
        try:
            for row, chunks in layers.contents(layer, list(wanted.values())):
                self._places[row.offset] = self._file.tell()
                for chunk in chunks:
                    self._file.write(chunk)
            self._file.flush()
        except OSError as error:
            raise failed(error, os.fsencode(self._directory), "contents cannot be put aside here") from error

    def read(self, offset: int, size: int) -> Iterator[bytes]:
        """Yield the content of the rows with this offset in the layer, `size` bytes."""
        at = self._places[offset]
        while size:
            self._file.seek(at)
            data = self._file.read(min(size, _PIECE))
            at, size = at + len(data), size - len(data)
            yield data
