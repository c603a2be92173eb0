"""The work queue: one reconcile at a time for each object, all objects at once, a back-off after an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from agent.controller.api.resources import REQUESTS
from agent.controller.reconcile.work_queue import Key, Reconcile, WorkQueue
from tests.fakes.cluster import eventually

A, B = Key(REQUESTS, "ci", "a"), Key(REQUESTS, "ci", "b")


@asynccontextmanager
async def working(reconcile: Reconcile) -> AsyncIterator[tuple[WorkQueue, list[float]]]:
    pauses: list[float] = []
    work = WorkQueue(reconcile, lambda key, error, pause: pauses.append(pause), first_backoff=0.01)
    task = asyncio.create_task(work.run())
    try:
        yield work, pauses
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_events_while_an_object_waits_are_one_turn_and_those_in_its_turn_one_more() -> None:
    turns: list[Key] = []
    going = asyncio.Event()

    async def reconcile(key: Key) -> None:
        turns.append(key)
        await going.wait()

    async with working(reconcile) as (work, _):
        for _ in range(3):
            work.add(A)
        await eventually(lambda: turns == [A])
        for _ in range(3):
            work.add(A)
        await asyncio.sleep(0.05)
        assert turns == [A]
        going.set()
        await eventually(lambda: turns == [A, A])
        await asyncio.sleep(0.05)
        assert turns == [A, A]
        assert len(work) == 0


async def test_one_object_does_not_wait_for_another() -> None:
    done: list[Key] = []

    async def reconcile(key: Key) -> None:
        if key == A:
            await asyncio.Event().wait()
        done.append(key)

    async with working(reconcile) as (work, _):
        work.add(A)
        work.add(B)
        await eventually(lambda: done == [B])


async def test_a_turn_that_fails_is_repeated_after_longer_and_longer_pauses_until_it_works() -> None:
    tries = []

    async def reconcile(key: Key) -> None:
        tries.append(key)
        if len(tries) % 4:
            raise ValueError

    async with working(reconcile) as (work, pauses):
        work.add(A)
        await eventually(lambda: len(tries) == 4)
        assert pauses == [0.01, 0.02, 0.04]
        work.add(A)
        await eventually(lambda: len(tries) == 8)
        assert pauses == [0.01, 0.02, 0.04] * 2


async def test_an_event_does_not_wait_for_the_pause() -> None:
    tries = []

    async def reconcile(key: Key) -> float:
        tries.append(key)
        return 3600

    async with working(reconcile) as (work, _):
        work.add(A)
        await eventually(lambda: len(tries) == 1)
        await asyncio.sleep(0.02)
        work.add(A)
        await eventually(lambda: len(tries) == 2)


async def test_an_object_that_asks_for_it_is_looked_at_later() -> None:
    tries = []

    async def reconcile(key: Key) -> float | None:
        tries.append(key)
        return 0.02 if len(tries) < 3 else None

    async with working(reconcile) as (work, _):
        work.add(A)
        await eventually(lambda: len(tries) == 3)
