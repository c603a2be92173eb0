"""Reading blobs from a registry (distribution-spec, "Pulling blobs"; RFC 9110 section 14, Range)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from agent.core.spelling.digest import Digest
from agent.errors import AgentError, IntegrityError, RefusedError, UnavailableError, VanishedError
from agent.store.login.auth import Grants
from agent.store.meter import Meter
from agent.store.network.retrying import PROGRESS
from agent.store.registry.answer import Answer, Request
from agent.store.registry.transport import Transport

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-")


class Downloads:
    """Reads from one repository. Safe for several threads.

    Args:
        url: the repository's `…/blobs/`.
        grants: what the requests need.
        judge: makes errors of refusals; its second argument is the digest asked for.
        subject: names a blob for people.
    """

    def __init__(
        self,
        transport: Transport,
        url: str,
        grants: Grants,
        meter: Meter,
        judge: Callable[[Answer, str], AgentError],
        subject: Callable[[str], str],
    ) -> None:
        self._transport = transport
        self._url = url
        self._grants = grants
        self._meter = meter
        self._judge = judge
        self._subject = subject

    def read(self, digest: Digest, start: int, length: int | None) -> Iterator[bytes]:
        """Yield a blob's bytes: `port.Store.read_blob`.

        Where a connection breaks, a new request goes on from there.
        """
        at, end = start, None if length is None else start + length
        tries, clock = self._transport.tries(), self._transport.timing.clock
        moved_at = start
        while end is None or at < end:
            try:
                for chunk in self._range(digest, at, end):
                    at += len(chunk)
                    if at - moved_at >= PROGRESS:
                        tries.moved()
                        moved_at = at
                    taken = clock()
                    yield chunk
                    tries.excuse(clock() - taken)
                tries.moved()
                break
            except UnavailableError as error:
                tries.wait(error)
        if end is not None and at < end:
            raise IntegrityError(
                "the blob is shorter than described", subject=self._subject(digest), remedy="pull another tag"
            )

    def _range(self, digest: Digest, at: int, end: int | None) -> Iterator[bytes]:
        """Yield what one request gives of the bytes from `at` to `end`; nothing if `at` lies past the blob's end."""
        headers = {} if at == 0 and end is None else {"Range": f"bytes={at}-{'' if end is None else end - 1}"}
        answer = self._transport.call(Request("GET", self._url + digest, headers), self._grants)
        if answer.status == 416:
            answer.close()
            return
        if answer.status == 404:
            answer.discard()
            raise VanishedError("there is no such blob", subject=self._subject(digest), remedy="pull another tag")
        if answer.status not in (200, 206):
            raise self._judge(answer, digest)
        skip = at if answer.status == 200 else self._check(answer, digest, at)
        left = None if end is None else end - at
        for chunk in answer.chunks():
            self._meter.add(received=len(chunk))
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
        answer.close()

    def _check(self, answer: Answer, digest: Digest, at: int) -> int:
        if parse_range_start(answer.headers.get("Content-Range", "")) != at:
            answer.close()
            raise RefusedError(
                "the registry answers with another range than it was asked for",
                subject=self._subject(digest),
                remedy="use another registry",
            )
        return 0


def parse_range_start(text: str) -> int | None:
    """Return where the bytes begin that a Content-Range header announces, None if it does not say."""
    found = _CONTENT_RANGE.match(text)
    return int(found[1]) if found else None
