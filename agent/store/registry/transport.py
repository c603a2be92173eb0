"""HTTP for registries: one exchange, made dependable. Redirects, retries, timeouts, trust; no knowledge of images.

Redirects are followed by hand, so that credentials stay with the registry's origin. `.netrc` is not read, since it
would replace a bearer token, and no cookie is kept. Proxies come from the environment (`HTTPS_PROXY`, `NO_PROXY`),
except for this machine itself. Nobody who was asked over TLS can send us on without.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
import urllib3

from agent.errors import RefusedError, UnavailableError
from agent.store.login.auth import Authorizer, Grants
from agent.store.meter import Meter
from agent.store.network.address import Origin, Reach, Resolve, origin_of
from agent.store.network.connection_errors import broken
from agent.store.network.proxies import proxies_for
from agent.store.network.refusal import wants_tls
from agent.store.network.retry_after import says_later, seconds_asked
from agent.store.network.retrying import Hopeless, Limits, Patience, Timing, Tries
from agent.store.network.trust import speaks_tls
from agent.store.network.wire import Adapter
from agent.store.registry.answer import Answer, Request

_HOPS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Transport:
    """The connections to one registry. Safe for several threads.

    Args:
        origin: where the registry is.
        name: the registry as the user calls it, for errors.
        trust: makes the context that judges certificates; called for the first https address.
    """

    def __init__(
        self,
        origin: Origin,
        name: str,
        *,
        trust: Callable[[], ssl.SSLContext],
        meter: Meter,
        limits: Limits,
        patience: Patience,
        resolve: Resolve,
    ) -> None:
        self.patience = patience
        self._limits = limits
        self._origin = origin
        self._name = name
        self._meter = meter
        self._reach = Reach(origin, name, resolve)
        self._trust = trust
        self._tls: Adapter | None = None
        self._tls_lock = threading.Lock()
        self._is_reached = False
        self._plain = Adapter(self._reach.check_peer)
        self._is_plain: bool | None = None
        self.authorizer: Authorizer | None = None

    @property
    def timing(self) -> Timing:
        """The clocks."""
        return self.patience.timing

    def tries(self) -> Tries:
        """Return the tries of one piece of work."""
        return Tries(self.patience, self._limits)

    def call(self, request: Request, grants: Grants, is_hopeless: Hopeless | None = None) -> Answer:
        """Send a request to the registry, again where that is worth while, and return its answer.

        That it answers is no move yet: only the caller knows what it wants of the answer.

        Args:
            is_hopeless: see `Tries.wait`; not asked where the registry says that it is asked too much.

        Raises:
            AuthError: it asks for a login that we do not have.
            UnavailableError: it cannot be reached, or says "later" each time.
        """
        return self._insist(lambda: self.once(request, grants), is_hopeless=is_hopeless)

    def failure(self, answer: Answer, who: str = "the registry") -> UnavailableError | None:
        """Return what went wrong if the answer says nothing about the request itself (`later`), and close it then."""
        if answer.status < 400 or answer.status in (404, 416):
            return None  # and not read: distribution 2.8 gives a 416 the length of the blob, and not its bytes
        problem = answer.problem()
        # A signature that ran out; one for GET is none for HEAD.
        refused_elsewhere = answer.elsewhere and answer.status in (400, 401, 403) and not answer.is_bodiless
        if not refused_elsewhere and not says_later(problem, answer.headers):
            return None
        who = "the storage behind the registry" if answer.elsewhere else who
        error = UnavailableError(
            f"{who} answers {answer.status}" + (f" ({problem.text})" if problem.text else ""),
            subject=self._name,
            remedy="try again later",
        )
        error.after = seconds_asked(answer.headers, self.timing)
        return error

    def once(self, request: Request, grants: Grants) -> Answer:
        """Send a request once, or twice if the registry asks for (other) credentials.

        Raises:
            AuthError: it asks for a login that we do not have.
            UnavailableError: it cannot be reached. For a streamed request also if it asks for credentials: the
                next try has them.
        """
        authorizer = self.authorizer
        if authorizer is None or self._origin != origin_of(request.url, self._name):
            return self._follow(request, None, self._origin)
        sent = authorizer.header(grants)
        answer = self._follow(request, sent, self._origin)
        if answer.status != 401 or answer.elsewhere:
            return answer
        answer.discard()
        sent = authorizer.challenged(answer.headers, grants, sent)
        if request.streamed is not None:
            raise UnavailableError("the login expired", subject=self._name, remedy="try again")
        return self._follow(request, sent, self._origin)

    def exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """Talk to a token server: `auth.Exchange`."""
        origin = origin_of(url, self._name)
        own = {key: value for key, value in headers.items() if key != "Authorization"}
        request = Request(method, url, own, body, confined=body is not None or own != headers)
        if origin != self._origin:
            self._reach.check_host(origin.host)
        return self._insist(lambda: self._follow(request, headers.get("Authorization"), origin), "the token server")

    def locate(self, base: str, location: str) -> str:
        """Return the absolute address that a Location header means, seen from `base`.

        A registry behind a proxy that ends TLS may name itself with http: that is put right.

        Raises:
            RefusedError: it leads where we do not go.
        """
        url = self.join(base, location)
        origin, source = origin_of(url, self._name), origin_of(base, self._name)
        if source.scheme == "https" and origin.scheme == "http":
            if origin.host != source.host:
                raise RefusedError(
                    "the registry sends us to plain http", subject=self._name, remedy="ask its owner to use https"
                )
            url, origin = urlunsplit(urlsplit(url)._replace(scheme="https", netloc=urlsplit(base).netloc)), source
        if origin not in (source, self._origin):
            self._reach.check_host(origin.host)
        return url

    def join(self, base: str, location: str) -> str:
        """Return the absolute address that `location` means, seen from `base`.

        Raises:
            RefusedError: it is none.
        """
        try:
            return urljoin(base, location)
        except ValueError as error:
            raise RefusedError(
                "the registry sends us to a malformed address", subject=self._name, remedy="check the registry's name"
            ) from error

    def close(self) -> None:
        """End all connections."""
        for adapter in (self._plain, self._tls):
            if adapter is not None:
                adapter.close()

    def _insist(
        self, send: Callable[[], Answer], who: str = "the registry", is_hopeless: Hopeless | None = None
    ) -> Answer:
        tries = self.tries()
        while True:
            try:
                answer = send()
            except UnavailableError as error:
                tries.wait(error, is_hopeless=is_hopeless)
                continue
            failure = self.failure(answer, who)
            if failure is None:
                return answer
            tries.wait(failure, failure.after, is_hopeless if answer.status >= 500 else None)

    def _follow(self, request: Request, authorization: str | None, trusted: Origin) -> Answer:
        method, url = request.method, request.url
        for _ in range(_HOPS):
            origin = origin_of(url, self._name)
            response = self._send(request, method, url, authorization if origin == trusted else None)
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or location is None:
                return Answer(
                    response, origin != trusted, self.authorizer, self._name, self._silence(self._limits.read)
                )
            response.close()
            there = self.locate(url, location)
            is_elsewhere = origin_of(there, self._name) != trusted
            if request.satisfied and is_elsewhere and urlsplit(there).path != urlsplit(url).path:
                return Answer(
                    response, origin != trusted, self.authorizer, self._name, self._silence(self._limits.read)
                )
            if request.streamed is not None or (method not in ("GET", "HEAD") and response.status_code < 307):
                raise RefusedError(
                    "the registry redirects an upload", subject=self._name, remedy="use the address it redirects to"
                )
            url = there
            if request.confined and is_elsewhere:
                raise RefusedError(
                    "the token server sends our credentials elsewhere", subject=self._name, remedy="ask its owner"
                )
        raise RefusedError("the registry redirects in circles", subject=self._name, remedy="check the name")

    def _send(self, request: Request, method: str, url: str, authorization: str | None) -> requests.Response:
        headers = {"User-Agent": "instep", "Accept-Encoding": "identity", "Accept": "*/*", **request.headers}
        if authorization is not None:
            headers["Authorization"] = authorization
        body: Any = request.body if request.streamed is None else request.streamed
        self._meter.add(requests=1)
        try:
            # No requests.Session: it reads .netrc, keeps cookies, and looks into redirects even where told not to.
            response = self._adapter(url).send(
                requests.Request(method, url, headers=headers, data=body).prepare(),
                stream=True,
                timeout=self._seconds(request),
                proxies=proxies_for(url),
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if self._speaks_tls(url):
                raise wants_tls(self._name) from error
            raise broken(error, self._name, is_reached=self._is_reached) from error
        self._is_plain = self._is_reached = True
        return response

    def _speaks_tls(self, url: str) -> bool:
        """Say whether the registry, asked without TLS and giving no answer that makes sense, speaks it. Asks once."""
        if self._is_plain is None and self._origin.scheme == "http" and origin_of(url, self._name) == self._origin:
            self._is_plain = bool(proxies_for(url)) or not speaks_tls(self._origin)
        return self._is_plain is False

    def _seconds(self, request: Request) -> tuple[float, float]:
        """Return how long connecting and sending each piece may take, and how long the answer's head."""
        sends = request.body is not None or request.streamed is not None
        silence = self._silence(self._limits.read if request.seconds is None else request.seconds)
        return min(silence, self._limits.read if sends else self._limits.connect), silence

    def _silence(self, most: float) -> float:
        return min(most, max(self.patience.left, self._limits.least))

    def _adapter(self, url: str) -> Adapter:
        if not url.lower().startswith("https:"):
            return self._plain
        with self._tls_lock:
            if self._tls is None:
                self._tls = Adapter(self._reach.check_peer, self._trust())
            return self._tls
