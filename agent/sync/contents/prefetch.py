"""Small reads that are under way while others are worked on: round trips overlap, connections are reused."""

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
    """Begin to read in the order of the keys, and give a function that waits for one of them and hands it out once.

    It returns None for what was no key, and for what was handed out before.
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
