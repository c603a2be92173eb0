"""The requests that the API server permits and refuses: the source of readiness, of a metric, and of a line in the log.

A controller that cannot list its objects is alive, and does nothing. So it must not be ready.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from agent.controller.telemetry.logs import LOGGER

GRACE_S = 1.0
"""Seconds until failures are logged: failures with one cause are one line, and a short failure is none."""

FORGET_S = 120.0
"""Seconds after which a failure is forgotten if it does not repeat. A request that still fails is retried sooner."""

_LONGEST = 5
"""Requests that a line of the log lists; `/readyz` lists all."""

_REPEATED = ("discover", "list", "watch")
"""Verbs of requests that are retried until they succeed."""


@dataclass(frozen=True, slots=True, order=True)
class ApiRequest:
    """A kind of request: verb, resource such as `customruns/status`, and namespace, "" for all."""

    verb: str
    resource: str
    namespace: str = ""

    def __str__(self) -> str:
        place = f"in namespace {self.namespace}" if self.namespace else "in all namespaces"
        return f"{self.verb} {self.resource} {place}"


class Access:
    """The last outcome of each kind of request."""

    def __init__(self, show: Callable[[Mapping[tuple[str, str, str], int]], None]) -> None:
        """Start without any outcome.

        Args:
            show: called when the failures change, with the number of namespaces by verb, resource and HTTP status.
        """
        self._show = show
        self._expected: set[ApiRequest] | None = None
        self._failing: dict[ApiRequest, tuple[int, str]] = {}
        self._forgetting: dict[ApiRequest, asyncio.TimerHandle] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_logged = False

    def expect(self, requests: Collection[ApiRequest]) -> None:
        """Set the requests that must each succeed once before the controller is ready."""
        self._expected = set(requests)

    def succeeded(self, request: ApiRequest) -> None:
        """Record a request that succeeded."""
        if self._expected:
            self._expected.discard(request)
        self._forget(request)

    def failed(self, request: ApiRequest, status: int, message: str) -> None:
        """Record a request that was refused, or got no response.

        Args:
            status: the HTTP status, 0 for no response.
            message: the reason.
        """
        self._failing[request] = status, message
        if (timer := self._forgetting.pop(request, None)) is not None:
            timer.cancel()
        if request.verb not in _REPEATED:
            self._forgetting[request] = asyncio.get_running_loop().call_later(FORGET_S, self._forget, request)
        self._changed()

    @property
    def is_refused(self) -> bool:
        """Whether a right is missing now."""
        return any(status == 403 for status, _ in self._failing.values())

    def problems(self) -> list[str]:
        """Return the reasons why the controller is not ready; empty if it is ready."""
        if self._expected is None:
            return [*self._refusals(), "it is starting"]
        expected = sorted(self._expected - self._failing.keys())
        return [*self._refusals(), *(f"{request}: not answered yet" for request in expected)]

    def _refusals(self) -> list[str]:
        return [f"{request}: {message}" for request, (_, message) in sorted(self._failing.items())]

    def _forget(self, request: ApiRequest) -> None:
        if (timer := self._forgetting.pop(request, None)) is not None:
            timer.cancel()
        if self._failing.pop(request, None) is not None:
            self._changed()

    def _changed(self) -> None:
        self._show(
            Counter((request.verb, request.resource, str(status)) for request, (status, _) in self._failing.items())
        )
        if self._failing:
            if self._timer is None and not self._is_logged:
                self._timer = asyncio.get_running_loop().call_later(GRACE_S, self._log)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_logged:
            self._is_logged = False
            LOGGER.info("the API server answers everything again")

    def _log(self) -> None:
        self._timer = None
        self._is_logged = True
        found = self._refusals()
        more = f", and {len(found) - _LONGEST} more that /readyz names" if len(found) > _LONGEST else ""
        LOGGER.error(
            "not ready: %s%s; see the rights that docs/reference/controller.md lists", "; ".join(found[:_LONGEST]), more
        )


def request_of(method: str, path: str, *, is_watch: bool = False) -> ApiRequest:
    """Return the kind of a request, in the words of RBAC rules.

    Args:
        path: of the URL. A proxy's path may precede `/api` or `/apis`.
    """
    parts = [part for part in path.split("/") if part]
    start = next((index for index, part in enumerate(parts) if part in ("api", "apis")), len(parts))
    rest = parts[start + (2 if parts[start : start + 1] == ["api"] else 3) :]
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    if not rest:
        return ApiRequest("discover", "/".join(parts[start:]))
    resource = "/".join([rest[0], *rest[2:3]])
    if method == "GET":
        return ApiRequest("get" if len(rest) > 1 else "watch" if is_watch else "list", resource, namespace)
    return ApiRequest({"POST": "create", "PATCH": "patch"}.get(method, method.lower()), resource, namespace)
