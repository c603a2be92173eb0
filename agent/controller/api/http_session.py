"""The HTTP sessions of aiohttp with the API server: the controller's own, and the one in which kopf watches."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import aiohttp
import kopf

from agent.controller.api.access import Access, request_of
from agent.controller.api.response import FIRST_ERROR

_HANDLED_BY_KOPF = (401, 404, 410)
"""Errors that kopf handles: it logs in again, discovers the resources again, or lists again."""


@dataclass(frozen=True, kw_only=True)
class _KopfSession(kopf.AiohttpSession):
    """A session for kopf. Two with the same credentials are equal, so that kopf does not retry those that failed."""

    aiohttp_session: aiohttp.ClientSession = field(compare=False)
    info: kopf.ConnectionInfo


def kopf_session(info: kopf.ConnectionInfo, access: Access) -> kopf.AiohttpSession:
    """Return the session in which kopf lists and watches; `access` records the outcome of each request."""
    trace = aiohttp.TraceConfig()

    async def answered(_: Any, __: SimpleNamespace, params: aiohttp.TraceRequestEndParams) -> None:
        request = request_of(params.method, params.url.path, is_watch="watch" in params.url.query)
        status = params.response.status
        if status < FIRST_ERROR:
            access.succeeded(request)
        elif status not in _HANDLED_BY_KOPF:
            access.failed(request, status, f"HTTP {status} {params.response.reason or ''}".rstrip())

    async def unanswered(_: Any, __: SimpleNamespace, params: aiohttp.TraceRequestExceptionParams) -> None:
        if isinstance(params.exception, (aiohttp.ClientError, OSError)):
            request = request_of(params.method, params.url.path, is_watch="watch" in params.url.query)
            access.failed(request, 0, f"no answer: {type(params.exception).__name__}")

    trace.on_request_end.append(answered)
    trace.on_request_exception.append(unanswered)
    # The same as kopf's own session, except for the trace: one connection for each watch, and no total timeout.
    session = open_session(info, limit=0, trace_configs=[trace])
    return _KopfSession(
        server=info.server, default_namespace=info.default_namespace, aiohttp_session=session, info=info
    )


def open_session(info: kopf.ConnectionInfo, *, limit: int = 100, **options: Any) -> aiohttp.ClientSession:
    """Return a session with an API server.

    Args:
        limit: connections at the same time; 0 for any number.
        options: those of `aiohttp.ClientSession`.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=info.as_ssl_context(), limit=limit),
        headers=info.as_http_headers(),
        proxy=info.proxy_url,
        **options,
    )
