"""Hosts: which are this machine, and where a registry may send us.

A registry can name other hosts (redirects to an object store, upload locations, token realms). None of them gets
the registry's credentials, and a public registry must not make us talk to services inside our network: a host that
is, or resolves to, a link-local address is always refused (that is where clouds keep machine credentials), one on
a loopback or private address is refused unless the registry itself lies on such an address. A name that does not
resolve here, as behind a proxy, is allowed.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple
from urllib.parse import urlsplit

from agent.errors import RefusedError

Resolve = Callable[[str], list[str]]
"""Host name to addresses; empty if there are none."""


class Origin(NamedTuple):
    """What may share a credential: scheme, host and port (RFC 6454)."""

    scheme: str
    host: str
    port: int


class Nearness(IntEnum):
    """How far away an address is."""

    LINK_LOCAL = 0
    PRIVATE = 1
    PUBLIC = 2


def origin_of(url: str, subject: str) -> Origin:
    """Return the origin of `url`.

    Raises:
        RefusedError: it is not http or https, names no host, or carries a user name.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _refused("a malformed address", subject) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise _refused("an address that is not plain http or https", subject)
    return Origin(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80))


def is_loopback(host: str) -> bool:
    """Say whether `host` (without port) names this machine: localhost, 127.0.0.0/8, ::1."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def resolve_host(host: str) -> list[str]:
    """Return the addresses of `host` as the system's resolver knows them."""
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []


def check_reach(target: str, registry: str, resolve: Resolve, subject: str) -> None:
    """Refuse to be sent from `registry` to `target` (hosts without port) where the page's rule forbids it.

    Raises:
        RefusedError: it does.
    """
    nearness = _nearness(target, resolve)
    if nearness is Nearness.LINK_LOCAL or (
        nearness is Nearness.PRIVATE and _nearness(registry, resolve) is Nearness.PUBLIC
    ):
        raise _refused("an address inside this network", subject)


def _nearness(host: str, resolve: Resolve) -> Nearness:
    return min((_classify(address) for address in resolve(host)), default=Nearness.PUBLIC)


def _classify(address: str) -> Nearness:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return Nearness.PUBLIC
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    ip = mapped or ip
    if ip.is_link_local:
        return Nearness.LINK_LOCAL
    return Nearness.PUBLIC if ip.is_global else Nearness.PRIVATE


def _refused(what: str, subject: str) -> RefusedError:
    return RefusedError(
        f"the registry sends us to {what}", subject=subject, remedy="check that this is the registry you mean"
    )
