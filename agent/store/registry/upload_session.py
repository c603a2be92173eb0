"""Sessions for uploads: where they begin, and the address of each next request (distribution-spec, "Pushing Blobs")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from agent.errors import AuthError, UnavailableError
from agent.store.http.message import Request, Response
from agent.store.http.transport import Transport
from agent.store.login.challenge import Grants
from agent.store.registry.registry_errors import RegistryErrors
from agent.store.registry.response_links import own_upload

_CHUNK_MAX = 64 << 20
_COUNT = re.compile(r"[0-9]{1,19}")


class UploadSessions:
    """Begins and cancels sessions of one repository. Safe for several threads.

    Args:
        url: the repository's `…/blobs/uploads/`.
        grants: what the requests need.
        errors: makes errors of refusals.
    """

    def __init__(self, transport: Transport, url: str, grants: Grants, errors: RegistryErrors) -> None:
        self._transport = transport
        self._url = url
        self._grants = grants
        self._errors = errors

    def begin(self) -> tuple[str, int]:
        """Begin a session; return its address, and the least bytes of a chunk.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
        """
        response = self._transport.call(Request("POST", self._url), self._grants)
        if response.status not in (200, 201, 202, 204):
            raise self._errors.refusal(response)
        return self.begun(response)

    def begun(self, response: Response) -> tuple[str, int]:
        """Return the address of the session that a POST began, and the least bytes of a chunk.

        Raises:
            RefusedError: the response names no session.
        """
        session = response.headers.get("Docker-Upload-UUID", "")
        if not session and not response.headers.get("Location"):
            raise self._errors.refusal(response)
        response.discard()
        least = _COUNT.fullmatch(response.headers.get("OCI-Chunk-Min-Length", ""))
        base = self._url + quote(session, safe="")  # if there is no Location
        return self.following(base, response), min(int(least[0]), _CHUNK_MAX) if least else 0

    def following(self, base: str, response: Response) -> str:
        """Return the address for the next request of the session at `base`, as `response` names it.

        Raises:
            RefusedError: the address may not be used.
        """
        return following_address(self._transport, base, response, self._url)

    def cancel(self, session: str) -> None:
        """Cancel a session, if the registry can be reached."""
        with suppress(AuthError, UnavailableError):
            self._transport.once(Request("DELETE", session, seconds=2.0), self._grants).discard()


def following_address(transport: Transport, base: str, response: Response, uploads: str) -> str:
    """Return the address for the next request of an upload, as a response names it; `base` without a Location.

    Args:
        base: the address that sent the response.
        uploads: the repository's `…/blobs/uploads/`.

    Raises:
        RefusedError: the address may not be used.
    """
    location = response.headers.get("Location")
    return transport.locate(base, own_upload(base, location, uploads)) if location else base


def with_query(url: str, query: Mapping[str, str]) -> str:
    """Return `url` with parameters added to its query."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="&".join(part for part in (parts.query, urlencode(query)) if part)))
