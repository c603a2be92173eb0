"""How to reach the API server: as the pod's service account, else as KUBECONFIG says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import kopf

from agent.errors import AuthError, UsageError


def login() -> kopf.ConnectionInfo:
    """Return address and credentials, read anew on every call.

    Raises:
        AuthError: there are none.
        UsageError: the kubeconfig is damaged.
    """
    settings = kopf.OperatorSettings()
    try:
        found = _service_account(settings) or kopf.login_with_kubeconfig(settings=settings)
        if found is not None:
            found.as_ssl_context()
    except Exception as error:  # whatever the file holds; not its words, which may be a token
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
    """Return the API server's address as Kubernetes tells it to every pod, None where it does not.

    It needs no DNS, which may be what is broken or not there yet. The API server's certificate is for it, too.
    """
    host = environ.get("KUBERNETES_SERVICE_HOST")
    if not host:
        return None
    port = environ.get("KUBERNETES_SERVICE_PORT") or "443"
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"
