"""Sending blobs to a registry (distribution-spec, "Pushing Blobs").

A blob of unknown size goes up as POST, one PATCH of the whole stream without Content-Range, and a PUT that names its
digest, which is known by then. A session that breaks is given up and the stream begins again in a new one: whether a
registry can resume, and where, differs too much. A registry that refuses a PATCH without a length gets pieces of
4 MiB instead (or what its `OCI-Chunk-Min-Length` asks for), and smaller ones where a proxy before it refuses those.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import inf
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from agent.core.spelling.digest import Digest
from agent.errors import AgentError, AuthError, IntegrityError, UnavailableError
from agent.remedy import NOT_STORED
from agent.store.login.auth import Grants
from agent.store.meter import Meter
from agent.store.network.retrying import PROGRESS, Tries
from agent.store.port import Stored
from agent.store.registry.answer import Answer, Request
from agent.store.registry.answer_links import own_upload
from agent.store.registry.transport import Transport

PIECES = (4 << 20, 1 << 20, 256 << 10)
"""Bytes of a piece, the larger ones tried first. Many proxies take no more than 1 MiB unless they are told to."""
_PIECE_MAX = 64 << 20
_COUNT = re.compile(r"[0-9]{1,19}")
_OCTETS = {"Content-Type": "application/octet-stream"}
_REFUSES_STREAMS = frozenset({400, 405, 411, 413, 416, 501})
_SESSION_LOST = frozenset({404, 416})

Judge = Callable[[Answer], AgentError]
"""Turns an answer that is a refusal into the error to raise."""


class Uploads:
    """Uploads to one repository. Safe for several threads.

    Args:
        url: the repository's `…/blobs/uploads/`.
        grants: what the requests need.
        has: says whether the repository has a blob.
        judge: makes errors of refusals.
    """

    def __init__(
        self,
        transport: Transport,
        url: str,
        grants: Grants,
        meter: Meter,
        has: Callable[[Digest], bool],
        judge: Judge,
    ) -> None:
        self._transport = transport
        self._url = url
        self._grants = grants
        self._meter = meter
        self._has = has
        self._judge = judge
        self._piece: int | None = None  # bytes that a request may have; set for good once a larger one was refused

    def put(self, data: bytes, digest: Digest, *, new: bool = False) -> None:
        """Store a blob that is in memory, with POST and PUT, unless it is there; of a new one that is not asked first.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
        """
        tries = self._transport.tries()
        while new or not self._has(digest):
            new = False
            try:
                if self._piece is not None and len(data) > self._piece:
                    self.stream(lambda: iter((data,)))
                    return
                location, _ = self.begin()
                self._meter.add(sent=len(data))
                self._finish(location, digest, data)
                break
            except _TooMuchError as error:
                self._piece = error.piece
                new = True
            except UnavailableError as error:
                tries.wait(error, error.after)
        tries.moved()

    def stream(
        self, chunks: Callable[[], Iterator[bytes]], location: str | None = None, algorithm: str = "sha256"
    ) -> Stored:
        """Store what `chunks` yields; `location` is a session that already began.

        Raises:
            AuthError, UnavailableError: see `agent.errors`. Whatever `chunks` raises passes through.
        """
        way = _Way(self._transport.tries(), self._transport.timing.clock)
        while True:
            source = _Source(chunks, self._meter, algorithm, way)
            try:
                stored = self._try(source, location)
                way.tries.moved()
                return stored
            except _TooMuchError as error:
                self._piece = error.piece
            except UnavailableError as error:
                source.check()
                way.tries.wait(error, error.after)
            finally:
                source.close()
            location = None

    def begin(self, **query: str) -> tuple[str, int]:
        """Begin a session; return where it is and how large a piece must be at least.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
        """
        answer = self._transport.call(Request("POST", _with(self._url, **query)), self._grants)
        if answer.status not in (200, 201, 202, 204):
            raise self._judge(answer)
        return self.session_of(answer)

    def check(self) -> None:
        """Begin a session, and give it up.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
        """
        self._cancel(self.begin()[0])

    def session_of(self, answer: Answer) -> tuple[str, int]:
        """Return what the answer to a POST (202) says of its session.

        Raises:
            RefusedError: it names none.
        """
        session = answer.headers.get("Docker-Upload-UUID", "")
        if not session and not answer.headers.get("Location"):
            raise self._judge(answer)
        answer.discard()
        least = _COUNT.fullmatch(answer.headers.get("OCI-Chunk-Min-Length", ""))
        base = self._url + quote(session, safe="")  # where Location is lacking
        return self._next(base, answer), min(int(least[0]), _PIECE_MAX) if least else 0

    def _try(self, source: _Source, location: str | None) -> Stored:
        least = 0
        if location is None:
            location, least = self.begin()
        try:
            if self._piece is None:
                location = self._send_stream(location, source)
            else:
                location = self._send_pieces(location, source, max(self._piece, least), least)
            digest = source.digest
            self._finish(location, digest, b"")
        except BaseException:
            self._cancel(location)
            raise
        return Stored(digest, source.size)

    def _send_stream(self, location: str, source: _Source) -> str:
        request = Request("PATCH", location, _OCTETS, streamed=iter(source), seconds=inf)
        answer = self._transport.once(request, self._grants)
        failure = self._transport.failure(answer)
        if failure is None and answer.status in _REFUSES_STREAMS:
            answer.close()
            raise _TooMuchError(PIECES[0])
        return self._accepted(answer, location)

    def _send_pieces(self, location: str, source: _Source, size: int, least: int) -> str:
        start = 0
        for piece in _pieces_of(source, size):
            headers = {**_OCTETS, "Content-Range": f"{start}-{start + len(piece) - 1}"}
            answer = self._transport.once(Request("PATCH", location, headers, body=piece), self._grants)
            if len(piece) > least:
                self._check_size(answer, len(piece))
            location = self._accepted(answer, location)
            start += len(piece)
        return location

    def _accepted(self, answer: Answer, location: str) -> str:
        if answer.status in (200, 201, 202, 204):
            answer.discard()
            return self._next(location, answer)
        if answer.status in _SESSION_LOST:
            raise self._lost(answer)
        failure = self._transport.failure(answer)
        raise failure if failure is not None else self._judge(answer)

    def _finish(self, location: str, digest: Digest, data: bytes) -> None:
        # Object stores copy the blob now, and nothing is heard until that is done.
        request = Request("PUT", _with(location, digest=digest), _OCTETS, body=data, seconds=inf)
        answer = self._transport.call(request, self._grants)
        self._check_size(answer, len(data))
        if answer.status in (200, 201, 202, 204):
            answer.discard()
            self._check_stored(answer, digest)
        elif answer.status in _SESSION_LOST:
            # Also what a second try sees when the answer to the first, which did it, was lost.
            lost = self._lost(answer)
            if not self._has(digest):
                raise lost
        else:
            raise self._judge(answer)

    def _check_size(self, answer: Answer, size: int) -> None:
        """Raise _TooMuchError if something on the way refuses a body of `size` bytes, and may take a smaller one."""
        smaller = [piece for piece in PIECES if piece < size]
        if answer.status == 413 and smaller and self._transport.failure(answer) is None:
            answer.close()
            raise _TooMuchError(smaller[0])

    def _check_stored(self, answer: Answer, digest: Digest) -> None:
        """See that a blob is there, after an answer that says so; any but 201 means less than that."""
        said = answer.headers.get("Docker-Content-Digest", digest)
        subject = f"{urlsplit(self._url).netloc} ({digest})"
        if said.partition(":")[0] == digest.partition(":")[0] and said != digest:
            raise IntegrityError(
                "the registry keeps another blob than it was sent", subject=subject, remedy="use another registry"
            )
        if answer.status != 201 and not self._has(digest):
            raise UnavailableError(
                f"the registry answers {answer.status}, and what it was sent is not there",
                subject=subject,
                remedy=NOT_STORED,
            )

    def _next(self, base: str, answer: Answer) -> str:
        location = answer.headers.get("Location")
        return self._transport.locate(base, own_upload(base, location, self._url)) if location else base

    def _lost(self, answer: Answer) -> UnavailableError:
        problem = answer.problem()
        return UnavailableError(
            f"the registry lost an upload ({answer.status} {problem.text})".replace(" )", ")"),
            subject=urlsplit(self._url).netloc,
            remedy="try again",
        )

    def _cancel(self, location: str) -> None:
        with suppress(AuthError, UnavailableError):
            self._transport.once(Request("DELETE", location, seconds=2.0), self._grants).discard()


class _TooMuchError(Exception):
    """The body of a request is refused as it is: pieces of at most `piece` bytes have to be used."""

    def __init__(self, piece: int) -> None:
        super().__init__(piece)
        self.piece = piece


class _Way:
    """How far the runs through one content have come. Content that none of them had sent before is a move; the rest is
    none, but costs no patience while it goes out."""

    def __init__(self, tries: Tries, clock: Callable[[], float]) -> None:
        self.tries = tries
        self._clock = clock
        self._furthest = 0

    def began(self) -> float:
        return self._clock()

    def sent(self, size: int, since: float) -> float:
        """Note that a run has sent `size` bytes; return the time, from which its next piece counts."""
        now = self._clock()
        if size - self._furthest >= PROGRESS:
            self._furthest = size
            self.tries.moved()
        else:
            self.tries.sent_again(now - since)
        return now


class _Source:
    """One run through `chunks`: counts, hashes, and keeps apart what it raises from what the network raises."""

    def __init__(self, chunks: Callable[[], Iterator[bytes]], meter: Meter, algorithm: str, way: _Way) -> None:
        self._chunks = chunks
        self._meter = meter
        self._way = way
        self._iterator: Iterator[bytes] | None = None
        self._error: BaseException | None = None
        self._hashed = hashlib.new(algorithm)
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        try:
            self._iterator = self._chunks()
            at = self._way.began()
            for chunk in self._iterator:
                if chunk:
                    self._hashed.update(chunk)
                    self.size += len(chunk)
                    self._meter.add(sent=len(chunk))
                    yield chunk
                    at = self._way.sent(self.size, at)
        except GeneratorExit:
            raise
        except BaseException as error:
            self._error = error
            raise

    @property
    def digest(self) -> Digest:
        """Of what came so far."""
        return Digest(f"{self._hashed.name}:{self._hashed.hexdigest()}")

    def check(self) -> None:
        """Raise what `chunks` raised, as it was."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Let go of what an unfinished run holds."""
        close = getattr(self._iterator, "close", None)
        if close is not None:
            close()


def _pieces_of(chunks: Iterator[bytes] | _Source, size: int) -> Iterator[bytes]:
    """Yield the same bytes in pieces of `size`, the last one shorter."""
    kept = bytearray()
    for chunk in chunks:
        kept += chunk
        while len(kept) >= size:
            yield bytes(kept[:size])
            del kept[:size]
    if kept:
        yield bytes(kept)


def _with(url: str, **query: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="&".join(part for part in (parts.query, urlencode(query)) if part)))
