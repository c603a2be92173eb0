"""How to reach the API server: as the pod's service account, else as KUBECONFIG says."""

from __future__ import annotations

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
        found = kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)
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
