"""What a broken connection means, in words for people. Addresses with their queries stay out: they can hold secrets."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator

import requests
import urllib3

from agent.errors import RefusedError, UnavailableError
from agent.remedy import PLAIN_HTTP, UNKNOWN_AUTHORITY
from agent.store.problem import clean

_INVALID = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    urllib3.exceptions.LocationParseError,
    UnicodeError,
)


def broken(error: BaseException, name: str) -> UnavailableError:
    """Return the error to raise for what `requests` or `urllib3` raised while talking to `name`."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return RefusedError(
                f"its certificate is not trusted ({clean(cause.verify_message or 'unknown')})",
                subject=name,
                remedy=UNKNOWN_AUTHORITY,
            )
        if isinstance(cause, ssl.SSLError) and cause.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
            return RefusedError("it does not speak TLS", subject=name, remedy=PLAIN_HTTP)
        if isinstance(cause, _INVALID):
            return RefusedError("not an address", subject=name, remedy="check the registry's name")
    return UnavailableError(_what(causes), subject=name, remedy="check the name and the network, then try again")


def _what(causes: list[BaseException]) -> str:
    kinds = tuple(type(cause) for cause in causes)
    if any(issubclass(kind, requests.exceptions.ProxyError | urllib3.exceptions.ProxyError) for kind in kinds):
        return "the proxy does not let us through"
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return "its name is not known"
        if isinstance(cause, ConnectionRefusedError):
            return "nothing listens there (connection refused)"
    timeouts = (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
    if any(issubclass(kind, timeouts) for kind in kinds):
        return "it does not answer in time"
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno:
            return f"the connection broke ({os.strerror(cause.errno).lower()})"
    return "the connection broke"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and everything that it wraps, in attributes, arguments or as its cause."""
    seen: set[int] = set()
    todo: list[object] = [error]
    while todo:
        found = todo.pop(0)
        if isinstance(found, BaseException) and id(found) not in seen:
            seen.add(id(found))
            yield found
            todo += [*found.args, getattr(found, "reason", None), found.__cause__, found.__context__]
