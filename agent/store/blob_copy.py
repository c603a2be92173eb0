"""Copies a blob between stores through this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from agent.core.spelling.digest import Digest
from agent.errors import IntegrityError
from agent.store.port import Store, Stored


def copy_through(upload: Callable[[Callable[[], Iterator[bytes]], str], Stored], digest: Digest, source: Store) -> None:
    """Read a blob from `source` and upload it, in bounded memory.

    Args:
        upload: `port.Store.upload` of the target.
        digest: the blob's.

    Raises:
        VanishedError: the source has no such blob.
        IntegrityError: the blob has another digest.
    """
    stored = upload(lambda: source.read_blob(digest), digest.partition(":")[0])
    if stored.digest != digest:
        raise IntegrityError(
            "the blob is not the one its digest promises", subject=digest, remedy="the source is damaged"
        )
