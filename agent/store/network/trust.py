"""Which certificates a registry may show: the system's, certifi's, and those the user adds. Never fewer."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping

from agent.errors import UsageError
from agent.store.network.address import Origin

_HANDSHAKE_S = 2.0


def make_trust(ca_file: str | None, environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return a context that trusts the system's authorities, certifi's, `ca_file`'s, and those of the files that
    `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` and `SSL_CERT_FILE` name.

    Raises:
        UsageError: `ca_file` cannot be read, or holds no certificate.
    """
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        path = environ.get(variable)
        if path and os.path.isfile(path):
            _add(context, path, variable)
    if ca_file is not None:
        _add(context, ca_file, "")
    return context


def _add(context: ssl.SSLContext, path: str, variable: str) -> None:
    try:
        context.load_verify_locations(path)
    except OSError as error:  # ssl.SSLError is one
        what = "holds no certificate in PEM" if isinstance(error, ssl.SSLError) else (error.strerror or "unreadable")
        raise UsageError(
            f"the file of certificates cannot be used: {what.lower()}",
            subject=path,
            remedy=f"correct the file, or unset {variable}" if variable else "name a file in PEM",
        ) from error


def speaks_tls(origin: Origin) -> bool:
    """Say whether there is TLS at an origin. Nothing is sent but a handshake, nothing that comes is believed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((origin.host, origin.port), _HANDSHAKE_S) as plain,
            context.wrap_socket(plain, server_hostname=origin.host),
        ):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except (OSError, ValueError):
        return False
