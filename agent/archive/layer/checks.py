"""The expected digests and sizes of a layer, and their verification while the bytes pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from agent.archive.stream.limits import damaged
from agent.core.spelling.digest import Digest
from agent.core.spelling.path import show


@dataclass(frozen=True, slots=True)
class Expected:
    """The expected digests and size of a layer; None is not checked.

    Attributes:
        digest: of the blob.
        size: of the blob, in bytes.
        diff_id: of the tar.
    """

    digest: Digest | None = None
    size: int | None = None
    diff_id: Digest | None = None


def promised(chunks: Iterable[bytes], expected: Expected) -> Iterator[bytes]:
    """Yield a blob's chunks, and check its digest and size; a chunk beyond its size is not yielded.

    Raises:
        IntegrityError: it has another digest or size.
    """
    blob, left = hash_for(expected.digest), expected.size
    for chunk in chunks:
        blob.update(chunk)
        if left is not None:
            left -= len(chunk)
            if left < 0:
                raise damaged("it is larger than promised", str(expected.digest))
        yield chunk
    if left:
        raise damaged("it is smaller than promised", str(expected.digest))
    if expected.digest and not expected.digest.endswith(":" + blob.hexdigest()):
        raise damaged("it has another digest than promised", str(expected.digest))


def hash_for(digest: Digest | None) -> hashlib._Hash:
    """Return a hash of the kind that `digest` is of; of sha256 for none."""
    return hashlib.sha512() if digest and digest.startswith("sha512:") else sha256()


class Hashing(Iterator[bytes]):
    """Yields the chunks of a content, and hashes them.

    Args:
        content: in chunks.
        digest: what to hash with.
        promised: the raw sha256 that it must have, checked before the end of iteration, so that its writer drops a
            wrong content. None: not checked here.
        subject: its path, for an error.
    """

    __slots__ = ("_content", "_digest", "_promised", "_subject")

    def __init__(
        self, content: Iterable[bytes], digest: hashlib._Hash, promised: bytes | None = None, subject: bytes = b""
    ) -> None:
        self._content = iter(content)
        self._digest = digest
        self._promised = promised
        self._subject = subject

    def __next__(self) -> bytes:
        try:
            data = next(self._content)
        except StopIteration:
            check_content(self._promised, self._digest.digest(), self._subject)
            raise
        self._digest.update(data)
        return data


def check_content(promised: bytes | None, digest: bytes, path: bytes) -> None:
    """Raise IntegrityError if a content has another raw sha256 than promised; `path` names it."""
    if promised is not None and digest != promised:
        raise damaged("its content is not the one that the table of contents describes", show(path))
