"""The port to a store of images: blobs, manifests and tags of one repository.

Nothing here assumes HTTP: an adapter for a directory, S3, GCS or rsync gives the same guarantees. Every adapter passes
the contract suite in `tests/contract`, and is safe for several threads.

Guarantees of an adapter:

- A blob or manifest is addressed by its digest and never changes; writing one twice is harmless.
- A tag moves in one atomic step. There is no compare-and-swap: the caller handles races on a tag.
- After `put_manifest` returned, `get_manifest` of the same tag gives that manifest or a later one; it may give what was
  there before for a while, but not again once it gave the new one. Where `is_replicated`, that holds for each reader
  alone.
- `tags` may lag behind `put_manifest`, and need not keep any order. `get_manifest` gives what `tags` shows after
  `put_manifest` returned.
- It retries temporary failures itself and raises only errors of `agent.errors`.
- Reading a blob does not check its digest: the callers hash all content themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from agent.core.spelling.digest import Digest


class Manifest(NamedTuple):
    """A manifest or index as stored. The adapter computes `digest` from `data`."""

    data: bytes
    media_type: str
    digest: Digest


class Stored(NamedTuple):
    """A blob that `upload` stored; `size` in bytes."""

    digest: Digest
    size: int


class Deleted(NamedTuple):
    """The result of `delete_manifest`.

    Attributes:
        found: whether the manifest existed.
        by_tag: whether the store deletes tag by tag, so that other tags may still lead to the manifest.
    """

    found: bool
    by_tag: bool = False


@dataclass(slots=True)
class Traffic:
    """The traffic so far: requests (0 if the adapter makes none), bytes of blobs and manifests received and sent."""

    requests: int = 0
    received: int = 0
    sent: int = 0


class Store(Protocol):
    """One repository."""

    traffic: Traffic
    is_replicated: bool
    """Whether several replicas serve it, so that a change reaches some readers later."""

    def get_manifest(self, reference: str) -> Manifest | None:
        """Return the manifest at a tag or digest, None if there is none.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
            IntegrityError: the manifest has another digest than was requested, or is larger than 4 MiB.
        """

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> Digest:
        """Store `data` under a tag (or its own digest) and return its digest.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
            TagRefusedError: the store does not let this tag move.
            MissingBlobError: the manifest names a blob or manifest that the repository does not have.
        """

    def delete_manifest(self, digest: Digest, tags: Iterable[str] = ()) -> Deleted:
        """Delete a manifest and check it: neither `digest` nor any of `tags` leads to it then.

        If the store frees untagged manifests on its own, the digest may lead to it for a while.

        Args:
            tags: tags that may lead to it. A tag of another manifest stays.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
            RefusedError: the manifest still exists: the store refuses the deletion, or did not do it.
        """

    def tags(self, prefix: str = "") -> list[str]:
        """Return the repository's tags that start with `prefix`, in bytes order; none if it does not exist.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
        """

    def has_blob(self, digest: Digest) -> bool:
        """Return whether the repository has a blob."""

    def read_blob(self, digest: Digest, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield a blob's bytes from `start`, `length` of them or all; resumes if a connection breaks.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
            VanishedError: there is no such blob.
            IntegrityError: the blob ended before `length`.
        """

    def put_blob(self, data: bytes, *, new: bool = False) -> Digest:
        """Store a small blob, unless the repository has it, and return its digest.

        Args:
            new: the blob cannot have been stored before, so the repository is not asked.
        """

    def upload(self, chunks: Callable[[], Iterator[bytes]], algorithm: str = "sha256") -> Stored:
        """Store a blob of unknown size and digest in one pass.

        `chunks` is called once for each try and yields the whole content from its start; the content of the last
        try counts. Memory stays bounded by the size of a chunk.

        Args:
            algorithm: of the blob's digest, `sha256` or `sha512`.
        """

    def check_push(self) -> None:
        """Check that a push would be allowed, as far as that is possible without a trace in the store.

        Raises:
            AuthError, UnavailableError: it would fail.
        """

    def copy_blob(self, digest: Digest, size: int, source: Store) -> None:
        """Make `source`'s blob available here: by a mount within one registry, else by a copy."""

    def close(self) -> None:
        """Release connections. Further calls are an error."""


Ability = Literal["stream", "whole", "resume", "range", "mount", "referrers", "pages", "tag", "clock"]
"""Optional abilities of a registry, for which `Store` has a fallback.

`stream`: a blob of unknown length in one request; `whole`: a blob of known length in one request after the session's
beginning; `resume`: a blob in parts, the second after asking how far the first came; `range`: bytes of a blob from its
middle; `mount`: a blob from another repository of the registry; `referrers`: the list of what refers to a manifest;
`pages`: the list of tags a page at a time; `tag`: one request for a tag; `clock`: its time.
"""


class ProbeResult(NamedTuple):
    """The result of a probe: whether it succeeded, and the response's status (for `clock`: ms ahead of ours)."""

    works: bool
    number: int


@runtime_checkable
class Probing(Protocol):
    """A store with abilities to test, such as a registry; a directory has none."""

    def probe(self, ability: Ability, reference: str) -> ProbeResult:
        """Test one ability with single requests, without retries.

        Args:
            reference: of a blob of at least two bytes for `range` and `mount`, of a manifest for `referrers`, a tag for
                `tag`; the others ignore it.

        Raises:
            AuthError, UnavailableError: no response came, or it was about the account.
        """
