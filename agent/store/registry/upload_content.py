"""The content of an upload: counted and hashed while it is sent, once for each try."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

from agent.core.spelling.digest import Digest
from agent.store.network.retrying import PROGRESS, Retries
from agent.store.traffic_counter import TrafficCounter


class UploadProgress:
    """The progress of one upload over all its tries.

    Content that no try had sent before is progress. Sending the rest again is none, but costs no patience meanwhile.

    Args:
        retries: the retries of this upload; each sent block counts as progress.
        clock: monotonic seconds.
    """

    def __init__(self, retries: Retries, clock: Callable[[], float]) -> None:
        self.retries = retries
        self._clock = clock
        self._furthest = 0

    def now(self) -> float:
        """Return the time, from which the first piece of a try counts."""
        return self._clock()

    def sent(self, size: int, since: float) -> float:
        """Note that a try has sent `size` bytes in all; return the time, from which its next piece counts."""
        now = self._clock()
        if size - self._furthest >= PROGRESS:
            self._furthest = size
            self.retries.progressed()
        else:
            self.retries.resent(now - since)
        return now


class UploadContent:
    """The content for one try. Tells errors of its source apart from those of the network.

    Args:
        chunks: returns the content from its start.
        algorithm: of the digest.

    Attributes:
        size: bytes so far.
    """

    def __init__(
        self,
        chunks: Callable[[], Iterator[bytes]],
        counter: TrafficCounter,
        algorithm: str,
        progress: UploadProgress,
    ) -> None:
        self._chunks = chunks
        self._counter = counter
        self._progress = progress
        self._iterator: Iterator[bytes] | None = None
        self._error: BaseException | None = None
        self._hashed = hashlib.new(algorithm)
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        try:
            self._iterator = self._chunks()
            at = self._progress.now()
            for chunk in self._iterator:
                if chunk:
                    self._hashed.update(chunk)
                    self.size += len(chunk)
                    self._counter.add(sent=len(chunk))
                    yield chunk
                    at = self._progress.sent(self.size, at)
        except GeneratorExit:
            raise
        except BaseException as error:
            self._error = error
            raise

    @property
    def digest(self) -> Digest:
        """The digest of the content so far."""
        return Digest(f"{self._hashed.name}:{self._hashed.hexdigest()}")

    def check(self) -> None:
        """Raise the error of the source, if it raised one."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Close the source, if the try ended before it."""
        close = getattr(self._iterator, "close", None)
        if close is not None:
            close()


def rechunk(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the same bytes in chunks of `size`, the last one shorter."""
    buffered = bytearray()
    for chunk in chunks:
        buffered += chunk
        while len(buffered) >= size:
            yield bytes(buffered[:size])
            del buffered[:size]
    if buffered:
        yield bytes(buffered)
