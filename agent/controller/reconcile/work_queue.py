"""Turns: each object that something happened to is looked at, one look at a time, again and again until it works."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent.controller.api.resources import Resource

WORKERS = 16
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 30.0
AGAIN_S = 0.05
"""Seconds until an object that changed meanwhile is looked at again."""


@dataclass(frozen=True, slots=True)
class Key:
    """An object by its name."""

    resource: Resource
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.resource.plural} {self.namespace}/{self.name}"


Look = Callable[[Key], Awaitable[float | None]]
"""Looks at an object and does what is to be done. Returns seconds after which to look again, None for not by itself."""

Failed = Callable[[Key, Exception, float], None]


class Work:
    """The objects that wait for their turn.

    Events that come while an object waits are one; those that come during its turn are one turn more. After an error
    it is tried again after a pause, which doubles up to half a minute; a new event does not wait for that.
    """

    def __init__(self, look: Look, failed: Failed, first_pause: float = FIRST_PAUSE_S) -> None:
        self._look = look
        self._failed = failed
        self._first_pause = first_pause
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()
        self._running: set[Key] = set()
        self._again: set[Key] = set()
        self._pauses: dict[Key, float] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: Key) -> None:
        """Give an object a turn."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._running:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(WORKERS):
                workers.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._running.add(key)
            try:
                later = await self._turn(key)
            finally:
                self._running.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            elif later is not None:
                self._timers[key] = asyncio.get_running_loop().call_later(later, self.add, key)

    async def _turn(self, key: Key) -> float | None:
        try:
            later = await self._look(key)
        except Exception as error:  # one object's trouble must not stop the others
            pause = self._pauses.get(key, self._first_pause)
            self._pauses[key] = min(2 * pause, LONGEST_PAUSE_S)
            self._failed(key, error, pause)
            return pause
        self._pauses.pop(key, None)
        return later
