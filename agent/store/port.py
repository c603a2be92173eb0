"""The port to whatever keeps images: blobs, manifests and tags of one repository.

Nothing here assumes HTTP: an adapter for a directory, S3, GCS or rsync keeps the same promises, and every adapter
passes the one contract suite in `tests/contract`. An adapter is safe to use from several threads at once.

What an adapter promises:

- A blob or manifest is addressed by its digest and never changes; writing one twice is harmless.
- A tag is moved by one atomic step. There is no compare-and-swap: races on one tag are the caller's business.
- After `put_manifest` returned, `get_manifest` of the same tag gives that manifest or a later one; it may give what was
  there before for a while, but not again once it gave the new one. Where `is_spread`, that holds for each reader alone.
- `tags` may lag behind `put_manifest`, and need not keep any order. `get_manifest` gives what `tags` shows after
  `put_manifest` returned.
- It retries what is worth retrying by itself and raises only errors of `agent.errors`.
- It does not check that a blob's bytes fit its digest when reading: readers above hash what they read anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from agent.core.spelling.digest import Digest


class Manifest(NamedTuple):
    """A manifest or index as stored. `digest` is that of `data`, computed by the adapter, never taken on trust."""

    data: bytes
    media_type: str
    digest: Digest


class Stored(NamedTuple):
    """A blob that `upload` stored; `size` in bytes."""

    digest: Digest
    size: int


class Deleted(NamedTuple):
    """What `delete_manifest` did.

    Attributes:
        found: whether there was anything to delete.
        by_tag: whether the store deletes tag by tag, so that a tag that was not named may still lead to the manifest.
    """

    found: bool
    by_tag: bool = False


@dataclass(slots=True)
class Traffic:
    """What moved so far: requests (0 where the adapter makes none), bytes in and out of blobs and manifests."""

    requests: int = 0
    received: int = 0
    sent: int = 0


class Store(Protocol):
    """One repository."""

    traffic: Traffic
    is_spread: bool
    """Whether it is served from several places that learn of each other's changes with time."""

    def get_manifest(self, reference: str) -> Manifest | None:
        """Return the manifest at a tag or digest, None if there is none.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
            IntegrityError: it was asked for by digest and has another one, or is larger than 4 MiB.
        """

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> Digest:
        """Store `data` under a tag (or its own digest) and return its digest.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
            TagRefusedError: the repository does not let this tag move.
            MissingBlobError: the manifest names a blob or manifest that the repository does not have.
        """

    def delete_manifest(self, digest: Digest, tags: Iterable[str] = ()) -> Deleted:
        """Delete a manifest, and see that it is gone: neither `digest` nor any of `tags` leads to it then.

        Where the store frees what has no tag by itself, the digest may do so for a while.

        Args:
            tags: tags that may be on it. One that is on another manifest stays.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
            RefusedError: it is still there; the store does not delete it, or says that it did and keeps it.
        """

    def tags(self, prefix: str = "") -> list[str]:
        """Return the repository's tags that start with `prefix`, in bytes order; empty for a repository not yet there.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
        """

    def has_blob(self, digest: Digest) -> bool:
        """Say whether the repository has a blob."""

    def read_blob(self, digest: Digest, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield a blob's bytes from `start`, `length` of them or all; resumes by itself where a connection breaks.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
            VanishedError: there is no such blob.
            IntegrityError: it ended before `length`.
        """

    def put_blob(self, data: bytes, *, new: bool = False) -> Digest:
        """Store a small blob, unless the repository has it, and return its digest.

        `new`: nobody can have stored it before, so that the repository need not be asked.
        """

    def upload(self, chunks: Callable[[], Iterator[bytes]], algorithm: str = "sha256") -> Stored:
        """Store a blob of unknown size and digest in one pass.

        `chunks` is called once for each try and yields the whole content from its start; the content of the last
        try counts. Memory stays bounded by the size of a chunk.

        Args:
            algorithm: of the blob's digest, `sha256` or `sha512`.
        """

    def check_push(self) -> None:
        """See that a push would be let in, as far as that can be told without leaving anything behind.

        Raises:
            AuthError, UnavailableError: it would not.
        """

    def copy_blob(self, digest: Digest, size: int, source: Store) -> None:
        """Make `source`'s blob available here: by mounting it where both are one registry, else by copying."""

    def close(self) -> None:
        """Release connections. Further calls are an error."""


Ability = Literal["stream", "whole", "resume", "range", "mount", "referrers", "pages", "tag", "clock"]
"""What the calls of `Store` do without, try again, or hide.

`stream`: a blob of unknown length in one request; `whole`: a blob of known length in one request after the session's
beginning; `resume`: a blob in parts, the second after asking how far the first came; `range`: bytes of a blob from its
middle; `mount`: a blob from another repository of the registry; `referrers`: the list of what refers to a manifest;
`pages`: the list of tags a page at a time; `tag`: one look at a tag, not repeated; `clock`: the time it says it is.
"""


class Answered(NamedTuple):
    """What trying an ability gave: whether it is there, and the answer's number (a status; of `clock`, ms ahead)."""

    works: bool
    number: int


@runtime_checkable
class Probing(Protocol):
    """A store that can tell how it is reached. One without, such as a directory, has nothing to tell."""

    def probe(self, ability: Ability, reference: str) -> Answered:
        """Try one ability, once, without any retry.

        Args:
            reference: of a blob of at least two bytes for `range` and `mount`, of a manifest for `referrers`, a tag for
                `tag`; the others take no notice of it.

        Raises:
            AuthError, UnavailableError: no answer came, or it was about the account.
        """
