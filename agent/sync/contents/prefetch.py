"""Small reads ahead, in threads: round trips overlap, and connections are reused."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

AT_ONCE = 8
"""Requests under way at the same time."""
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def read_all(keys: Collection[_Key], read: Callable[[_Key], _Value]) -> list[_Value]:
    """Return what `read` returns for each key, in the order of the keys.

    Raises:
        what the first of them raises.
    """
    if len(keys) < 2:
        return [read(key) for key in keys]
    with ThreadPoolExecutor(min(AT_ONCE, len(keys)), "read") as threads:
        return list(threads.map(read, keys))


@contextmanager
def prefetched(
    keys: Iterable[_Key], read: Callable[[_Key], _Value]
) -> Generator[Callable[[_Key], _Value | None], None, None]:
    """Begin to read in the order of the keys; give a function that waits for the value of a key and returns it once.

    The function returns None for any other key, and for a key a second time.
    """
    wanted = list(dict.fromkeys(keys))
    if len(wanted) < 2:
        yield lambda key: None
        return
    with ThreadPoolExecutor(min(AT_ONCE, len(wanted)), "prefetch") as threads:
        pending: dict[_Key, Future[_Value]] = {key: threads.submit(read, key) for key in wanted}

        def take(key: _Key) -> _Value | None:
            future = pending.pop(key, None)
            return None if future is None else future.result()

        try:
            yield take
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            pending.clear()
