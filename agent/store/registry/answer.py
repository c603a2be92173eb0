"""One HTTP request and what came back, without a decision about either."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import NamedTuple

import requests
import urllib3

from agent.errors import UnavailableError
from agent.store.login.auth import Authorizer
from agent.store.network.connection_errors import broken
from agent.store.network.problem import READ_MAX, Problem, parse_problem
from agent.store.network.wire import PACE

CHUNK = 1 << 18


class Request(NamedTuple):
    """One request.

    Attributes:
        streamed: a body that can be read only once.
        seconds: of silence that it may take until the head of its answer is there, instead of `Limits.read`;
            infinite for what a registry does in its own time, where patience alone is the limit.
        confined: it carries a credential, so that a redirect to another origin is refused.
        satisfied: a redirect to another place at another origin is answer enough, and is not followed.
    """

    method: str
    url: str
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes | None = None
    streamed: Iterator[bytes] | None = None
    seconds: float | None = None
    confined: bool = False
    satisfied: bool = False


class Answer:
    """A response whose body is still to be read. `elsewhere` tells that a host other than the registry gave it.

    A body that is read in chunks must keep a pace (`wire.PACE`), one that is read at once must come within `seconds`.
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
        self._problem: Problem | None = None

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the body as it was sent, undecoded, in pieces of at most `size` bytes.

        Raises:
            UnavailableError: the connection broke before its end, or is too slow.
        """
        try:
            yield from self._response.raw.stream(size, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise broken(error, self._name) from error
        finally:
            self._response.close()

    def body(self, limit: int) -> bytes:
        """Return the body, or its first `limit` + 1 bytes if it is longer.

        Raises:
            UnavailableError: the connection broke, or is too slow.
        """
        found = bytearray()
        until = time.monotonic() + self._seconds
        for chunk in self.chunks(PACE):
            found += chunk
            if len(found) > limit:
                break
            if time.monotonic() > until:
                self.close()
                raise broken(TimeoutError(), self._name)
        self.close()
        return bytes(found[: limit + 1])

    def discard(self) -> None:
        """Drop the body, reading it if it is short, so that the connection can be used again.

        What breaks here does no harm: distribution 2.8 gives a 416 the length of the blob, for one.
        """
        with suppress(UnavailableError, ValueError):
            # The Content-Length of an answer without body is that of the body it has not.
            if self.is_bodiless or int(self.headers.get("Content-Length") or 0) <= READ_MAX:
                self.body(READ_MAX)
        self.close()

    def problem(self) -> Problem:
        """Return what a refusal says, without secrets. Its body is read once."""
        if self._problem is None:
            try:
                body = self.body(READ_MAX)
            except UnavailableError:
                body = b""
            secrets = self._authorizer.secrets() if self._authorizer else ()
            self._problem = parse_problem(self.status, body, secrets)
        return self._problem

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else end it."""
        self._response.close()
