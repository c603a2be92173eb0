"""Work that goes on beside kopf."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` while the block runs. What is cut off at the end is done by the next controller."""
    task = asyncio.create_task(work)
    await asyncio.sleep(0)  # it has to be older than kopf, which at its end waits for all younger tasks
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
