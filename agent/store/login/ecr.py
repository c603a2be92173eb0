"""Logs in to Amazon ECR by the machine's AWS identity, if the user has no credentials for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import SimpleNamespace
from urllib.parse import urlsplit

from agent.errors import AuthError

_HOST = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com")


def authorization(host: str, parameters: Mapping[str, str]) -> str:
    """Return the Authorization value for an ECR registry, "" for any other.

    `oras` does the work with `boto3` (the extra `oras[ecr]`), which finds the identity.

    Raises:
        AuthError: boto3 is not installed, or AWS issues no token.
    """
    realm = parameters.get("realm", "")
    if not _HOST.fullmatch(host) or urlsplit(realm).hostname != host:
        return ""
    from oras.auth.ecr import EcrAuth

    request = SimpleNamespace(
        headers={"Www-Authenticate": f'Basic realm="{realm}",service="{parameters.get("service", "")}"'}
    )
    try:
        headers, is_changed = EcrAuth().authenticate_request(request, {})
    except ImportError as error:
        raise AuthError(
            "no credentials were found, and boto3 is not installed to get them from AWS",
            subject=host,
            remedy="use docker-credential-ecr-login, or install oras[ecr]",
        ) from error
    except Exception as error:  # botocore's classes are not imported here
        raise AuthError(
            f"AWS gives no token ({type(error).__name__})", subject=host, remedy="check the machine's AWS identity"
        ) from error
    return str(headers.get("Authorization", "")) if is_changed else ""
