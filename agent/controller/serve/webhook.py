"""The webhook: AdmissionReviews over HTTPS, answered by `agent.tekton.frontends.admission` without asking anybody."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from aiohttp import web

from agent.controller.serve.http_server import listening
from agent.controller.telemetry.logs import LOGGER
from agent.controller.telemetry.metrics import Metrics
from agent.errors import AgentError, UsageError
from agent.tekton.frontends.admission import review

PATH = "/lookup"
LARGEST = 16 * 1024 * 1024
"""Bytes of a review: a run as it is and as it was, each of which Kubernetes stores in 1.5 MiB."""

PAUSE_S = 10.0
"""Seconds between looks at the certificate's files, which are replaced before it expires."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where to serve, and the directory of a Secret of type kubernetes.io/tls: tls.crt and tls.key."""

    host: str
    port: int
    certificate: str


@asynccontextmanager
async def reviewing(webhook: Webhook, metrics: Metrics, pause: float = PAUSE_S) -> AsyncIterator[int]:
    """Serve while the block runs; gives the port.

    Raises:
        UsageError: the certificate cannot be read, or the address not be listened at.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, webhook.certificate)

    async def answer(request: web.Request) -> web.Response:
        try:
            found = review(json.loads(await request.read()))
        except (AgentError, ValueError, RecursionError, AttributeError) as error:
            return web.Response(text=f"{error}\n", status=400)
        metrics.review(refused=not found["response"]["allowed"])
        return web.json_response(found)

    app = web.Application(client_max_size=LARGEST)
    app.add_routes([web.post(PATH, answer)])
    task = asyncio.create_task(_renew(context, webhook.certificate, pause))
    await asyncio.sleep(0)  # older than kopf, as the workers have to be (run.py)
    try:
        async with listening(app, webhook.host, webhook.port, "--webhook", context) as port:
            yield port
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _renew(context: ssl.SSLContext, directory: str, pause: float) -> None:
    """Serve new connections with the certificate of now."""
    loaded = _stamp(directory)
    while True:
        await asyncio.sleep(pause)
        found = _stamp(directory)
        if found == loaded:
            continue
        try:
            _load(context, directory)
        except UsageError as error:
            LOGGER.error("%s", error)  # perhaps half of it is written: look again
        else:
            LOGGER.info("certificate read anew", extra={"about": {"directory": directory}})
            loaded = found


def _stamp(directory: str) -> list[int]:
    found = []
    for path in _files(directory):
        with suppress(OSError):
            found.append(os.stat(path).st_mtime_ns)
    return found


def _files(directory: str) -> tuple[str, str]:
    return os.path.join(directory, "tls.crt"), os.path.join(directory, "tls.key")


def _load(context: ssl.SSLContext, directory: str) -> None:
    try:
        context.load_cert_chain(*_files(directory), password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"no certificate can be read: {getattr(error, 'strerror', None) or error}",
            subject=directory,
            remedy="put tls.crt and tls.key there, PEM and without a passphrase",
        ) from error
