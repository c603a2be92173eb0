"""One request over one connection: proxy, certificates, time-outs."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from typing import Any

import requests
import urllib3

from agent.store.http.message import Request
from agent.store.network.address import AddressPolicy, Origin, Resolve, origin_of
from agent.store.network.bounded_connection import BoundedAdapter
from agent.store.network.certificates import requires_tls, speaks_tls
from agent.store.network.connection_errors import connection_error
from agent.store.network.proxies import proxies_for
from agent.store.network.retrying import Limits, Patience
from agent.store.traffic_counter import TrafficCounter


class Sender:
    """Sends requests, without redirects, logins or retries. Safe for several threads.

    Args:
        origin: where the registry is.
        name: the registry's name in errors, as the user wrote it.
        make_context: makes the TLS context; called for the first https address.
        resolve: looks a name up.

    Attributes:
        policy: decides about the address of each connection.
    """

    def __init__(
        self,
        origin: Origin,
        name: str,
        *,
        make_context: Callable[[], ssl.SSLContext],
        counter: TrafficCounter,
        limits: Limits,
        patience: Patience,
        resolve: Resolve,
    ) -> None:
        self.origin = origin
        self.name = name
        self.limits = limits
        self.patience = patience
        self.policy = AddressPolicy(origin, name, resolve)
        self._make_context = make_context
        self._counter = counter
        self._plain = BoundedAdapter(self.policy.check_peer)
        self._tls: BoundedAdapter | None = None
        self._tls_lock = threading.Lock()
        self._is_reached = False
        self._is_plain: bool | None = None

    def send(self, request: Request, method: str, url: str, authorization: str | None) -> requests.Response:
        """Send a request once, and return the response before its body is read.

        Args:
            request: its headers and its body.
            method, url: those of this hop, which differ from the request's after a redirect.
            authorization: the Authorization header's value, if any.

        Raises:
            UnavailableError: the host cannot be reached, does not answer in time, or does not speak HTTP.
        """
        headers = {"User-Agent": "instep", "Accept-Encoding": "identity", "Accept": "*/*", **request.headers}
        if authorization is not None:
            headers["Authorization"] = authorization
        body: Any = request.body if request.streamed is None else request.streamed
        self._counter.add(requests=1)
        try:
            # No requests.Session: it reads .netrc, keeps cookies, and inspects redirects even if told not to follow.
            response = self._adapter(url).send(
                requests.Request(method, url, headers=headers, data=body).prepare(),
                stream=True,
                timeout=self._timeouts(request),
                proxies=proxies_for(url),
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if self._is_tls_port(url):
                raise requires_tls(self.name) from error
            raise connection_error(error, self.name, is_reached=self._is_reached) from error
        self._is_plain = self._is_reached = True
        return response

    def silence(self, most: float) -> float:
        """Return the seconds that a connection may be silent now: `most`, or less if patience is nearly spent."""
        return min(most, max(self.patience.left, self.limits.least))

    def close(self) -> None:
        """End all connections."""
        for adapter in (self._plain, self._tls):
            if adapter is not None:
                adapter.close()

    def _is_tls_port(self, url: str) -> bool:
        """Return whether the registry speaks TLS, after it gave no valid response without. Tried once."""
        if self._is_plain is None and self.origin.scheme == "http" and origin_of(url, self.name) == self.origin:
            self._is_plain = bool(proxies_for(url)) or not speaks_tls(self.origin)
        return self._is_plain is False

    def _timeouts(self, request: Request) -> tuple[float, float]:
        """Return the seconds for connecting and for sending each piece, and those for the response's head."""
        sends = request.body is not None or request.streamed is not None
        silence = self.silence(self.limits.read if request.seconds is None else request.seconds)
        return min(silence, self.limits.read if sends else self.limits.connect), silence

    def _adapter(self, url: str) -> BoundedAdapter:
        if not url.lower().startswith("https:"):
            return self._plain
        with self._tls_lock:
            if self._tls is None:
                self._tls = BoundedAdapter(self.policy.check_peer, self._make_context())
            return self._tls
