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
    backoffs: list[float] = []
    queue = WorkQueue(reconcile, lambda key, error, backoff: backoffs.append(backoff), first_backoff=0.01)
    task = asyncio.create_task(queue.run())
    try:
        yield queue, backoffs
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_events_while_an_object_waits_are_one_reconcile_and_those_during_it_one_more() -> None:
    reconciled: list[Key] = []
    going = asyncio.Event()

    async def reconcile(key: Key) -> None:
        reconciled.append(key)
        await going.wait()

    async with working(reconcile) as (queue, _):
        for _ in range(3):
            queue.add(A)
        await eventually(lambda: reconciled == [A])
        for _ in range(3):
            queue.add(A)
        await asyncio.sleep(0.05)
        assert reconciled == [A]
        going.set()
        await eventually(lambda: reconciled == [A, A])
        await asyncio.sleep(0.05)
        assert reconciled == [A, A]
        assert len(queue) == 0


async def test_one_object_does_not_wait_for_another() -> None:
    done: list[Key] = []

    async def reconcile(key: Key) -> None:
        if key == A:
            await asyncio.Event().wait()
        done.append(key)

    async with working(reconcile) as (queue, _):
        queue.add(A)
        queue.add(B)
        await eventually(lambda: done == [B])


async def test_an_error_requeues_with_a_back_off_until_it_works() -> None:
    tries = []

    async def reconcile(key: Key) -> None:
        tries.append(key)
        if len(tries) % 4:
            raise ValueError

    async with working(reconcile) as (queue, backoffs):
        queue.add(A)
        await eventually(lambda: len(tries) == 4)
        assert backoffs == [0.01, 0.02, 0.04]
        queue.add(A)
        await eventually(lambda: len(tries) == 8)
        assert backoffs == [0.01, 0.02, 0.04] * 2


async def test_an_event_ends_the_back_off() -> None:
    tries = []

    async def reconcile(key: Key) -> float:
        tries.append(key)
        return 3600

    async with working(reconcile) as (queue, _):
        queue.add(A)
        await eventually(lambda: len(tries) == 1)
        await asyncio.sleep(0.02)
        queue.add(A)
        await eventually(lambda: len(tries) == 2)


async def test_a_reconcile_can_ask_for_a_requeue() -> None:
    tries = []

    async def reconcile(key: Key) -> float | None:
        tries.append(key)
        return 0.02 if len(tries) < 3 else None

    async with working(reconcile) as (queue, _):
        queue.add(A)
        await eventually(lambda: len(tries) == 3)
