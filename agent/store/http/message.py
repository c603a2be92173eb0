"""An HTTP request, and a response whose body is still to be read."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import NamedTuple

import requests
import urllib3

from agent.errors import UnavailableError
from agent.store.login.authorizer import Authorizer
from agent.store.network.bounded_connection import PACE
from agent.store.network.connection_errors import connection_error
from agent.store.network.error_details import READ_MAX, ErrorDetails, parse_error_details

CHUNK = 1 << 18


class Request(NamedTuple):
    """One request.

    Attributes:
        streamed: a body that can be read only once.
        seconds: the longest wait for the response's head, instead of `Limits.read`. Infinite for requests that a
            registry may work on for long: then only patience bounds the wait.
        confined: the request carries a credential, so a redirect to another origin is refused.
        satisfied: a redirect to another path at another origin is a sufficient response and is not followed.
    """

    method: str
    url: str
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes | None = None
    streamed: Iterator[bytes] | None = None
    seconds: float | None = None
    confined: bool = False
    satisfied: bool = False


class Response:
    """A response whose body is still to be read.

    A body that is read in chunks must keep a pace (`bounded_connection.PACE`). A body that is read at once must be
    complete within `seconds`.

    Args:
        response: the response of `requests`.
        elsewhere: whether another host than the registry sent it.
        authorizer: knows the secrets that error texts must not repeat.
        name: the registry's name in errors.
        seconds: the time for `body`.
    """

    def __init__(
        self,
        response: requests.Response,
        elsewhere: bool,
        authorizer: Authorizer | None,
        name: str,
        seconds: float,
    ) -> None:
        self._response = response
        self._authorizer = authorizer
        self._name = name
        self._seconds = seconds
        self.elsewhere = elsewhere
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.url = response.url or ""
        self.is_bodiless = response.request.method == "HEAD"
        self._details: ErrorDetails | None = None

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the body as it was sent, undecoded, in pieces of at most `size` bytes.

        Raises:
            UnavailableError: the connection broke before the body's end, or is too slow.
        """
        try:
            yield from self._response.raw.stream(size, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise connection_error(error, self._name) from error
        finally:
            self._response.close()

    def body(self, limit: int) -> bytes:
        """Return the body, or its first `limit` + 1 bytes if it is longer.

        Raises:
            UnavailableError: the connection broke, or is too slow.
        """
        found = bytearray()
        deadline = time.monotonic() + self._seconds
        for chunk in self.chunks(PACE):
            found += chunk
            if len(found) > limit:
                break
            if time.monotonic() > deadline:
                self.close()
                raise connection_error(TimeoutError(), self._name)
        self.close()
        return bytes(found[: limit + 1])

    def discard(self) -> None:
        """Drop the body. A short one is read first, so that the connection can be used again.

        Errors are ignored: distribution 2.8, for one, gives a 416 the Content-Length of the blob.
        """
        with suppress(UnavailableError, ValueError):
            # The Content-Length of a response without body is that of the body that GET would send.
            if self.is_bodiless or int(self.headers.get("Content-Length") or 0) <= READ_MAX:
                self.body(READ_MAX)
        self.close()

    def error_details(self) -> ErrorDetails:
        """Return the details of an error response, without secrets. The body is read once."""
        if self._details is None:
            try:
                body = self.body(READ_MAX)
            except UnavailableError:
                body = b""
            secrets = self._authorizer.secrets() if self._authorizer else ()
            self._details = parse_error_details(self.status, body, secrets)
        return self._details

    def close(self) -> None:
        """Return the connection to the pool if the body was read to its end, else close it."""
        self._response.close()
