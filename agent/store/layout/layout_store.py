"""Images in a directory: the OCI image layout (image-spec, image-layout.md).

What `skopeo`, `umoci`, `crane` and `buildah` write is read, what is written here they read. A tag is an entry of
`index.json` with the annotation `org.opencontainers.image.ref.name`. Where a tool left several entries under one
name, the last one counts, since tools append; moving the tag leaves one. Names that are no tags (podman writes whole
references) are kept but not listed. A manifest put by its digest alone is a blob without an entry: `umoci gc`
takes it away.

Several processes may write at once. `index.json` is read, changed and renamed into place under a lock
(`.instep.lock`), blobs come by rename; a killed writer leaves a `.instep-tmp-*` file, which the next writer
removes. Other tools know nothing of the lock: do not let them write at the same moment.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from agent.core.spelling.digest import Digest, digest_of, parse_digest
from agent.errors import IntegrityError, MissingBlobError, UsageError, VanishedError
from agent.store.copying import copy_through
from agent.store.layout.directory_files import (
    CHUNK,
    LOCK,
    TEMPORARY,
    TemporaryFile,
    locked,
    reporting,
    sweep,
    write_all,
)
from agent.store.layout.layout_index import EMPTY, find_tag, parse_index, tags_in, with_tag, without_digest
from agent.store.manifest_limits import (
    MANIFEST_MAX,
    check_reference,
    digest_for,
    is_digest,
    is_manifest,
    manifest_of,
    named_digests,
)
from agent.store.meter import Meter
from agent.store.port import Deleted, Manifest, Store, Stored

_INDEX_MAX = 64 << 20


class LayoutStore:
    """One OCI image layout; satisfies `port.Store`.

    Args:
        path: the directory. It need not exist; it is made by the first write, never by a read.
        create: whether a write may make it. Without, writing to a layout that does not exist is a `UsageError`.

    Raises:
        UsageError: `path` is something else than an image layout or an empty directory.
    """

    is_spread = False

    def __init__(self, path: str, *, create: bool = True) -> None:
        self._path = os.path.abspath(path)
        self._create = create
        self._ready = False
        self._meter = Meter()
        self.traffic = self._meter.traffic
        self._check()

    def get_manifest(self, reference: str) -> Manifest | None:
        """See `port.Store`. An entry whose blob is missing is an `IntegrityError`, not an absent tag."""
        if is_digest(check_reference(reference)):
            data = self._read_small(Digest(reference))
            if data is None or not is_manifest(data):
                return None
            return self._received(manifest_of(data, "", reference, self._subject(reference)))
        entry = find_tag(self._index(), reference)
        while entry is not None:
            data = self._read_small(entry[0])
            if data is not None:
                return self._received(manifest_of(data, entry[1], entry[0], self._subject(reference)))
            again = find_tag(self._index(), reference)
            if again == entry:
                raise IntegrityError(
                    f"the layout's index names {entry[0]}, which is not there",
                    subject=self._subject(reference),
                    remedy="the directory is damaged; restore it or use another tag",
                )
            entry = again  # it moved, and its old manifest was deleted, while we looked
        return None

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> Digest:
        """See `port.Store`."""
        digest = digest_for(data, reference, self._subject(reference))
        for named in named_digests(data):
            if not self.has_blob(parse_digest(named)):
                raise MissingBlobError(
                    f"the manifest names {named}, which is not there",
                    subject=self._subject(reference),
                    remedy="push again",
                )
        self._prepare()
        with self._locked():
            self._store(data, digest)  # under the lock, so that no deletion comes between blob and entry
            if not is_digest(reference):
                descriptor = {"mediaType": media_type, "digest": digest, "size": len(data)}
                self._write_index(with_tag(self._index(), reference, descriptor))
        self._meter.add(sent=len(data))
        return digest

    def delete_manifest(self, digest: Digest, tags: Iterable[str] = ()) -> Deleted:
        """See `port.Store`. Every tag on it goes; what it named stays, until `umoci gc`."""
        if not self._exists():
            return Deleted(found=False)
        self._prepare()
        with self._locked():
            index = self._index()
            left = without_digest(index, digest)
            found = left != index
            if found:
                self._write_index(left)
            with reporting(self._path), suppress(FileNotFoundError):
                os.unlink(self._blob(digest))
                found = True
        return Deleted(found)

    def tags(self, prefix: str = "") -> list[str]:
        """See `port.Store`."""
        return sorted((tag for tag in tags_in(self._index()) if tag.startswith(prefix)), key=str.encode)

    def has_blob(self, digest: Digest) -> bool:
        """See `port.Store`."""
        with reporting(self._path):
            try:
                return stat.S_ISREG(os.lstat(self._blob(digest)).st_mode)
            except (FileNotFoundError, NotADirectoryError):
                return False

    def read_blob(self, digest: Digest, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `port.Store`."""
        if length == 0:
            return
        descriptor = self._open(digest)
        if descriptor is None:
            raise VanishedError("there is no such blob", subject=self._subject(digest), remedy="pull another tag")
        try:
            at, left = start, length
            while left is None or left > 0:
                with reporting(self._path):
                    chunk = os.pread(descriptor, CHUNK if left is None else min(CHUNK, left), at)
                if not chunk:
                    break
                at += len(chunk)
                left = None if left is None else left - len(chunk)
                self._meter.add(received=len(chunk))
                yield chunk
            if left:
                raise IntegrityError(
                    "the blob is shorter than described", subject=self._subject(digest), remedy="pull another tag"
                )
        finally:
            os.close(descriptor)

    def put_blob(self, data: bytes, *, new: bool = False) -> Digest:
        """See `port.Store`."""
        self._prepare()
        digest = digest_of(data)
        if self._store(data, digest):
            self._meter.add(sent=len(data))
        return digest

    def upload(self, chunks: Callable[[], Iterator[bytes]], algorithm: str = "sha256") -> Stored:
        """See `port.Store`. Whatever `chunks` raises passes through, and nothing is left behind."""
        self._prepare()
        hashed, size = hashlib.new(algorithm), 0
        with TemporaryFile(self._path) as temporary:
            for chunk in chunks():
                hashed.update(chunk)
                size += len(chunk)
                with reporting(self._path):
                    write_all(temporary.descriptor, chunk)
                self._meter.add(sent=len(chunk))
            digest = Digest(f"{algorithm}:{hashed.hexdigest()}")
            with reporting(self._path):
                self._settle(temporary, self._blob(digest))
        return Stored(digest, size)

    def check_push(self) -> None:
        """See `port.Store`: its directory, or the one that it would be made in, can be written."""
        place = os.path.abspath(self._path)
        while not os.path.lexists(place):
            place = os.path.dirname(place)
        with reporting(place):
            if not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def copy_blob(self, digest: Digest, size: int, source: Store) -> None:
        """See `port.Store`."""
        if not self.has_blob(digest):
            copy_through(self.upload, digest, source)

    def close(self) -> None:
        """See `port.Store`."""

    # What follows touches the directory.

    def _check(self) -> None:
        with reporting(self._path):
            try:
                names = os.listdir(self._path)
            except NotADirectoryError as error:
                raise self._foreign("it is not a directory") from error
            except FileNotFoundError:
                return
        # The list comes first: `oci-layout` is what a writer makes first, so a writer at work never looks foreign.
        strangers = [name for name in names if name not in (LOCK, "lost+found") and not name.startswith(TEMPORARY)]
        if strangers and not self._exists():
            raise self._foreign("the directory holds files but no oci-layout")

    def _foreign(self, why: str) -> UsageError:
        return UsageError(
            f"not an OCI image layout: {why}", subject=self._path, remedy="name an empty or new directory"
        )

    def _exists(self, name: str = "oci-layout") -> bool:
        with reporting(self._path):
            try:
                os.stat(os.path.join(self._path, name))
            except (FileNotFoundError, NotADirectoryError):
                return False
        return True

    def _prepare(self) -> None:
        if self._ready:
            return
        if not self._create and not self._exists():
            raise UsageError("there is no image layout", subject=self._path, remedy="push to it once to make it")
        with reporting(self._path):
            os.makedirs(self._path, exist_ok=True)
        with self._locked():
            self._check()
            with reporting(self._path):
                sweep(self._path)
                if not self._exists():
                    self._replace("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
                os.makedirs(os.path.join(self._path, "blobs", "sha256"), exist_ok=True)
            if not self._exists("index.json"):
                self._write_index(self._index())
        self._ready = True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(os.path.join(self._path, LOCK)):
            yield

    def _blob(self, digest: str) -> str:
        algorithm, _, hexadecimal = parse_digest(digest).partition(":")
        return os.path.join(self._path, "blobs", algorithm, hexadecimal)

    def _subject(self, reference: str) -> str:
        return f"oci:{self._path}{'@' if ':' in reference else ':'}{reference}"

    def _open(self, digest: Digest) -> int | None:
        with reporting(self._path):
            try:
                # O_NONBLOCK: a FIFO in a hostile layout must not stop us.
                descriptor = os.open(self._blob(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                return None
            if _is_file(descriptor):
                return descriptor
        raise IntegrityError("a blob is not a file", subject=self._subject(digest), remedy="the layout is damaged")

    def _read_small(self, digest: Digest) -> bytes | None:
        descriptor = self._open(digest)
        if descriptor is None:
            return None
        with reporting(self._path), os.fdopen(descriptor, "rb") as file:
            return file.read(MANIFEST_MAX + 1)

    def _received(self, manifest: Manifest) -> Manifest:
        self._meter.add(received=len(manifest.data))
        return manifest

    def _store(self, data: bytes, digest: Digest) -> bool:
        path = self._blob(digest)
        with reporting(self._path):
            with suppress(FileNotFoundError):
                if os.lstat(path).st_size == len(data):
                    return False
            with TemporaryFile(self._path) as temporary:
                write_all(temporary.descriptor, data)
                self._settle(temporary, path)
        return True

    def _settle(self, temporary: TemporaryFile, path: str) -> None:
        with suppress(FileExistsError):
            os.mkdir(os.path.dirname(path))  # of another algorithm; never the layout, should someone delete it
        temporary.become(path)

    def _index(self) -> dict[str, Any]:
        path = os.path.join(self._path, "index.json")
        with reporting(self._path):
            try:
                with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
                    data = file.read(_INDEX_MAX + 1)
            except (FileNotFoundError, NotADirectoryError):
                return EMPTY
        return parse_index(data if len(data) <= _INDEX_MAX else b"", path)

    def _write_index(self, index: dict[str, Any]) -> None:
        with reporting(self._path):
            self._replace("index.json", json.dumps(index, separators=(",", ":")).encode())

    def _replace(self, name: str, data: bytes) -> None:
        with TemporaryFile(self._path) as temporary:
            write_all(temporary.descriptor, data)
            temporary.become(os.path.join(self._path, name))


def _is_file(descriptor: int) -> bool:
    """Say whether a descriptor is of a file; else it is closed."""
    is_file = False
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
    finally:
        if not is_file:
            os.close(descriptor)
    return is_file
