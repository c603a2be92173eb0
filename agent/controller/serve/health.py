"""The HTTP side: `/healthz` for liveness, `/readyz` for readiness, `/metrics`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from agent.controller.serve.http_server import listening
from agent.controller.telemetry.metrics import CONTENT_TYPE


@asynccontextmanager
async def served(
    host: str, port: int, *, problems: Callable[[], Sequence[str]], metrics: Callable[[], bytes]
) -> AsyncIterator[int]:
    """Serve while the block runs; gives the port.

    `/healthz` answers as long as the event loop turns: all work is done in it.

    Args:
        port: 0 for any that is free.
        problems: why it is not ready, which `/readyz` shows; nothing where it is.

    Raises:
        UsageError: the address cannot be listened at.
    """

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readiness(_: web.Request) -> web.Response:
        found = problems()
        return (
            web.Response(text="\n".join(["not ready", *found, ""]), status=503) if found else web.Response(text="ok\n")
        )

    async def numbers(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.add_routes([web.get("/healthz", health), web.get("/readyz", readiness), web.get("/metrics", numbers)])
    async with listening(app, host, port, "--listen") as found:
        yield found
