"""An HTTP server that runs while a block runs. The only module that starts aiohttp's server."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from agent.errors import UsageError


@asynccontextmanager
async def serve_http(
    app: web.Application, host: str, port: int, option: str, context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve while the block runs. Yields the port.

    Args:
        port: 0 for any free port.
        option: the option of the command line that sets the address, for the error.
        context: for TLS; None for plain HTTP.

    Raises:
        UsageError: the server cannot listen on the address.
    """
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=context)
    try:
        try:
            await site.start()
        except OSError as error:
            raise UsageError(
                f"cannot be listened at: {error.strerror}",
                subject=f"{host}:{port}",
                remedy=f"name another with {option}",
            ) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
