"""Address and credentials of the API server, from the pod's service account or from KUBECONFIG."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import kopf

from agent.errors import AuthError, UsageError


def login() -> kopf.ConnectionInfo:
    """Return address and credentials, read again on every call.

    Raises:
        AuthError: there are none.
        UsageError: the kubeconfig is damaged.
    """
    settings = kopf.OperatorSettings()
    try:
        found = _service_account(settings) or kopf.login_with_kubeconfig(settings=settings)
        if found is not None:
            found.as_ssl_context()
    except Exception as error:  # any content of the file; the message may hold a token, so it is left out
        raise UsageError(
            f"it cannot be used: {type(error).__name__}", subject="KUBECONFIG", remedy="mend the file"
        ) from error
    if found is None or not found.server:
        raise AuthError(
            "there is neither a service account nor a kubeconfig",
            subject="the API server",
            remedy="run in a cluster, or set KUBECONFIG",
        )
    return found


def _service_account(settings: kopf.OperatorSettings) -> kopf.ConnectionInfo | None:
    found = kopf.login_with_service_account(settings=settings)
    server = server_of(os.environ)
    return replace(found, server=server) if found is not None and server is not None else found


def server_of(environ: Mapping[str, str]) -> str | None:
    """Return the API server's address from the variables that Kubernetes sets in every pod, None without them.

    The address works without DNS, which may be unavailable. The API server's certificate covers the address, too.
    """
    host = environ.get("KUBERNETES_SERVICE_HOST")
    if not host:
        return None
    port = environ.get("KUBERNETES_SERVICE_PORT") or "443"
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"
