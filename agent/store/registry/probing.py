"""What a registry can do besides what every pull and push needs: one request at a time, nothing tried again."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode, urlsplit, urlunsplit

from agent.core.image.manifest import INDEX
from agent.core.spelling.digest import digest_of
from agent.store.login.auth import Grants
from agent.store.manifest_limits import MANIFEST_TYPES
from agent.store.port import Ability, Answered
from agent.store.registry.answer import Answer, Request
from agent.store.registry.answer_links import own_upload
from agent.store.registry.transport import Transport

_OCTETS = {"Content-Type": "application/octet-stream"}
_DONE = frozenset({200, 201, 202, 204})
_SIZE = 64
_PAGE_MAX = 4 << 20


class Probes:
    """Tries abilities of one repository; see `port.Probing`.

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

    def probe(self, ability: Ability, reference: str) -> Answered:
        """See `port.Probing`."""
        match ability:
            case "stream":
                return self._stream()
            case "whole":
                return self._whole()
            case "resume":
                return self._resume()
            case "range":
                answer = self._ask("GET", f"blobs/{reference}", {"Range": "bytes=1-1"})
                return Answered(len(answer.body(_SIZE)) == 1 and answer.status == 206, answer.status)
            case "mount":
                query = urlencode({"mount": reference, "from": self._repository})
                answer = self._ask("POST", f"blobs/uploads/?{query}")
                if answer.status == 202:
                    self._drop(self._session(answer))
                return _judged(answer, {201})
            case "referrers":
                answer = self._ask("GET", f"referrers/{reference}")
                is_index = answer.headers.get("Content-Type", "").startswith(INDEX)
                return Answered(is_index and answer.status == 200, answer.status)
            case "pages":
                return self._pages()
            case "tag":
                answer = self._ask("GET", f"manifests/{reference}", {"Accept": ", ".join(MANIFEST_TYPES)})
                return Answered(bool(answer.body(_PAGE_MAX)) and answer.status == 200, answer.status)
            case "clock":
                return self._clock()

    def _ask(self, method: str, path: str, headers: dict[str, str] | None = None) -> Answer:
        return self._transport.once(Request(method, self._base + path, headers or {}), self._grants)

    def _stream(self) -> Answered:
        data = os.urandom(_SIZE)

        def chunks() -> Iterator[bytes]:
            yield data

        session = self._begin()
        sent = self._transport.once(Request("PATCH", session, _OCTETS, streamed=chunks()), self._grants)
        return self._commit(sent, session, data)

    def _whole(self) -> Answered:
        data = os.urandom(_SIZE)
        url = _with(self._begin(), digest=digest_of(data))
        return _judged(self._transport.once(Request("PUT", url, _OCTETS, body=data), self._grants), _DONE)

    def _resume(self) -> Answered:
        data = os.urandom(_SIZE)
        half = _SIZE // 2
        session = self._begin()
        headers = {**_OCTETS, "Content-Range": f"0-{half - 1}"}
        sent = self._transport.once(Request("PATCH", session, headers, body=data[:half]), self._grants)
        session = self._session(sent, session)
        state = self._transport.once(Request("GET", session), self._grants)
        state.discard()
        if sent.status not in _DONE or state.status != 204 or state.headers.get("Range", "") != f"0-{half - 1}":
            self._drop(session)
            return Answered(False, state.status if sent.status in _DONE else sent.status)
        headers = {**_OCTETS, "Content-Range": f"{half}-{_SIZE - 1}"}
        sent = self._transport.once(Request("PATCH", session, headers, body=data[half:]), self._grants)
        return self._commit(sent, session, data)

    def _pages(self) -> Answered:
        answer = self._ask("GET", "tags/list?n=1")
        try:
            tags = json.loads(answer.body(_PAGE_MAX)).get("tags") or []
        except (ValueError, AttributeError, RecursionError):
            tags = []
        return Answered(answer.status == 200 and len(tags) == 1 and "Link" in answer.headers, answer.status)

    def _clock(self) -> Answered:
        before = self._transport.timing.wall()
        answer = self._ask("GET", "tags/list?n=1")
        answer.discard()
        # The header has whole seconds, cut off: its middle is what it most likely was.
        try:
            there = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp() + 0.5
        except (ValueError, TypeError, OverflowError):
            return Answered(False, 0)
        return Answered(True, round(1000 * (there - (before + self._transport.timing.wall()) / 2)))

    def _begin(self) -> str:
        answer = self._ask("POST", "blobs/uploads/")
        return self._session(answer)

    def _session(self, answer: Answer, old: str = "") -> str:
        answer.discard()
        uploads = self._base + "blobs/uploads/"
        old = old or uploads
        location = answer.headers.get("Location")
        return self._transport.locate(old, own_upload(old, location, uploads)) if location else old

    def _commit(self, sent: Answer, session: str, data: bytes) -> Answered:
        session = self._session(sent, session)
        if sent.status not in _DONE:
            self._drop(session)
            return Answered(False, sent.status)
        url = _with(session, digest=digest_of(data))
        return _judged(self._transport.once(Request("PUT", url, _OCTETS, body=b""), self._grants), _DONE)

    def _drop(self, session: str) -> None:
        self._transport.once(Request("DELETE", session), self._grants).discard()


def _judged(answer: Answer, good: Collection[int]) -> Answered:
    answer.discard()
    return Answered(answer.status in good, answer.status)


def _with(url: str, **query: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="&".join(part for part in (parts.query, urlencode(query)) if part)))
