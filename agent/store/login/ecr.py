"""Logging in to Amazon ECR by the machine's own AWS identity, where the user keeps no credentials for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import SimpleNamespace
from urllib.parse import urlsplit

from agent.errors import AuthError

_HOST = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com")


def authorization(host: str, parameters: Mapping[str, str]) -> str:
    """Return the Authorization value for an ECR registry, "" for any other.

    `oras` does the work, with `boto3` (the extra `oras[ecr]`), which finds the identity where AWS keeps it.

    Raises:
        AuthError: boto3 is missing, or AWS gives no token.
    """
    realm = parameters.get("realm", "")
    if not _HOST.fullmatch(host) or urlsplit(realm).hostname != host:
        return ""
    from oras.auth.ecr import EcrAuth

    asked = SimpleNamespace(
        headers={"Www-Authenticate": f'Basic realm="{realm}",service="{parameters.get("service", "")}"'}
    )
    try:
        headers, known = EcrAuth().authenticate_request(asked, {})
    except ImportError as error:
        raise AuthError(
            "no credentials were found, and boto3 is not installed to get them from AWS",
            subject=host,
            remedy="use docker-credential-ecr-login, or install oras[ecr]",
        ) from error
    except Exception as error:  # whatever botocore raises: its classes are not known here
        raise AuthError(
            f"AWS gives no token ({type(error).__name__})", subject=host, remedy="check the machine's AWS identity"
        ) from error
    return str(headers.get("Authorization", "")) if known else ""
