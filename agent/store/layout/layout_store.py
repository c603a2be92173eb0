"""Images in a directory: the OCI image layout (image-spec, image-layout.md).

Layouts of `skopeo`, `umoci`, `crane` and `buildah` can be read, and these tools read the layouts written here. A tag is
an entry of `index.json` with the annotation `org.opencontainers.image.ref.name`. If a tool left several entries under
one name, the last one counts, since tools append; moving the tag leaves one entry. Names that are no tags (podman
writes whole references) stay in the index but are not listed. A manifest put by digest alone is a blob without an
entry: `umoci gc` removes it.

Several processes may write at once. `index.json` is read, changed and renamed into place under a lock
(`.instep.lock`), blobs are renamed into place. A killed writer leaves a `.instep-tmp-*` file, which the next writer
removes. Other tools ignore the lock: do not let them write at the same time.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator

from agent.core.spelling.digest import Digest, digest_of, parse_digest
from agent.errors import IntegrityError, MissingBlobError, VanishedError
from agent.files.durable_write import write_all
from agent.store.blob_copy import copy_through
from agent.store.layout.layout_directory import LayoutDirectory
from agent.store.layout.layout_files import CHUNK, TemporaryFile, translate_errors
from agent.store.layout.layout_index import find_tag, tags_in, with_tag, without_digest
from agent.store.manifest_checks import (
    check_reference,
    digest_for,
    is_digest,
    is_manifest,
    referenced_digests,
    verified_manifest,
)
from agent.store.port import Deleted, Manifest, Store, Stored
from agent.store.traffic_counter import TrafficCounter


class LayoutStore:
    """One OCI image layout; satisfies `port.Store`.

    Args:
        path: the directory. It need not exist; it is made by the first write, never by a read.
        create: whether a write may make it. If not, writing to a layout that does not exist is a `UsageError`.

    Raises:
        UsageError: `path` is neither an image layout nor an empty directory.
    """

    is_replicated = False

    def __init__(self, path: str, *, create: bool = True) -> None:
        self._path = os.path.abspath(path)
        self._layout = LayoutDirectory(self._path, create=create)
        self._counter = TrafficCounter()
        self.traffic = self._counter.traffic

    def get_manifest(self, reference: str) -> Manifest | None:
        """See `port.Store`. An entry whose blob is missing is an `IntegrityError`, not an absent tag."""
        if is_digest(check_reference(reference)):
            data = self._layout.read_manifest(Digest(reference))
            if data is None or not is_manifest(data):
                return None
            return self._received(verified_manifest(data, "", reference, self._layout.subject(reference)))
        entry = find_tag(self._layout.read_index(), reference)
        while entry is not None:
            data = self._layout.read_manifest(entry[0])
            if data is not None:
                return self._received(verified_manifest(data, entry[1], entry[0], self._layout.subject(reference)))
            current = find_tag(self._layout.read_index(), reference)
            if current == entry:
                raise IntegrityError(
                    f"the layout's index names {entry[0]}, which is not there",
                    subject=self._layout.subject(reference),
                    remedy="the directory is damaged; restore it or use another tag",
                )
            entry = current  # the tag moved meanwhile, and its old manifest was deleted
        return None

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> Digest:
        """See `port.Store`."""
        digest = digest_for(data, reference, self._layout.subject(reference))
        for named in referenced_digests(data):
            if not self.has_blob(parse_digest(named)):
                raise MissingBlobError(
                    f"the manifest names {named}, which is not there",
                    subject=self._layout.subject(reference),
                    remedy="push again",
                )
        self._layout.prepare()
        with self._layout.locked():
            self._layout.write_blob(data, digest)  # under the lock, so that no deletion comes between blob and entry
            if not is_digest(reference):
                descriptor = {"mediaType": media_type, "digest": digest, "size": len(data)}
                self._layout.write_index(with_tag(self._layout.read_index(), reference, descriptor))
        self._counter.add(sent=len(data))
        return digest

    def delete_manifest(self, digest: Digest, tags: Iterable[str] = ()) -> Deleted:
        """See `port.Store`. Its tags are removed too; its blobs stay until `umoci gc`."""
        if not self._layout.exists():
            return Deleted(found=False)
        self._layout.prepare()
        with self._layout.locked():
            index = self._layout.read_index()
            left = without_digest(index, digest)
            found = left != index
            if found:
                self._layout.write_index(left)
            found = self._layout.remove_blob(digest) or found
        return Deleted(found)

    def tags(self, prefix: str = "") -> list[str]:
        """See `port.Store`."""
        return sorted((tag for tag in tags_in(self._layout.read_index()) if tag.startswith(prefix)), key=str.encode)

    def has_blob(self, digest: Digest) -> bool:
        """See `port.Store`."""
        return self._layout.has_blob(digest)

    def read_blob(self, digest: Digest, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `port.Store`."""
        if length == 0:
            return
        descriptor = self._layout.open_blob(digest)
        if descriptor is None:
            raise VanishedError(
                "there is no such blob", subject=self._layout.subject(digest), remedy="pull another tag"
            )
        try:
            at, left = start, length
            while left is None or left > 0:
                with translate_errors(self._path):
                    chunk = os.pread(descriptor, CHUNK if left is None else min(CHUNK, left), at)
                if not chunk:
                    break
                at += len(chunk)
                left = None if left is None else left - len(chunk)
                self._counter.add(received=len(chunk))
                yield chunk
            if left:
                raise IntegrityError(
                    "the blob is shorter than described",
                    subject=self._layout.subject(digest),
                    remedy="pull another tag",
                )
        finally:
            os.close(descriptor)

    def put_blob(self, data: bytes, *, new: bool = False) -> Digest:
        """See `port.Store`."""
        self._layout.prepare()
        digest = digest_of(data)
        if self._layout.write_blob(data, digest):
            self._counter.add(sent=len(data))
        return digest

    def upload(self, chunks: Callable[[], Iterator[bytes]], algorithm: str = "sha256") -> Stored:
        """See `port.Store`. An exception of `chunks` passes through, and no file remains."""
        self._layout.prepare()
        hashed, size = hashlib.new(algorithm), 0
        with TemporaryFile(self._path) as temporary:
            for chunk in chunks():
                hashed.update(chunk)
                size += len(chunk)
                with translate_errors(self._path):
                    write_all(temporary.descriptor, chunk)
                self._counter.add(sent=len(chunk))
            digest = Digest(f"{algorithm}:{hashed.hexdigest()}")
            self._layout.place_blob(temporary, digest)
        return Stored(digest, size)

    def check_push(self) -> None:
        """See `port.Store`. Checks the directory, or the nearest parent that exists."""
        place = os.path.abspath(self._path)
        while not os.path.lexists(place):
            place = os.path.dirname(place)
        with translate_errors(place):
            if not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def copy_blob(self, digest: Digest, size: int, source: Store) -> None:
        """See `port.Store`."""
        if not self.has_blob(digest):
            copy_through(self.upload, digest, source)

    def close(self) -> None:
        """See `port.Store`."""

    def _received(self, manifest: Manifest) -> Manifest:
        self._counter.add(received=len(manifest.data))
        return manifest
