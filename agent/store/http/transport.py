"""HTTP for registries: redirects, logins and retries around single requests.

Redirects are followed here, so that credentials stay with the registry's origin. `.netrc` is not read, since it
would replace a bearer token, and no cookie is stored. Proxies come from the environment (`HTTPS_PROXY`, `NO_PROXY`),
except for this machine itself. A redirect from TLS to plain HTTP is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests

from agent.errors import RefusedError, UnavailableError
from agent.store.http.message import Request, Response
from agent.store.http.sender import Sender
from agent.store.login.authorizer import Authorizer
from agent.store.login.challenge import Grants
from agent.store.network.address import Origin, origin_of
from agent.store.network.retry_after import is_temporary, requested_delay
from agent.store.network.retrying import IsPermanent, Retries, Timing

_HOPS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Transport:
    """The connections to one registry. Safe for several threads.

    Args:
        sender: sends single requests to the registry.

    Attributes:
        authorizer: makes the Authorization headers; None for requests without.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._origin = sender.origin
        self._name = sender.name
        self.authorizer: Authorizer | None = None

    @property
    def timing(self) -> Timing:
        """The clocks."""
        return self._sender.patience.timing

    def retries(self) -> Retries:
        """Return a new loop of retries for one operation."""
        return Retries(self._sender.patience, self._sender.limits)

    def call(self, request: Request, grants: Grants, is_permanent: IsPermanent | None = None) -> Response:
        """Send a request to the registry, with retries, and return its response.

        A response is no progress yet: only the caller knows whether it is the one that it needs.

        Args:
            is_permanent: see `Retries.wait`; not called if the registry limits the rate.

        Raises:
            AuthError: the registry asks for credentials that the user does not have.
            UnavailableError: the registry cannot be reached, or its failures are temporary and last too long.
        """
        return self._retry(lambda: self.once(request, grants), is_permanent=is_permanent)

    def failure(self, response: Response, who: str = "the registry") -> UnavailableError | None:
        """Return the error if the response is a temporary failure, None for any other; read its body only if needed."""
        if response.status < 400 or response.status in (404, 416):
            return None  # and not read: distribution 2.8 gives a 416 the length of the blob, and not its bytes
        details = response.error_details()
        # The signature of a storage's address expired. One for GET is not valid for HEAD.
        refused_elsewhere = response.elsewhere and response.status in (400, 401, 403) and not response.is_bodiless
        if not refused_elsewhere and not is_temporary(details, response.headers):
            return None
        who = "the storage behind the registry" if response.elsewhere else who
        error = UnavailableError(
            f"{who} answers {response.status}" + (f" ({details.text})" if details.text else ""),
            subject=self._name,
            remedy="try again later",
        )
        error.after = requested_delay(response.headers, self.timing)
        return error

    def once(self, request: Request, grants: Grants) -> Response:
        """Send a request once, or twice if the registry asks for (other) credentials.

        Raises:
            AuthError: the registry asks for credentials that the user does not have.
            UnavailableError: the registry cannot be reached. Also if it asks for credentials and the request is
                streamed: the next try has them.
        """
        authorizer = self.authorizer
        if authorizer is None or self._origin != origin_of(request.url, self._name):
            return self._follow(request, None, self._origin)
        sent = authorizer.header(grants)
        response = self._follow(request, sent, self._origin)
        if response.status != 401 or response.elsewhere:
            return response
        response.discard()
        sent = authorizer.answer_challenge(response.headers, grants, sent)
        if request.streamed is not None:
            raise UnavailableError("the login expired", subject=self._name, remedy="try again")
        return self._follow(request, sent, self._origin)

    def exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Response:
        """Send a request to a token server: `authorizer.Exchange`.

        Raises:
            RefusedError: the address may not be used.
            UnavailableError: the token server cannot be reached.
        """
        origin = origin_of(url, self._name)
        own = {key: value for key, value in headers.items() if key != "Authorization"}
        request = Request(method, url, own, body, confined=body is not None or own != headers)
        if origin != self._origin:
            self._sender.policy.check_host(origin.host)
        return self._retry(lambda: self._follow(request, headers.get("Authorization"), origin), "the token server")

    def locate(self, base: str, location: str) -> str:
        """Return the absolute address that a Location header means, relative to `base`.

        A registry behind a proxy that ends TLS may call itself http: then https is used.

        Raises:
            RefusedError: the address may not be used.
        """
        url = self._join(base, location)
        origin, source = origin_of(url, self._name), origin_of(base, self._name)
        if source.scheme == "https" and origin.scheme == "http":
            if origin.host != source.host:
                raise RefusedError(
                    "the registry sends us to plain http", subject=self._name, remedy="ask its owner to use https"
                )
            url, origin = urlunsplit(urlsplit(url)._replace(scheme="https", netloc=urlsplit(base).netloc)), source
        if origin not in (source, self._origin):
            self._sender.policy.check_host(origin.host)
        return url

    def close(self) -> None:
        """End all connections."""
        self._sender.close()

    def _join(self, base: str, location: str) -> str:
        try:
            return urljoin(base, location)
        except ValueError as error:
            raise RefusedError(
                "the registry sends us to a malformed address", subject=self._name, remedy="check the registry's name"
            ) from error

    def _retry(
        self, send: Callable[[], Response], who: str = "the registry", is_permanent: IsPermanent | None = None
    ) -> Response:
        retries = self.retries()
        while True:
            try:
                response = send()
            except UnavailableError as error:
                retries.wait(error, is_permanent=is_permanent)
                continue
            failure = self.failure(response, who)
            if failure is None:
                return response
            retries.wait(failure, failure.after, is_permanent if response.status >= 500 else None)

    def _follow(self, request: Request, authorization: str | None, trusted: Origin) -> Response:
        """Send a request and follow its redirects; only the `trusted` origin gets the credentials."""
        method, url = request.method, request.url
        for _ in range(_HOPS):
            origin = origin_of(url, self._name)
            found = self._sender.send(request, method, url, authorization if origin == trusted else None)
            location = found.headers.get("Location")
            if found.status_code not in _REDIRECTS or location is None:
                return self._response(found, origin != trusted)
            found.close()
            target = self.locate(url, location)
            is_elsewhere = origin_of(target, self._name) != trusted
            if request.satisfied and is_elsewhere and urlsplit(target).path != urlsplit(url).path:
                return self._response(found, origin != trusted)
            if request.streamed is not None or (method not in ("GET", "HEAD") and found.status_code < 307):
                raise RefusedError(
                    "the registry redirects an upload", subject=self._name, remedy="use the address it redirects to"
                )
            url = target
            if request.confined and is_elsewhere:
                raise RefusedError(
                    "the token server sends our credentials elsewhere", subject=self._name, remedy="ask its owner"
                )
        raise RefusedError("the registry redirects in circles", subject=self._name, remedy="check the name")

    def _response(self, response: requests.Response, is_elsewhere: bool) -> Response:
        seconds = self._sender.silence(self._sender.limits.read)
        return Response(response, is_elsewhere, self.authorizer, self._name, seconds)
