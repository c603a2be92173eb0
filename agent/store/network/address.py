"""Hosts: which are this machine, and where a registry may send us.

A registry can name other hosts (redirects to an object store, upload locations, token realms). None of them gets
the registry's credentials, and a public registry must not make us talk to services inside our network: a link-local
address is always refused, and so are the others at which clouds keep machine credentials; a loopback or private
address is refused unless the registry itself lies on such an address.

A host is judged twice: by what its name says before anything is sent, and by the address of each connection once that
stands, since a name server can change its mind between the two. Behind a proxy only the first is possible; a name that
does not resolve here is then the proxy's business.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple
from urllib.parse import urlsplit

from agent.errors import RefusedError

Resolve = Callable[[str], list[str]]
"""Host name to addresses; empty if there are none."""

# What may stand between `//` and the path. Anything else is read differently by different parsers of addresses.
_NETLOC = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]*)?|\[[0-9A-Fa-f:.]+\](?::[0-9]*)?")

# Machine credentials beyond link-local addresses: EC2 and EKS, Google Cloud, Alibaba, Azure, Oracle.
_METADATA = tuple(
    map(
        ipaddress.ip_network,
        ("fd00:ec2::/32", "fd20:ce::254/128", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),
    )
)
_SPREAD = (
    *("docker.io", "ghcr.io", "quay.io", "gcr.io", "pkg.dev", "amazonaws.com", "public.ecr.aws", "azurecr.io"),
    *("azurecr.cn", "gitlab.com", "jfrog.io", "cloudsmith.io", "icr.io", "ocir.io", "digitalocean.com", "scw.cloud"),
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Origin(NamedTuple):
    """What may share a credential: scheme, host and port (RFC 6454)."""

    scheme: str
    host: str
    port: int


class Nearness(IntEnum):
    """How far away an address is."""

    MACHINE = 0
    PRIVATE = 1
    PUBLIC = 2


def origin_of(url: str, subject: str) -> Origin:
    """Return the origin of `url`.

    Raises:
        RefusedError: it is not http or https, names no plain host, or carries a user name.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _refused("a malformed address", subject) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not _NETLOC.fullmatch(parts.netloc):
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


def is_spread(host: str) -> bool:
    """Say whether a registry is one of the public services that serve from several places (`port.Store`)."""
    return any(host == service or host.endswith(f".{service}") for service in _SPREAD)


def resolve_host(host: str) -> list[str]:
    """Return the addresses of `host` as the system's resolver knows them."""
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []


class Reach:
    """Where one registry may send us: the page's rule. Safe for several threads.

    Args:
        registry: where it is.
        name: the registry as the user calls it.
        resolve: what a name means here.
    """

    def __init__(self, registry: Origin, name: str, resolve: Resolve) -> None:
        self._registry = registry
        self._name = name
        self._resolve = resolve
        self._seen: Nearness | None = None
        self._allowed: set[str] = set()

    def check_host(self, host: str) -> None:
        """Refuse to be sent to `host` if none of its addresses is allowed.

        Raises:
            RefusedError: so it is.
        """
        if host not in self._allowed:
            found = [_classify(address) for address in self._resolve(host)]
            if found and not any(map(self._allows, found)):
                raise _refused("an address inside this network", self._name)
            self._allowed.add(host)

    def check_peer(self, host: str, port: int, address: str) -> None:
        """Refuse a connection that stands to `address`: `wire.CheckPeer`. The registry's own tell where it lies.

        Raises:
            RefusedError: it is not allowed.
        """
        nearness = max(map(_classify, self._resolve(address)), default=Nearness.PUBLIC)
        if (host, port) == self._registry[1:]:
            self._seen = nearness if self._seen is None else max(nearness, self._seen)
        elif not self._allows(nearness):
            raise _refused("an address inside this network", self._name)

    def _allows(self, nearness: Nearness) -> bool:
        if nearness is Nearness.PRIVATE:
            return self._nearness() is not Nearness.PUBLIC
        return nearness is Nearness.PUBLIC

    def _nearness(self) -> Nearness:
        """The registry's: by its connections, without one by its name, and rather too far away than too near."""
        if self._seen is not None:
            return self._seen
        return max(map(_classify, self._resolve(self._registry.host)), default=Nearness.PUBLIC)


def _classify(address: str) -> Nearness:
    try:
        ip = _meant(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return Nearness.PUBLIC
    if ip.is_link_local or any(ip in network for network in _METADATA):
        return Nearness.MACHINE
    return Nearness.PUBLIC if ip.is_global else Nearness.PRIVATE


def _meant(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the IPv4 address that an IPv6 address stands for (RFC 4291, 3056, 6052), if it does."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    translated = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
    return ip.ipv4_mapped or ip.sixtofour or translated or ip


def _refused(what: str, subject: str) -> RefusedError:
    return RefusedError(
        f"the registry sends us to {what}", subject=subject, remedy="check that this is the registry you mean"
    )
