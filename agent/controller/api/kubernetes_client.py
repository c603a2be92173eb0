"""The client of the Kubernetes API: read, create, merge-patch. The one home of aiohttp's client, kopf's included."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import aiohttp
import kopf

from agent.controller.api.access import Access, request_of
from agent.errors import AuthError, RejectedError, UnavailableError
from agent.tekton.model.fields import Object

TIMEOUT_S = 20
LARGEST = 64 * 1024 * 1024
"""Bytes of one answer."""

_UNAUTHORIZED, _FORBIDDEN, _GONE, _CONFLICT = 401, 403, 404, 409
_BAD = (400, 413, 422)
_PASSING = (_UNAUTHORIZED, _GONE, 410)
"""Refusals that kopf has an answer to: it logs in, rescans, or lists again."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of objects, and where the API has it."""

    api_version: str
    plural: str

    def selector(self) -> tuple[str, str, str]:
        """Return group, version and plural name."""
        group, _, version = self.api_version.partition("/")
        return group, version, self.plural


PIPELINES = Resource("tekton.dev/v1", "pipelines")
TASKS = Resource("tekton.dev/v1", "tasks")
TASK_RUNS = Resource("tekton.dev/v1", "taskruns")
PIPELINE_RUNS = Resource("tekton.dev/v1", "pipelineruns")
CUSTOM_RUNS = Resource("tekton.dev/v1beta1", "customruns")
RUNS = Resource("tekton.dev/v1alpha1", "runs")
STEP_ACTIONS = Resource("tekton.dev/v1beta1", "stepactions")
EVENTS = Resource("v1", "events")
CRDS = Resource("apiextensions.k8s.io/v1", "customresourcedefinitions")
REQUESTS = Resource("resolution.tekton.dev/v1beta1", "resolutionrequests")


class Cluster:
    """One connection to an API server; `async with` closes it.

    All methods raise UnavailableError where trying again can help, AuthError where the API server refuses us.
    """

    def __init__(
        self,
        login: Callable[[], kopf.ConnectionInfo],
        count: Callable[[str, int], None],
        access: Access | None = None,
    ) -> None:
        """Connect on first use.

        Args:
            login: gives credentials, anew whenever they are refused.
            count: told the verb and the status of each answer, 0 where there was none.
            access: told what the rights do not allow, and what they do.
        """
        self._login = login
        self._count = count
        self._access = access
        self._info: kopf.ConnectionInfo | None = None
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Cluster:
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def served(self, api_version: str) -> set[str]:
        """Return the plural names of what the API server has in a version, empty if it does not have that."""
        answer = await self._call("discover", "GET", f"/apis/{api_version}")
        return {str(item.get("name")) for item in (answer or {}).get("resources", [])}

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Return an object, None if there is none."""
        return await self._call("get", "GET", _path(resource, namespace, name))

    async def create(self, resource: Resource, value: Object) -> bool:
        """Create an object; say whether it was: its name may be taken.

        Raises:
            RejectedError: the API server does not take such an object.
        """
        path = _path(resource, value["metadata"]["namespace"])
        return await self._call("create", "POST", path, value, missing=(_CONFLICT,)) is not None

    async def patch(self, resource: Resource, namespace: str, name: str, patch: Object) -> bool:
        """Merge-patch an object; say whether it is there."""
        return await self._call("patch", "PATCH", _path(resource, namespace, name), patch) is not None

    async def json_patch(self, resource: Resource, name: str, patch: list[dict[str, Any]]) -> bool:
        """JSON-patch an object that is in no namespace; say whether it is there, and as the patch's tests have it."""
        answer = await self._call(
            "patch", "PATCH", _path(resource, "", name), patch, missing=(_CONFLICT, _GONE, _BAD[2])
        )
        return answer is not None

    async def patch_status(self, resource: Resource, seen: Object, status: Object) -> bool:
        """Merge-patch the status of an object as it was seen; say whether it is still as it was.

        The version travels with the patch: what was decided about an object that has changed since is not written.
        """
        meta = seen["metadata"]
        body = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": status}
        path = _path(resource, meta["namespace"], meta["name"]) + "/status"
        return await self._call("patch_status", "PATCH", path, body, missing=(_CONFLICT, _GONE)) is not None

    async def _call(
        self,
        verb: str,
        method: str,
        path: str,
        body: Object | list[dict[str, Any]] | None = None,
        missing: tuple[int, ...] = (_GONE,),
    ) -> Any | None:
        """Return the answer, None where its status is one of `missing`."""
        for is_last in (False, True):
            session, info = await self._open()
            status, value = await self._send(session, method, info.server.rstrip("/") + path, body)
            self._count(verb, status)
            self._note(method, path, status, value)
            if status in missing:
                return None
            if status == _UNAUTHORIZED and not is_last:
                await self._reopen(session)
                continue
            _check(status, value, f"{method} {path}")
            return value
        raise AssertionError

    def _note(self, method: str, path: str, status: int, value: dict[str, Any]) -> None:
        if self._access is None:
            return
        if status < _BAD[0]:
            self._access.succeeded(request_of(method, path))
        elif status == _FORBIDDEN and _is_right_missing(value):
            self._access.failed(request_of(method, path), status, _message(status, value))

    async def _send(
        self, session: aiohttp.ClientSession, method: str, url: str, body: Object | list[dict[str, Any]] | None
    ) -> tuple[int, dict[str, Any]]:
        patches = "application/json-patch+json" if isinstance(body, list) else "application/merge-patch+json"
        kind = patches if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body)
        try:
            async with session.request(method, url, data=data, headers={"Content-Type": kind}) as response:
                return response.status, _parsed(await _read(response), response.status)
        except (aiohttp.ClientError, TimeoutError, OSError, RuntimeError) as error:
            # RuntimeError: the session was closed by somebody who had a 401.
            self._count(method.lower(), 0)
            raise UnavailableError(
                f"no answer: {type(error).__name__}", subject="the API server", remedy="see that it is up and well"
            ) from error

    async def _open(self) -> tuple[aiohttp.ClientSession, kopf.ConnectionInfo]:
        async with self._opening:
            if self._session is None or self._info is None:
                self._info = await asyncio.to_thread(self._login)
                self._session = _opened(self._info, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
            return self._session, self._info

    async def _reopen(self, refused: aiohttp.ClientSession) -> None:
        """Forget credentials that were refused: a service account's token changes about once an hour."""
        async with self._opening:
            if self._session is refused:
                self._session = None
                await refused.close()


@dataclass(frozen=True, kw_only=True)
class _KopfSession(kopf.AiohttpSession):
    """A session for kopf. As credentials it is equal to another with the same, so that kopf gives up on bad ones."""

    aiohttp_session: aiohttp.ClientSession = field(compare=False)
    info: kopf.ConnectionInfo


def kopf_session(info: kopf.ConnectionInfo, access: Access) -> kopf.AiohttpSession:
    """Return the session in which kopf lists and watches; what comes of each request is told to `access`."""
    trace = aiohttp.TraceConfig()

    async def answered(_: Any, __: SimpleNamespace, params: aiohttp.TraceRequestEndParams) -> None:
        request = request_of(params.method, params.url.path, is_watch="watch" in params.url.query)
        status = params.response.status
        if status < _BAD[0]:
            access.succeeded(request)
        elif status not in _PASSING:
            access.failed(request, status, f"HTTP {status} {params.response.reason or ''}".rstrip())

    async def unanswered(_: Any, __: SimpleNamespace, params: aiohttp.TraceRequestExceptionParams) -> None:
        if isinstance(params.exception, (aiohttp.ClientError, OSError)):
            request = request_of(params.method, params.url.path, is_watch="watch" in params.url.query)
            access.failed(request, 0, f"no answer: {type(params.exception).__name__}")

    trace.on_request_end.append(answered)
    trace.on_request_exception.append(unanswered)
    # As kopf would make it, but for the trace: one connection for each watch, and no timeout of the session's.
    session = _opened(info, limit=0, trace_configs=[trace])
    return _KopfSession(
        server=info.server, default_namespace=info.default_namespace, aiohttp_session=session, info=info
    )


def _opened(info: kopf.ConnectionInfo, *, limit: int = 100, **options: Any) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=info.as_ssl_context(), limit=limit),
        headers=info.as_http_headers(),
        proxy=info.proxy_url,
        **options,
    )


def _path(resource: Resource, namespace: str, name: str = "") -> str:
    root = "/apis" if "/" in resource.api_version else "/api"
    place = f"/namespaces/{namespace}" if namespace else ""
    path = f"{root}/{resource.api_version}{place}/{resource.plural}"
    return f"{path}/{name}" if name else path


async def _read(response: aiohttp.ClientResponse) -> bytes:
    raw = bytearray()
    async for chunk in response.content.iter_any():
        raw += chunk
        if len(raw) > LARGEST:
            raise aiohttp.ClientPayloadError
    return bytes(raw)


def _parsed(raw: bytes, status: int) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except ValueError as error:
        if status < _BAD[0]:
            raise aiohttp.ClientPayloadError from error
        value = None  # a proxy's page
    return value if isinstance(value, dict) else {}


def _message(status: int, value: dict[str, Any]) -> str:
    return str(value.get("message") or f"HTTP {status}")


def _is_right_missing(value: dict[str, Any]) -> bool:
    """Say whether a 403 is about our rights, in Kubernetes' words. One about an object says nothing of others."""
    return re.search(r" cannot \w+ resource ", str(value.get("message"))) is not None


def _is_denied(value: dict[str, Any]) -> bool:
    """Say whether a 403 is about the object: an admission policy's, or of a namespace that ends."""
    return re.search(r"denied (the )?request|it is being terminated", str(value.get("message"))) is not None


def _is_over_quota(value: dict[str, Any]) -> bool:
    """Say whether a 403 is about how much there is already."""
    return "exceeded quota" in str(value.get("message"))


def _check(status: int, value: dict[str, Any], subject: str) -> None:
    if status < _BAD[0]:
        return
    message = _message(status, value)
    if status in _BAD or (status == _FORBIDDEN and _is_denied(value)):
        raise RejectedError(message, subject=subject, remedy="mend what is named")
    if status in (_UNAUTHORIZED, _FORBIDDEN) and not _is_over_quota(value):
        raise AuthError(message, subject=subject, remedy="see the rights that docs/reference/controller.md lists")
    raise UnavailableError(message, subject=subject, remedy="see that it is up and well")
