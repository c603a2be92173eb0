"""Addresses: tests for this machine, and the rule for hosts to which a registry may send us (design, "Trust").

A registry can name other hosts (redirects to an object store, upload locations, token realms). None of them gets the
registry's credentials, and a public registry must not make us connect to services inside our network. So a link-local
address is always refused, and so are the others at which clouds serve machine credentials. A loopback or private
address is refused unless the registry itself has such an address.

A host is checked twice: by its name before anything is sent, and by the address of each open connection, since a name
server can change its answer between the two. Behind a proxy only the first check is possible; the proxy must filter
names that do not resolve here.
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
"""Returns the addresses of a host name, none if it does not resolve."""

# The valid texts between `//` and the path. Parsers of addresses read other texts differently.
_NETLOC = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]*)?|\[[0-9A-Fa-f:.]+\](?::[0-9]*)?")

# Machine credentials beyond link-local addresses: EC2 and EKS, Google Cloud, Alibaba, Azure, Oracle.
_METADATA = tuple(
    map(
        ipaddress.ip_network,
        ("fd00:ec2::/32", "fd20:ce::254/128", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),
    )
)
_REPLICATED = (
    *("docker.io", "ghcr.io", "quay.io", "gcr.io", "pkg.dev", "amazonaws.com", "public.ecr.aws", "azurecr.io"),
    *("azurecr.cn", "gitlab.com", "jfrog.io", "cloudsmith.io", "icr.io", "ocir.io", "digitalocean.com", "scw.cloud"),
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Origin(NamedTuple):
    """Scheme, host and port (RFC 6454): requests to one origin may share a credential."""

    scheme: str
    host: str
    port: int


class AddressScope(IntEnum):
    """The network of an address: a machine's own services, a private network, or the internet."""

    MACHINE = 0
    PRIVATE = 1
    PUBLIC = 2


def origin_of(url: str, subject: str) -> Origin:
    """Return the origin of `url`.

    Raises:
        RefusedError: `url` is not http or https, has no plain host, or contains a user name.
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
    """Return whether `host` (without port) is this machine: localhost, 127.0.0.0/8, ::1."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_replicated(host: str) -> bool:
    """Return whether a registry is a public service with several replicas (`port.Store.is_replicated`)."""
    return any(host == service or host.endswith(f".{service}") for service in _REPLICATED)


def resolve_host(host: str) -> list[str]:
    """Return the addresses of `host` from the system's resolver."""
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []


class AddressPolicy:
    """Decides to which hosts one registry may send us, by the rule above. Safe for several threads.

    Args:
        registry: its origin.
        name: its name in errors.
        resolve: looks a name up.
    """

    def __init__(self, registry: Origin, name: str, resolve: Resolve) -> None:
        self._registry = registry
        self._name = name
        self._resolve = resolve
        self._scope: AddressScope | None = None
        self._allowed: set[str] = set()

    def check_host(self, host: str) -> None:
        """Check a host before a connection.

        Raises:
            RefusedError: none of its addresses is allowed.
        """
        if host not in self._allowed:
            found = [_classify(address) for address in self._resolve(host)]
            if found and not any(map(self._allows, found)):
                raise _refused("an address inside this network", self._name)
            self._allowed.add(host)

    def check_peer(self, host: str, port: int, address: str) -> None:
        """Check an open connection: `bounded_connection.CheckPeer`. Those to the registry itself define its scope.

        Raises:
            RefusedError: the address is not allowed.
        """
        scope = max(map(_classify, self._resolve(address)), default=AddressScope.PUBLIC)
        if (host, port) == self._registry[1:]:
            self._scope = scope if self._scope is None else max(scope, self._scope)
        elif not self._allows(scope):
            raise _refused("an address inside this network", self._name)

    def _allows(self, scope: AddressScope) -> bool:
        if scope is AddressScope.PRIVATE:
            return self._registry_scope() is not AddressScope.PUBLIC
        return scope is AddressScope.PUBLIC

    def _registry_scope(self) -> AddressScope:
        """Return the registry's scope: by its connections so far, else by its name; the widest of several."""
        if self._scope is not None:
            return self._scope
        return max(map(_classify, self._resolve(self._registry.host)), default=AddressScope.PUBLIC)


def _classify(address: str) -> AddressScope:
    try:
        ip = _embedded_ipv4(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return AddressScope.PUBLIC
    if ip.is_link_local or any(ip in network for network in _METADATA):
        return AddressScope.MACHINE
    return AddressScope.PUBLIC if ip.is_global else AddressScope.PRIVATE


def _embedded_ipv4(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the IPv4 address in an IPv6 address (RFC 4291, 3056, 6052), else the address itself."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    translated = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
    return ip.ipv4_mapped or ip.sixtofour or translated or ip


def _refused(what: str, subject: str) -> RefusedError:
    return RefusedError(
        f"the registry sends us to {what}", subject=subject, remedy="check that this is the registry you mean"
    )
