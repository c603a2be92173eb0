"""Reads blobs from a registry (distribution-spec, "Pulling blobs"; RFC 9110 section 14, Range)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from agent.core.spelling.digest import Digest
from agent.errors import IntegrityError, RefusedError, UnavailableError, VanishedError
from agent.store.http.message import Request, Response
from agent.store.http.transport import Transport
from agent.store.login.challenge import Grants
from agent.store.network.retrying import PROGRESS
from agent.store.registry.registry_errors import RegistryErrors
from agent.store.traffic_counter import TrafficCounter

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-")


class Downloads:
    """Reads from one repository. Safe for several threads.

    Args:
        url: the repository's `…/blobs/`.
        grants: what the requests need.
        errors: makes the errors.
    """

    def __init__(
        self,
        transport: Transport,
        url: str,
        grants: Grants,
        counter: TrafficCounter,
        errors: RegistryErrors,
    ) -> None:
        self._transport = transport
        self._url = url
        self._grants = grants
        self._counter = counter
        self._errors = errors

    def read(self, digest: Digest, start: int, length: int | None) -> Iterator[bytes]:
        """Yield a blob's bytes: `port.Store.read_blob`.

        If a connection breaks, a new request continues from there.
        """
        at, end = start, None if length is None else start + length
        retries, clock = self._transport.retries(), self._transport.timing.clock
        progress_at = start
        while end is None or at < end:
            try:
                for chunk in self._range(digest, at, end):
                    at += len(chunk)
                    if at - progress_at >= PROGRESS:
                        retries.progressed()
                        progress_at = at
                    yielded_at = clock()
                    yield chunk
                    retries.exclude(clock() - yielded_at)
                retries.progressed()
                break
            except UnavailableError as error:
                retries.wait(error)
        if end is not None and at < end:
            raise IntegrityError(
                "the blob is shorter than described", subject=self._errors.subject(digest), remedy="pull another tag"
            )

    def _range(self, digest: Digest, at: int, end: int | None) -> Iterator[bytes]:
        """Yield the bytes from `at` to `end` that one request returns; nothing if the blob ends before `at`."""
        headers = {} if at == 0 and end is None else {"Range": f"bytes={at}-{'' if end is None else end - 1}"}
        response = self._transport.call(Request("GET", self._url + digest, headers), self._grants)
        if response.status == 416:
            response.close()
            return
        if response.status == 404:
            response.discard()
            raise VanishedError(
                "there is no such blob", subject=self._errors.subject(digest), remedy="pull another tag"
            )
        if response.status not in (200, 206):
            raise self._errors.refusal(response, digest)
        skip = at if response.status == 200 else self._check(response, digest, at)
        left = None if end is None else end - at
        for chunk in response.chunks():
            self._counter.add(received=len(chunk))
            if skip:
                dropped = min(skip, len(chunk))
                skip -= dropped
                chunk = chunk[dropped:]
            if left is not None:
                chunk = chunk[:left]
                left -= len(chunk)
            if chunk:
                yield chunk
            if left == 0:
                break
        response.close()

    def _check(self, response: Response, digest: Digest, at: int) -> int:
        if parse_range_start(response.headers.get("Content-Range", "")) != at:
            response.close()
            raise RefusedError(
                "the registry answers with another range than it was asked for",
                subject=self._errors.subject(digest),
                remedy="use another registry",
            )
        return 0


def parse_range_start(text: str) -> int | None:
    """Return the first byte's offset in a Content-Range header, None if it names none."""
    found = _CONTENT_RANGE.match(text)
    return int(found[1]) if found else None
