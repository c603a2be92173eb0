"""What the API server lets the controller do: whether it sees all that it serves, and what is refused.

Readiness, a metric and the log follow from it: a controller that cannot list what it serves lives, and does nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from agent.controller.telemetry.logs import LOGGER

GRACE_S = 1.0
"""Seconds until trouble is logged: what one cause takes away is one line, and what passes is none."""

FORGET_S = 120.0
"""Seconds after which a refusal is forgotten that nobody met again. What still fails is tried more often than that."""

_LONGEST = 5
"""Requests that a line of the log names; `/readyz` names all."""

_REPEATED = ("discover", "list", "watch")
"""Verbs of requests that are repeated until they succeed."""


@dataclass(frozen=True, slots=True, order=True)
class Request:
    """What is asked of the API server: a verb, a resource such as `customruns/status`, a namespace or "" for all."""

    verb: str
    resource: str
    namespace: str = ""

    def __str__(self) -> str:
        place = f"in namespace {self.namespace}" if self.namespace else "in all namespaces"
        return f"{self.verb} {self.resource} {place}"


class Access:
    """What succeeds and what fails, as it was seen last."""

    def __init__(self, show: Callable[[Mapping[tuple[str, str, str], int]], None]) -> None:
        """Begin with nothing seen.

        Args:
            show: told what fails now, whenever that changes: in how many namespaces, by verb, resource and status.
        """
        self._show = show
        self._unseen: set[Request] | None = None
        self._failing: dict[Request, tuple[int, str]] = {}
        self._forgetting: dict[Request, asyncio.TimerHandle] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_told = False

    def expect(self, requests: Collection[Request]) -> None:
        """Say what has to succeed once before the controller is ready."""
        self._unseen = set(requests)

    def succeeded(self, request: Request) -> None:
        """Take note of a request that was answered."""
        if self._unseen:
            self._unseen.discard(request)
        self._forget(request)

    def failed(self, request: Request, status: int, message: str) -> None:
        """Take note of a request that was refused, or got no answer.

        Args:
            status: HTTP's, 0 for no answer.
        """
        self._failing[request] = status, message
        if (timer := self._forgetting.pop(request, None)) is not None:
            timer.cancel()
        if request.verb not in _REPEATED:
            self._forgetting[request] = asyncio.get_running_loop().call_later(FORGET_S, self._forget, request)
        self._changed()

    @property
    def is_refused(self) -> bool:
        """Say whether rights are missing now."""
        return any(status == 403 for status, _ in self._failing.values())

    def problems(self) -> list[str]:
        """Return why the controller is not ready, nothing where it is."""
        if self._unseen is None:
            return [*self._refusals(), "it is starting"]
        unseen = sorted(self._unseen - self._failing.keys())
        return [*self._refusals(), *(f"{request}: not answered yet" for request in unseen)]

    def _refusals(self) -> list[str]:
        return [f"{request}: {message}" for request, (_, message) in sorted(self._failing.items())]

    def _forget(self, request: Request) -> None:
        if (timer := self._forgetting.pop(request, None)) is not None:
            timer.cancel()
        if self._failing.pop(request, None) is not None:
            self._changed()

    def _changed(self) -> None:
        self._show(
            Counter((request.verb, request.resource, str(status)) for request, (status, _) in self._failing.items())
        )
        if self._failing:
            if self._timer is None and not self._is_told:
                self._timer = asyncio.get_running_loop().call_later(GRACE_S, self._tell)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_told:
            self._is_told = False
            LOGGER.info("the API server answers everything again")

    def _tell(self) -> None:
        self._timer = None
        self._is_told = True
        found = self._refusals()
        more = f", and {len(found) - _LONGEST} more that /readyz names" if len(found) > _LONGEST else ""
        LOGGER.error(
            "not ready: %s%s; see the rights that docs/reference/controller.md lists", "; ".join(found[:_LONGEST]), more
        )


def request_of(method: str, path: str, *, is_watch: bool = False) -> Request:
    """Return what a request to the API server asks, as its access rules call it.

    Args:
        path: of the URL. In front of `/api` or `/apis` there may be a proxy's.
    """
    parts = [part for part in path.split("/") if part]
    start = next((index for index, part in enumerate(parts) if part in ("api", "apis")), len(parts))
    rest = parts[start + (2 if parts[start : start + 1] == ["api"] else 3) :]
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    if not rest:
        return Request("discover", "/".join(parts[start:]))
    resource = "/".join([rest[0], *rest[2:3]])
    if method == "GET":
        return Request("get" if len(rest) > 1 else "watch" if is_watch else "list", resource, namespace)
    return Request({"POST": "create", "PATCH": "patch"}.get(method, method.lower()), resource, namespace)
