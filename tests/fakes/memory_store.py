"""A store in memory: a real implementation of the port, for tests of what stands above it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator

from agent.core.spelling.digest import Digest, digest_of
from agent.errors import IntegrityError, MissingBlobError, VanishedError
from agent.store.blob_copy import copy_through
from agent.store.manifest_checks import check_reference, digest_for, is_digest, referenced_digests, verified_manifest
from agent.store.port import Deleted, Manifest, Store, Stored
from agent.store.traffic_counter import TrafficCounter


class MemoryStore:
    """Satisfies `port.Store`.

    `log` records every call as (name, subject) before it does anything. `before` is called then, too; what it raises
    the call raises, so a test can fail, delay or interleave calls. `blobs`, `manifests` (data and media type) and
    `pointers` (tag to digest) are there to be looked at and damaged.
    """

    is_replicated = False

    def __init__(self, before: Callable[[str, str], None] | None = None) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.pointers: dict[str, Digest] = {}
        self.log: list[tuple[str, str]] = []
        self.before = before
        self._counter = TrafficCounter()
        self.traffic = self._counter.traffic
        self._lock = threading.RLock()

    def _called(self, name: str, subject: str) -> None:
        with self._lock:
            self.log.append((name, subject))
        if self.before is not None:
            self.before(name, subject)

    def get_manifest(self, reference: str) -> Manifest | None:
        self._called("get_manifest", check_reference(reference))
        with self._lock:
            digest = reference if is_digest(reference) else self.pointers.get(reference, "")
            if digest not in self.manifests:
                return None
            data, media_type = self.manifests[digest]
        self._counter.add(received=len(data))
        return verified_manifest(data, media_type, digest, reference)

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> Digest:
        self._called("put_manifest", reference)
        digest = digest_for(data, reference, reference)
        with self._lock:
            for named in referenced_digests(data):
                if named not in self.blobs and named not in self.manifests:
                    raise MissingBlobError(f"{named} is not there", subject=reference, remedy="push again")
            self.manifests[digest] = (data, media_type)
            if not is_digest(reference):
                self.pointers[reference] = digest
        self._counter.add(sent=len(data))
        return digest

    def delete_manifest(self, digest: Digest, tags: Iterable[str] = ()) -> Deleted:
        self._called("delete_manifest", digest)
        with self._lock:
            for tag in [tag for tag, found in self.pointers.items() if found == digest]:
                del self.pointers[tag]
            return Deleted(self.manifests.pop(digest, None) is not None)

    def tags(self, prefix: str = "") -> list[str]:
        self._called("tags", prefix)
        with self._lock:
            return sorted((tag for tag in self.pointers if tag.startswith(prefix)), key=str.encode)

    def has_blob(self, digest: Digest) -> bool:
        self._called("has_blob", digest)
        return digest in self.blobs

    def read_blob(self, digest: Digest, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        self._called("read_blob", digest)
        return self._read(digest, start, length)

    def _read(self, digest: Digest, start: int, length: int | None) -> Iterator[bytes]:
        if length == 0:
            return
        data = self.blobs.get(digest)
        if data is None:
            raise VanishedError("there is no such blob", subject=digest, remedy="pull another tag")
        end = len(data) if length is None else start + length
        for at in range(start, min(end, len(data)), 1 << 20):
            chunk = data[at : min(at + (1 << 20), end)]
            self._counter.add(received=len(chunk))
            yield chunk
        if length is not None and end > len(data):
            raise IntegrityError("the blob is shorter than described", subject=digest, remedy="pull another tag")

    def put_blob(self, data: bytes, *, new: bool = False) -> Digest:
        digest = digest_of(data)
        self._called("put_blob", digest)
        with self._lock:
            if digest not in self.blobs:
                self.blobs[digest] = bytes(data)
                self._counter.add(sent=len(data))
        return digest

    def upload(self, chunks: Callable[[], Iterator[bytes]], algorithm: str = "sha256") -> Stored:
        self._called("upload", "")
        hashed, parts = hashlib.new(algorithm), []
        for chunk in chunks():
            hashed.update(chunk)
            parts.append(bytes(chunk))
            self._counter.add(sent=len(chunk))
        digest = Digest(f"{algorithm}:{hashed.hexdigest()}")
        data = b"".join(parts)
        with self._lock:
            self.blobs[digest] = data
        return Stored(digest, len(data))

    def check_push(self) -> None:
        self._called("check_push", "")

    def copy_blob(self, digest: Digest, size: int, source: Store) -> None:
        self._called("copy_blob", digest)
        if digest not in self.blobs:
            copy_through(self.upload, digest, source)

    def close(self) -> None:
        self._called("close", "")
