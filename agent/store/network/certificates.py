"""Trusted certificates: the system's, certifi's, and those that the user adds; and a check for TLS at a port."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping

from agent.errors import RefusedError, UsageError
from agent.remedy import TLS
from agent.store.network.address import Origin

_HANDSHAKE_S = 2.0


def make_tls_context(ca_file: str | None, environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return a TLS context with all trusted certificates.

    It trusts the system's authorities, certifi's, those in `ca_file`, and those in the files that
    `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` and `SSL_CERT_FILE` name.

    Args:
        ca_file: a PEM file.
        environ: the environment.

    Raises:
        UsageError: a file cannot be read, or contains no certificate.
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
    """Return whether an origin speaks TLS. Only a handshake is sent, and no certificate is verified."""
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


def requires_tls(subject: str) -> RefusedError:
    """Return the error for a registry that speaks TLS and was reached without."""
    return RefusedError("it speaks TLS, and was asked without", subject=subject, remedy=TLS)
