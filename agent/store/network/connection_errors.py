"""Errors for users, made of failed connections. They contain no addresses with queries, which can be secrets."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from collections.abc import Iterator

import requests
import urllib3

from agent.errors import RefusedError, UnavailableError
from agent.remedy import PLAIN_HTTP, UNKNOWN_AUTHORITY
from agent.store.network.error_details import clean

_INVALID = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    urllib3.exceptions.LocationParseError,
    UnicodeError,
)

_UNKNOWN = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


def connection_error(error: BaseException, name: str, *, is_reached: bool = True) -> UnavailableError:
    """Return the error for an exception of `requests` or `urllib3`.

    Args:
        error: the exception.
        name: the host's name for the user.
        is_reached: whether the host responded before. An unknown name is temporary then, as that of a service whose pod
            is replaced; else it is wrong, and retries do not help.
    """
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
        if _is_no_http(cause):
            return RefusedError("what it answers is no HTTP", subject=name, remedy="check the name and the port")
        if isinstance(cause, socket.gaierror) and cause.errno in _UNKNOWN and not is_reached:
            return RefusedError("its name is not known", subject=name, remedy="check the name and the network")
    return UnavailableError(_what(causes), subject=name, remedy="check the name and the network, then try again")


def _is_no_http(cause: BaseException) -> bool:
    """Return whether a response was received that is no HTTP, not even the beginning of a truncated one."""
    if isinstance(cause, http.client.RemoteDisconnected | http.client.IncompleteRead):
        return False
    if isinstance(cause, http.client.BadStatusLine):
        line = str(cause.args[0]).strip()
        return not line.startswith("HTTP/") and not "HTTP/".startswith(line)
    return isinstance(cause, http.client.HTTPException)


def _what(causes: list[BaseException]) -> str:
    kinds = tuple(type(cause) for cause in causes)
    if any(issubclass(kind, requests.exceptions.ProxyError | urllib3.exceptions.ProxyError) for kind in kinds):
        return "the proxy does not let us through"
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return "its name cannot be looked up" if cause.errno == socket.EAI_AGAIN else "its name is not known"
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
    """Yield the error and all exceptions in its attributes and arguments, or as its cause."""
    seen: set[int] = set()
    queue: list[object] = [error]
    while queue:
        found = queue.pop(0)
        if isinstance(found, BaseException) and id(found) not in seen:
            seen.add(id(found))
            yield found
            queue += [*found.args, getattr(found, "reason", None), found.__cause__, found.__context__]
