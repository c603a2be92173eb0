"""Sends blobs to a registry (distribution-spec, "Pushing Blobs").

A blob of unknown size is sent as POST, one PATCH of the whole stream without Content-Range, and a PUT with its digest,
which is known by then. If a session breaks, it is cancelled and the stream begins again in a new one: registries differ
too much in whether they can resume, and where. If a registry refuses a PATCH without a length, the blob is sent in
chunks of 4 MiB (or what its `OCI-Chunk-Min-Length` asks for), and in smaller ones if a proxy before it refuses those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from urllib.parse import urlsplit

from agent.core.spelling.digest import Digest
from agent.errors import IntegrityError, UnavailableError
from agent.remedy import NOT_STORED
from agent.store.http.message import Request, Response
from agent.store.http.transport import Transport
from agent.store.login.challenge import Grants
from agent.store.port import Stored
from agent.store.registry.registry_errors import RegistryErrors
from agent.store.registry.upload_content import UploadContent, UploadProgress, rechunk
from agent.store.registry.upload_session import UploadSessions, with_query
from agent.store.traffic_counter import TrafficCounter

CHUNK_SIZES = (4 << 20, 1 << 20, 256 << 10)
"""Bytes of a chunk, the larger ones tried first. Many proxies accept no more than 1 MiB by default."""
_OCTETS = {"Content-Type": "application/octet-stream"}
_REFUSES_STREAMS = frozenset({400, 405, 411, 413, 416, 501})
_SESSION_LOST = frozenset({404, 416})


class Uploads:
    """Uploads to one repository. Safe for several threads.

    Args:
        url: the repository's `…/blobs/uploads/`.
        grants: what the requests need.
        has: returns whether the repository has a blob.
        errors: makes errors of refusals.

    Attributes:
        sessions: begins and cancels sessions.
    """

    def __init__(
        self,
        transport: Transport,
        url: str,
        grants: Grants,
        counter: TrafficCounter,
        has: Callable[[Digest], bool],
        errors: RegistryErrors,
    ) -> None:
        self._transport = transport
        self._url = url
        self._grants = grants
        self._counter = counter
        self._has = has
        self._errors = errors
        self.sessions = UploadSessions(transport, url, grants, errors)
        self._most: int | None = None  # bytes of a request's body; set for good when a larger one was refused

    def put(self, data: bytes, digest: Digest, *, new: bool = False) -> None:
        """Store a blob that is in memory, with POST and PUT, unless the repository has it.

        Args:
            new: send the blob without asking whether the repository has it.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
        """
        retries = self._transport.retries()
        while new or not self._has(digest):
            new = False
            try:
                if self._most is not None and len(data) > self._most:
                    self.stream(lambda: iter((data,)))
                    return
                location, _ = self.sessions.begin()
                self._counter.add(sent=len(data))
                self._finish(location, digest, data)
                break
            except _TooLargeError as error:
                self._most = error.most
                new = True
            except UnavailableError as error:
                retries.wait(error, error.after)
        retries.progressed()

    def stream(
        self, chunks: Callable[[], Iterator[bytes]], location: str | None = None, algorithm: str = "sha256"
    ) -> Stored:
        """Store the content that `chunks` yields.

        Args:
            chunks: returns the content from its start; called once for each try.
            location: a session that already began, for the first try.
            algorithm: of the digest.

        Raises:
            AuthError, UnavailableError: see `agent.errors`. An exception of `chunks` passes through.
        """
        progress = UploadProgress(self._transport.retries(), self._transport.timing.clock)
        while True:
            content = UploadContent(chunks, self._counter, algorithm, progress)
            try:
                stored = self._try(content, location)
                progress.retries.progressed()
                return stored
            except _TooLargeError as error:
                self._most = error.most
            except UnavailableError as error:
                content.check()
                progress.retries.wait(error, error.after)
            finally:
                content.close()
            location = None

    def check(self) -> None:
        """Begin a session and cancel it.

        Raises:
            AuthError, UnavailableError: see `agent.errors`.
        """
        self.sessions.cancel(self.sessions.begin()[0])

    def _try(self, content: UploadContent, location: str | None) -> Stored:
        least = 0
        if location is None:
            location, least = self.sessions.begin()
        try:
            if self._most is None:
                location = self._send_stream(location, content)
            else:
                location = self._send_chunks(location, content, max(self._most, least), least)
            digest = content.digest
            self._finish(location, digest, b"")
        except BaseException:
            self.sessions.cancel(location)
            raise
        return Stored(digest, content.size)

    def _send_stream(self, location: str, content: UploadContent) -> str:
        request = Request("PATCH", location, _OCTETS, streamed=iter(content), seconds=inf)
        response = self._transport.once(request, self._grants)
        failure = self._transport.failure(response)
        if failure is None and response.status in _REFUSES_STREAMS:
            response.close()
            raise _TooLargeError(CHUNK_SIZES[0])
        return self._accepted(response, location)

    def _send_chunks(self, location: str, content: UploadContent, size: int, least: int) -> str:
        start = 0
        for chunk in rechunk(content, size):
            headers = {**_OCTETS, "Content-Range": f"{start}-{start + len(chunk) - 1}"}
            response = self._transport.once(Request("PATCH", location, headers, body=chunk), self._grants)
            if len(chunk) > least:
                self._check_size(response, len(chunk))
            location = self._accepted(response, location)
            start += len(chunk)
        return location

    def _accepted(self, response: Response, location: str) -> str:
        if response.status in (200, 201, 202, 204):
            response.discard()
            return self.sessions.following(location, response)
        if response.status in _SESSION_LOST:
            raise self._lost(response)
        failure = self._transport.failure(response)
        raise failure if failure is not None else self._errors.refusal(response)

    def _finish(self, location: str, digest: Digest, data: bytes) -> None:
        # Object stores copy the blob now, and are silent until that is done.
        request = Request("PUT", with_query(location, {"digest": digest}), _OCTETS, body=data, seconds=inf)
        response = self._transport.call(request, self._grants)
        self._check_size(response, len(data))
        if response.status in (200, 201, 202, 204):
            response.discard()
            self._check_stored(response, digest)
        elif response.status in _SESSION_LOST:
            # A second try gets this, too, if the first one succeeded and its response was lost.
            lost = self._lost(response)
            if not self._has(digest):
                raise lost
        else:
            raise self._errors.refusal(response)

    def _check_size(self, response: Response, size: int) -> None:
        """Raise _TooLargeError if a body of `size` bytes was refused as too large, and smaller chunks can be tried."""
        smaller = [most for most in CHUNK_SIZES if most < size]
        if response.status == 413 and smaller and self._transport.failure(response) is None:
            response.close()
            raise _TooLargeError(smaller[0])

    def _check_stored(self, response: Response, digest: Digest) -> None:
        """Check that a blob was stored, after a successful response: only 201 proves it."""
        reported = response.headers.get("Docker-Content-Digest", digest)
        subject = f"{urlsplit(self._url).netloc} ({digest})"
        if reported.partition(":")[0] == digest.partition(":")[0] and reported != digest:
            raise IntegrityError(
                "the registry keeps another blob than it was sent", subject=subject, remedy="use another registry"
            )
        if response.status != 201 and not self._has(digest):
            raise UnavailableError(
                f"the registry answers {response.status}, and what it was sent is not there",
                subject=subject,
                remedy=NOT_STORED,
            )

    def _lost(self, response: Response) -> UnavailableError:
        details = response.error_details()
        return UnavailableError(
            f"the registry lost an upload ({response.status} {details.text})".replace(" )", ")"),
            subject=urlsplit(self._url).netloc,
            remedy="try again",
        )


class _TooLargeError(Exception):
    """The body of a request is refused: chunks of at most `most` bytes have to be used."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most
