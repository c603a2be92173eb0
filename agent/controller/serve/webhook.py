"""The webhook: AdmissionReviews over HTTPS, decided by `agent.tekton.frontends.admission` without any request."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from aiohttp import web

from agent.controller.serve.http_server import serve_http
from agent.controller.telemetry.logs import LOGGER
from agent.controller.telemetry.metrics import Metrics
from agent.errors import AgentError, UsageError
from agent.tekton.frontends.admission import review

PATH = "/lookup"
LARGEST = 16 * 1024 * 1024
"""Bytes of a review: it holds the new and the old run, and Kubernetes stores at most 1.5 MiB for each."""

PAUSE_S = 10.0
"""Seconds between checks of the certificate's files. They are replaced before the certificate expires."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """The address of the webhook, and its certificate.

    Attributes:
        certificate: the directory of a mounted Secret of type kubernetes.io/tls, with tls.crt and tls.key.
    """

    host: str
    port: int
    certificate: str


@asynccontextmanager
async def serve_webhook(webhook: Webhook, metrics: Metrics, pause: float = PAUSE_S) -> AsyncIterator[int]:
    """Serve while the block runs. Yields the port.

    Args:
        pause: seconds between checks of the certificate's files.

    Raises:
        UsageError: the certificate cannot be read, or the server cannot listen on the address.
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
    await asyncio.sleep(0)  # start it before kopf (background_task.py)
    try:
        async with serve_http(app, webhook.host, webhook.port, "--webhook", context) as port:
            yield port
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _renew(context: ssl.SSLContext, directory: str, pause: float) -> None:
    """Reload the certificate for new connections whenever its files change."""
    loaded = _modification_times(directory)
    while True:
        await asyncio.sleep(pause)
        found = _modification_times(directory)
        if found == loaded:
            continue
        try:
            _load(context, directory)
        except UsageError as error:
            LOGGER.error("%s", error)  # perhaps only one of the files is written yet: try again
        else:
            LOGGER.info("certificate reloaded", extra={"about": {"directory": directory}})
            loaded = found


def _modification_times(directory: str) -> list[int]:
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
