"""Serving HTTP while a block runs. The one home of aiohttp's server."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from agent.errors import UsageError


@asynccontextmanager
async def listening(
    app: web.Application, host: str, port: int, option: str, context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve while the block runs; gives the port.

    Args:
        port: 0 for any that is free.
        option: of the command line, which names the address.
        context: for TLS; None for plain HTTP.

    Raises:
        UsageError: the address cannot be listened at.
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
