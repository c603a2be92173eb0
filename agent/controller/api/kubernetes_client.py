"""The client of the Kubernetes API: read, create and patch objects (docs/decisions/kubernetes-client.md)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import kopf

from agent.controller.api.access import Access, request_of
from agent.controller.api.http_session import open_session
from agent.controller.api.resources import Resource
from agent.controller.api.response import (
    CONFLICT,
    FIRST_ERROR,
    FORBIDDEN,
    INVALID,
    NOT_FOUND,
    UNAUTHORIZED,
    check_status,
    is_right_missing,
    message_of,
    parse_response,
    read_response,
)
from agent.errors import UnavailableError
from agent.tekton.model.fields import Object

TIMEOUT_S = 20
"""Seconds that one request may take."""


class Cluster:
    """One connection to an API server; `async with` closes it.

    All methods raise UnavailableError if a retry can help, and AuthError if the API server refuses the credentials or a
    right is missing.
    """

    def __init__(
        self,
        login: Callable[[], kopf.ConnectionInfo],
        count: Callable[[str, int], None],
        access: Access | None = None,
    ) -> None:
        """Connect on first use.

        Args:
            login: returns credentials; it is called again if they are refused.
            count: called with the verb and the HTTP status of each response; the status is 0 if there was none.
            access: records the requests that succeed and those that fail for want of a right.
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
        """Return the plural names of the resources of an apiVersion, empty if the API server does not serve it."""
        answer = await self._call("discover", "GET", f"/apis/{api_version}")
        return {str(item.get("name")) for item in (answer or {}).get("resources", [])}

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Return an object, None if it does not exist."""
        return await self._call("get", "GET", _path(resource, namespace, name))

    async def create(self, resource: Resource, value: Object) -> bool:
        """Create an object. Return False if another object has its name.

        Raises:
            RejectedError: the API server, or an admission policy, rejects the object.
        """
        path = _path(resource, value["metadata"]["namespace"])
        return await self._call("create", "POST", path, value, missing=(CONFLICT,)) is not None

    async def patch(self, resource: Resource, namespace: str, name: str, patch: Object) -> bool:
        """Merge-patch an object. Return False if it does not exist."""
        return await self._call("patch", "PATCH", _path(resource, namespace, name), patch) is not None

    async def json_patch(self, resource: Resource, name: str, patch: list[dict[str, Any]]) -> bool:
        """JSON-patch an object without a namespace. Return False if it does not exist or a `test` operation failed."""
        answer = await self._call(
            "patch", "PATCH", _path(resource, "", name), patch, missing=(CONFLICT, NOT_FOUND, INVALID)
        )
        return answer is not None

    async def patch_status(self, resource: Resource, read: Object, status: Object) -> bool:
        """Merge-patch the status of an object. Return False if the object has changed or is gone.

        Args:
            read: the object as it was read. Its resourceVersion goes with the patch, so that the API server refuses a
                status that was computed from an older version.
        """
        meta = read["metadata"]
        body = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": status}
        path = _path(resource, meta["namespace"], meta["name"]) + "/status"
        return await self._call("patch_status", "PATCH", path, body, missing=(CONFLICT, NOT_FOUND)) is not None

    async def _call(
        self,
        verb: str,
        method: str,
        path: str,
        body: Object | list[dict[str, Any]] | None = None,
        missing: tuple[int, ...] = (NOT_FOUND,),
    ) -> Any | None:
        """Return the response, None if its HTTP status is one of `missing`."""
        for is_last in (False, True):
            session, info = await self._open()
            status, value = await self._send(session, method, info.server.rstrip("/") + path, body)
            self._count(verb, status)
            self._record(method, path, status, value)
            if status in missing:
                return None
            if status == UNAUTHORIZED and not is_last:
                await self._reopen(session)
                continue
            check_status(status, value, f"{method} {path}")
            return value
        raise AssertionError

    def _record(self, method: str, path: str, status: int, value: dict[str, Any]) -> None:
        if self._access is None:
            return
        if status < FIRST_ERROR:
            self._access.succeeded(request_of(method, path))
        elif status == FORBIDDEN and is_right_missing(value):
            self._access.failed(request_of(method, path), status, message_of(status, value))

    async def _send(
        self, session: aiohttp.ClientSession, method: str, url: str, body: Object | list[dict[str, Any]] | None
    ) -> tuple[int, dict[str, Any]]:
        patches = "application/json-patch+json" if isinstance(body, list) else "application/merge-patch+json"
        kind = patches if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body)
        try:
            async with session.request(method, url, data=data, headers={"Content-Type": kind}) as response:
                return response.status, parse_response(await read_response(response), response.status)
        except (aiohttp.ClientError, TimeoutError, OSError, RuntimeError) as error:
            # RuntimeError: another task got a 401 and closed the session.
            self._count(method.lower(), 0)
            raise UnavailableError(
                f"no answer: {type(error).__name__}", subject="the API server", remedy="see that it is up and well"
            ) from error

    async def _open(self) -> tuple[aiohttp.ClientSession, kopf.ConnectionInfo]:
        async with self._opening:
            if self._session is None or self._info is None:
                self._info = await asyncio.to_thread(self._login)
                self._session = open_session(self._info, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
            return self._session, self._info

    async def _reopen(self, refused: aiohttp.ClientSession) -> None:
        """Drop credentials that were refused: a service account's token changes about once an hour."""
        async with self._opening:
            if self._session is refused:
                self._session = None
                await refused.close()


def _path(resource: Resource, namespace: str, name: str = "") -> str:
    root = "/apis" if "/" in resource.api_version else "/api"
    place = f"/namespaces/{namespace}" if namespace else ""
    path = f"{root}/{resource.api_version}{place}/{resource.plural}"
    return f"{path}/{name}" if name else path
