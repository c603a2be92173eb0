"""Proxies of the environment: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, also in lower case."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy
from urllib3.util import parse_url

from agent.errors import UsageError
from agent.store.network.address import is_loopback


def proxies_for(url: str) -> dict[str, str]:
    """Return the proxies for a request to `url`, in the form of `requests`; none for this machine itself.

    Raises:
        UsageError: the proxy for `url` is not an HTTP proxy.
    """
    if is_loopback(urlsplit(url).hostname or ""):
        return {}
    proxies = dict(get_environ_proxies(url))
    chosen = select_proxy(url, proxies)
    if not chosen:
        return {}
    if why := _error_in(chosen):
        # The error does not repeat the address, which may contain a password.
        raise UsageError(
            f"the proxy that it names cannot be used: {why}",
            subject=_variable(urlsplit(url).scheme, chosen),
            remedy="write http://HOST:PORT, unset it, or list the registry's host in NO_PROXY",
        )
    return proxies


def _error_in(proxy: str) -> str:
    """Return the error in a proxy's address, "" if it is valid."""
    try:
        parts = parse_url(prepend_scheme_if_needed(proxy, "http"))  # type: ignore[no-untyped-call]
    except (ValueError, TypeError):
        return "it is no address"
    if parts.scheme and parts.scheme.startswith("socks"):
        return "SOCKS is not spoken here"
    return "" if parts.scheme in ("http", "https") and parts.host else "it is no address of an HTTP proxy"


def _variable(scheme: str, proxy: str) -> str:
    """Return the name of the variable with a proxy's address."""
    names = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY")
    return next((name for name in names if os.environ.get(name) == proxy), "the proxy's setting")
