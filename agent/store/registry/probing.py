"""Tests optional abilities of a registry with single requests, without retries."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode

from agent.core.image.manifest import INDEX
from agent.core.spelling.digest import digest_of
from agent.store.http.message import Request, Response
from agent.store.http.transport import Transport
from agent.store.login.challenge import Grants
from agent.store.manifest_checks import MANIFEST_TYPES
from agent.store.port import Ability, ProbeResult
from agent.store.registry.upload_session import following_address, with_query

_OCTETS = {"Content-Type": "application/octet-stream"}
_DONE = frozenset({200, 201, 202, 204})
_SIZE = 64
_PAGE_MAX = 4 << 20


class Probes:
    """Retries abilities of one repository; see `port.Probing`.

    Args:
        base: the repository's address, with a slash behind it.
        repository: its name.
        grants: what reading and pushing needs.
    """

    def __init__(self, transport: Transport, base: str, repository: str, grants: Grants) -> None:
        self._transport = transport
        self._base = base
        self._repository = repository
        self._grants = grants

    def probe(self, ability: Ability, reference: str) -> ProbeResult:
        """See `port.Probing`."""
        match ability:
            case "stream":
                return self._stream()
            case "whole":
                return self._whole()
            case "resume":
                return self._resume()
            case "range":
                response = self._ask("GET", f"blobs/{reference}", {"Range": "bytes=1-1"})
                return ProbeResult(len(response.body(_SIZE)) == 1 and response.status == 206, response.status)
            case "mount":
                query = urlencode({"mount": reference, "from": self._repository})
                response = self._ask("POST", f"blobs/uploads/?{query}")
                if response.status == 202:
                    self._cancel(self._session(response))
                return _result(response, {201})
            case "referrers":
                response = self._ask("GET", f"referrers/{reference}")
                is_index = response.headers.get("Content-Type", "").startswith(INDEX)
                return ProbeResult(is_index and response.status == 200, response.status)
            case "pages":
                return self._pages()
            case "tag":
                response = self._ask("GET", f"manifests/{reference}", {"Accept": ", ".join(MANIFEST_TYPES)})
                return ProbeResult(bool(response.body(_PAGE_MAX)) and response.status == 200, response.status)
            case "clock":
                return self._clock()

    def _ask(self, method: str, path: str, headers: dict[str, str] | None = None) -> Response:
        return self._transport.once(Request(method, self._base + path, headers or {}), self._grants)

    def _stream(self) -> ProbeResult:
        data = os.urandom(_SIZE)

        def chunks() -> Iterator[bytes]:
            yield data

        session = self._begin()
        sent = self._transport.once(Request("PATCH", session, _OCTETS, streamed=chunks()), self._grants)
        return self._commit(sent, session, data)

    def _whole(self) -> ProbeResult:
        data = os.urandom(_SIZE)
        url = with_query(self._begin(), {"digest": digest_of(data)})
        return _result(self._transport.once(Request("PUT", url, _OCTETS, body=data), self._grants), _DONE)

    def _resume(self) -> ProbeResult:
        data = os.urandom(_SIZE)
        half = _SIZE // 2
        session = self._begin()
        headers = {**_OCTETS, "Content-Range": f"0-{half - 1}"}
        sent = self._transport.once(Request("PATCH", session, headers, body=data[:half]), self._grants)
        session = self._session(sent, session)
        state = self._transport.once(Request("GET", session), self._grants)
        state.discard()
        if sent.status not in _DONE or state.status != 204 or state.headers.get("Range", "") != f"0-{half - 1}":
            self._cancel(session)
            return ProbeResult(False, state.status if sent.status in _DONE else sent.status)
        headers = {**_OCTETS, "Content-Range": f"{half}-{_SIZE - 1}"}
        sent = self._transport.once(Request("PATCH", session, headers, body=data[half:]), self._grants)
        return self._commit(sent, session, data)

    def _pages(self) -> ProbeResult:
        response = self._ask("GET", "tags/list?n=1")
        try:
            tags = json.loads(response.body(_PAGE_MAX)).get("tags") or []
        except (ValueError, AttributeError, RecursionError):
            tags = []
        return ProbeResult(response.status == 200 and len(tags) == 1 and "Link" in response.headers, response.status)

    def _clock(self) -> ProbeResult:
        before = self._transport.timing.wall()
        response = self._ask("GET", "tags/list?n=1")
        response.discard()
        # The header has whole seconds, rounded down: half a second more is the best estimate.
        try:
            there = parsedate_to_datetime(response.headers.get("Date", "")).timestamp() + 0.5
        except (ValueError, TypeError, OverflowError):
            return ProbeResult(False, 0)
        return ProbeResult(True, round(1000 * (there - (before + self._transport.timing.wall()) / 2)))

    def _begin(self) -> str:
        response = self._ask("POST", "blobs/uploads/")
        return self._session(response)

    def _session(self, response: Response, old: str = "") -> str:
        response.discard()
        uploads = self._base + "blobs/uploads/"
        return following_address(self._transport, old or uploads, response, uploads)

    def _commit(self, sent: Response, session: str, data: bytes) -> ProbeResult:
        session = self._session(sent, session)
        if sent.status not in _DONE:
            self._cancel(session)
            return ProbeResult(False, sent.status)
        url = with_query(session, {"digest": digest_of(data)})
        return _result(self._transport.once(Request("PUT", url, _OCTETS, body=b""), self._grants), _DONE)

    def _cancel(self, session: str) -> None:
        self._transport.once(Request("DELETE", session), self._grants).discard()


def _result(response: Response, good: Collection[int]) -> ProbeResult:
    response.discard()
    return ProbeResult(response.status in good, response.status)
