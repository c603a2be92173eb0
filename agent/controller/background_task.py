"""A task that runs in the background while kopf runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any


@asynccontextmanager
async def run_in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` while the block runs, then cancel it. The next controller completes interrupted work."""
    task = asyncio.create_task(work)
    await asyncio.sleep(0)  # start it before kopf, which at its end waits for all tasks that started later
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
