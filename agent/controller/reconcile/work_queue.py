"""The work queue: the keys of objects to reconcile, with requeueing and a back-off after errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent.controller.api.resources import Resource

WORKERS = 16
"""Objects that are reconciled at the same time."""

FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 30.0
"""Seconds until an object is reconciled again after an error. The pause doubles from the first to the longest."""

REQUEUE_S = 0.05
"""Seconds until an object that changed while it was reconciled is reconciled again."""


@dataclass(frozen=True, slots=True)
class Key:
    """The key of an object: its kind, namespace and name."""

    resource: Resource
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.resource.plural} {self.namespace}/{self.name}"


Reconcile = Callable[[Key], Awaitable[float | None]]
"""Reconciles an object. Returns the seconds until it is requeued, or None if only an event requeues it."""

OnError = Callable[[Key, Exception, float], None]
"""Called with the key, the error, and the seconds of the back-off."""


class WorkQueue:
    """The objects that wait to be reconciled, as in a Kubernetes controller (client-go: workqueue).

    A key is in the queue once, whatever the number of events. A key that is added while its object is reconciled is
    reconciled once more. After an error the key is requeued with a back-off; a new event ends the back-off.
    """

    def __init__(self, reconcile: Reconcile, on_error: OnError, first_backoff: float = FIRST_BACKOFF_S) -> None:
        self._reconcile = reconcile
        self._on_error = on_error
        self._first_backoff = first_backoff
        self._queue: asyncio.Queue[Key] = asyncio.Queue()
        self._queued: set[Key] = set()
        self._processing: set[Key] = set()
        self._added_meanwhile: set[Key] = set()
        self._backoffs: dict[Key, float] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._queued)

    def add(self, key: Key) -> None:
        """Add a key to the queue."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._processing:
            self._added_meanwhile.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._queue.put_nowait(key)

    async def run(self) -> None:
        """Reconcile objects until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(WORKERS):
                workers.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            self._queued.discard(key)
            self._processing.add(key)
            try:
                requeue_after = await self._process(key)
            finally:
                self._processing.discard(key)
            if key in self._added_meanwhile:
                self._added_meanwhile.discard(key)
                self.add(key)
            elif requeue_after is not None:
                self._timers[key] = asyncio.get_running_loop().call_later(requeue_after, self.add, key)

    async def _process(self, key: Key) -> float | None:
        """Reconcile an object and return the seconds until it is requeued, None for not at all."""
        try:
            requeue_after = await self._reconcile(key)
        except Exception as error:  # an error with one object must not stop the others
            backoff = self._backoffs.get(key, self._first_backoff)
            self._backoffs[key] = min(2 * backoff, LONGEST_BACKOFF_S)
            self._on_error(key, error, backoff)
            return backoff
        self._backoffs.pop(key, None)
        return requeue_after
