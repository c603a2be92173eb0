"""The HTTP endpoints of the controller: `/healthz` for liveness, `/readyz` for readiness, `/metrics`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from agent.controller.serve.http_server import serve_http
from agent.controller.telemetry.metrics import CONTENT_TYPE


@asynccontextmanager
async def serve_health(
    host: str, port: int, *, problems: Callable[[], Sequence[str]], metrics: Callable[[], bytes]
) -> AsyncIterator[int]:
    """Serve while the block runs. Yields the port.

    `/healthz` responds as long as the event loop runs. All work is done in that loop.

    Args:
        port: 0 for any free port.
        problems: returns the reasons why the controller is not ready, for `/readyz`; empty if it is ready.
        metrics: returns the text for `/metrics`.

    Raises:
        UsageError: the server cannot listen on the address.
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
    async with serve_http(app, host, port, "--listen") as found:
        yield found
