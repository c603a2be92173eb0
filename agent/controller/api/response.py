"""Responses of the API server: reading them, and the errors that their HTTP statuses mean."""

from __future__ import annotations

import json
import re
from typing import Any

import aiohttp

from agent.errors import AuthError, RejectedError, UnavailableError

LARGEST = 64 * 1024 * 1024
"""Bytes of one response."""

FIRST_ERROR = 400
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT = 401, 403, 404, 409
INVALID = 422
_BAD_REQUEST, _TOO_LARGE = 400, 413


async def read_response(response: aiohttp.ClientResponse) -> bytes:
    """Return the body.

    Raises:
        aiohttp.ClientPayloadError: it is larger than `LARGEST`.
    """
    raw = bytearray()
    async for chunk in response.content.iter_any():
        raw += chunk
        if len(raw) > LARGEST:
            raise aiohttp.ClientPayloadError
    return bytes(raw)


def parse_response(raw: bytes, status: int) -> dict[str, Any]:
    """Return the JSON object in a body, empty if an error's body is something else.

    Raises:
        aiohttp.ClientPayloadError: the body of a success is not JSON.
    """
    try:
        value = json.loads(raw)
    except ValueError as error:
        if status < FIRST_ERROR:
            raise aiohttp.ClientPayloadError from error
        value = None  # a proxy's page
    return value if isinstance(value, dict) else {}


def message_of(status: int, value: dict[str, Any]) -> str:
    """Return the message of a `Status` object, or the HTTP status if it has none."""
    return str(value.get("message") or f"HTTP {status}")


def is_right_missing(value: dict[str, Any]) -> bool:
    """Return whether a 403 means that a right (RBAC) is missing, by Kubernetes' message; others concern one object."""
    return re.search(r" cannot \w+ resource ", str(value.get("message"))) is not None


def _is_denied(value: dict[str, Any]) -> bool:
    """Return whether a 403 concerns the object: an admission policy denied it, or its namespace is being deleted."""
    return re.search(r"denied (the )?request|it is being terminated", str(value.get("message"))) is not None


def _is_over_quota(value: dict[str, Any]) -> bool:
    """Return whether a 403 means that a ResourceQuota is exceeded."""
    return "exceeded quota" in str(value.get("message"))


def check_status(status: int, value: dict[str, Any], subject: str) -> None:
    """Raise the error that a response means; return if it is a success.

    Args:
        status: the HTTP status.
        value: the body, a `Status` object if it is an error.
        subject: the request, for the message.

    Raises:
        RejectedError: the object is invalid, too large, or denied.
        AuthError: the credentials are refused, or a right is missing.
        UnavailableError: any other error; a retry can help.
    """
    if status < FIRST_ERROR:
        return
    message = message_of(status, value)
    if status in (_BAD_REQUEST, _TOO_LARGE, INVALID) or (status == FORBIDDEN and _is_denied(value)):
        raise RejectedError(message, subject=subject, remedy="mend what is named")
    if status in (UNAUTHORIZED, FORBIDDEN) and not _is_over_quota(value):
        raise AuthError(message, subject=subject, remedy="see the rights that docs/reference/controller.md lists")
    raise UnavailableError(message, subject=subject, remedy="see that it is up and well")
