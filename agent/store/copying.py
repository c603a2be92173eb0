"""Copying a blob from one store to another where neither knows a shorter way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from agent.core.spelling.digest import Digest
from agent.errors import IntegrityError
from agent.store.port import Store, Stored


def copy_through(upload: Callable[[Callable[[], Iterator[bytes]], str], Stored], digest: Digest, source: Store) -> None:
    """Read `digest` from `source` and `upload` it, hashed as `digest` is, in bounded memory.

    Raises:
        IntegrityError: the source has no such blob, or its bytes have another digest.
    """
    stored = upload(lambda: source.read_blob(digest), digest.partition(":")[0])
    if stored.digest != digest:
        raise IntegrityError(
            "the blob is not the one its digest promises", subject=digest, remedy="the source is damaged"
        )
