"""Any store, with somebody who hears of each call before it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from agent.core.spelling.reference import Reference
from agent.store.port import Store
from tests.fakes.workspaces import Workspaces

Hear = Callable[[str, str], object]


class WatchedStore:
    """Passes every call on to `store`, after it told `hear` of it: the call's name, and a tag or digest if it has one.

    What `hear` raises the call raises. `unlisted` hides every tag: the worst that a list which lags may do.
    """

    def __init__(self, store: Store, hear: Hear, *, unlisted: bool = False) -> None:
        self._store = store
        self._hear = hear
        self._unlisted = unlisted

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def call(*args: Any, **named: Any) -> Any:
            self._hear(name, args[0] if args and isinstance(args[0], str) else "")
            return [] if name == "tags" and self._unlisted else found(*args, **named)

        return call


@contextmanager
def watched(there: Workspaces, hear: Hear = lambda name, subject: None, *, unlisted: bool = False) -> Iterator[None]:
    """Watch each store that workspaces open."""
    real = there.open_store

    def open_store(reference: Reference) -> Any:
        return WatchedStore(real(reference), hear, unlisted=unlisted)

    there.open_store = open_store  # type: ignore[method-assign]
    try:
        yield
    finally:
        del there.open_store
