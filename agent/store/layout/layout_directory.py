"""The directory of an image layout: its creation, its blobs as files, its index under a lock."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from agent.core.spelling.digest import Digest, parse_digest
from agent.errors import IntegrityError, UsageError
from agent.files.durable_write import write_all
from agent.store.layout.layout_files import LOCK, TEMPORARY, TemporaryFile, locked, remove_abandoned, translate_errors
from agent.store.layout.layout_index import EMPTY, Index, parse_index
from agent.store.manifest_checks import MANIFEST_MAX

_INDEX_MAX = 64 << 20


class LayoutDirectory:
    """One directory that is an image layout, or becomes one with the first write.

    Args:
        path: the directory's absolute path.
        create: whether a write may make it. If not, `prepare` raises UsageError for a layout that does not exist.

    Every method raises:
        UnavailableError: the system refused.

    Raises:
        UsageError: `path` is neither an image layout nor an empty directory.
    """

    def __init__(self, path: str, *, create: bool) -> None:
        self.path = path
        self._create = create
        self._is_prepared = False
        self._check()

    def exists(self) -> bool:
        """Return whether the directory is an image layout already."""
        return self._has_file("oci-layout")

    def prepare(self) -> None:
        """Create what a layout needs before its first write, and remove the files of writers that were killed.

        Raises:
            UsageError: there is no layout and none may be made, or another program made the directory its own.
        """
        if self._is_prepared:
            return
        if not self._create and not self.exists():
            raise UsageError("there is no image layout", subject=self.path, remedy="push to it once to make it")
        with translate_errors(self.path):
            os.makedirs(self.path, exist_ok=True)
        with self.locked():
            self._check()
            with translate_errors(self.path):
                remove_abandoned(self.path)
                if not self.exists():
                    self._replace("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
                os.makedirs(os.path.join(self.path, "blobs", "sha256"), exist_ok=True)
            if not self._has_file("index.json"):
                self.write_index(self.read_index())
        self._is_prepared = True

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the index."""
        with locked(os.path.join(self.path, LOCK)):
            yield

    def read_index(self) -> Index:
        """Return the index; an empty one if there is no file.

        Raises:
            IntegrityError: the file is no index, or larger than 64 MiB.
        """
        path = os.path.join(self.path, "index.json")
        with translate_errors(self.path):
            try:
                with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
                    data = file.read(_INDEX_MAX + 1)
            except (FileNotFoundError, NotADirectoryError):
                return EMPTY
        return parse_index(data if len(data) <= _INDEX_MAX else b"", path)

    def write_index(self, index: Index) -> None:
        """Replace the index; the caller holds the lock."""
        with translate_errors(self.path):
            self._replace("index.json", json.dumps(index, separators=(",", ":")).encode())

    def has_blob(self, digest: Digest) -> bool:
        """Return whether a blob's file exists."""
        with translate_errors(self.path):
            try:
                return stat.S_ISREG(os.lstat(self.blob_path(digest)).st_mode)
            except (FileNotFoundError, NotADirectoryError):
                return False

    def open_blob(self, digest: Digest) -> int | None:
        """Return a descriptor of a blob's file, None if there is none.

        Raises:
            IntegrityError: something else than a file has the blob's name.
        """
        with translate_errors(self.path):
            try:
                # O_NONBLOCK: opening a FIFO in a hostile layout must not block.
                descriptor = os.open(self.blob_path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                return None
            if _is_file(descriptor):
                return descriptor
        raise IntegrityError("a blob is not a file", subject=self.subject(digest), remedy="the layout is damaged")

    def read_manifest(self, digest: Digest) -> bytes | None:
        """Return a blob that may be a manifest, or its first `MANIFEST_MAX` + 1 bytes; None if there is none."""
        descriptor = self.open_blob(digest)
        if descriptor is None:
            return None
        with translate_errors(self.path), os.fdopen(descriptor, "rb") as file:
            return file.read(MANIFEST_MAX + 1)

    def write_blob(self, data: bytes, digest: Digest) -> bool:
        """Store a small blob; return False if a file of its size is there already."""
        path = self.blob_path(digest)
        with translate_errors(self.path):
            with suppress(FileNotFoundError):
                if os.lstat(path).st_size == len(data):
                    return False
            with TemporaryFile(self.path) as temporary:
                write_all(temporary.descriptor, data)
                self.place_blob(temporary, digest)
        return True

    def place_blob(self, temporary: TemporaryFile, digest: Digest) -> None:
        """Make a temporary file the file of a blob."""
        path = self.blob_path(digest)
        with translate_errors(self.path):
            with suppress(FileExistsError):
                # For another algorithm than sha256. Not makedirs: a layout that was deleted stays deleted.
                os.mkdir(os.path.dirname(path))
            temporary.rename_to(path)

    def remove_blob(self, digest: Digest) -> bool:
        """Remove a blob's file; return whether there was one."""
        with translate_errors(self.path):
            try:
                os.unlink(self.blob_path(digest))
            except FileNotFoundError:
                return False
        return True

    def blob_path(self, digest: str) -> str:
        """Return the path of a blob's file.

        Raises:
            IntegrityError: `digest` is not a digest.
        """
        algorithm, _, hexadecimal = parse_digest(digest).partition(":")
        return os.path.join(self.path, "blobs", algorithm, hexadecimal)

    def subject(self, reference: str) -> str:
        """Return the reference of a tag or digest here, for error messages."""
        return f"oci:{self.path}{'@' if ':' in reference else ':'}{reference}"

    def _check(self) -> None:
        with translate_errors(self.path):
            try:
                names = os.listdir(self.path)
            except NotADirectoryError as error:
                raise self._not_a_layout("it is not a directory") from error
            except FileNotFoundError:
                return
        # Listed before `oci-layout` is looked for: a writer creates that first, so its other files never look foreign.
        foreign = [name for name in names if name not in (LOCK, "lost+found") and not name.startswith(TEMPORARY)]
        if foreign and not self.exists():
            raise self._not_a_layout("the directory holds files but no oci-layout")

    def _not_a_layout(self, why: str) -> UsageError:
        return UsageError(f"not an OCI image layout: {why}", subject=self.path, remedy="name an empty or new directory")

    def _has_file(self, name: str) -> bool:
        with translate_errors(self.path):
            try:
                os.stat(os.path.join(self.path, name))
            except (FileNotFoundError, NotADirectoryError):
                return False
        return True

    def _replace(self, name: str, data: bytes) -> None:
        with TemporaryFile(self.path) as temporary:
            write_all(temporary.descriptor, data)
            temporary.rename_to(os.path.join(self.path, name))


def _is_file(descriptor: int) -> bool:
    """Return whether a descriptor is of a regular file; close it if it is not."""
    is_file = False
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
    finally:
        if not is_file:
            os.close(descriptor)
    return is_file
