"""Read an exact number of bytes from a stream of chunks, or raise an error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.archive.stream.limits import damaged


class ByteSource:
    """Bytes that arrive in chunks of any size.

    The attributes `chunk` and `at` (the position of the next byte in it) are public because the hot loops of the tar
    reader slice the current chunk themselves; everyone else calls the methods.
    """

    __slots__ = ("_before", "_chunks", "_what", "at", "chunk")

    def __init__(self, chunks: Iterable[bytes], what: str) -> None:
        self._chunks = iter(chunks)
        self._before = 0
        self._what = what
        self.chunk = b""
        self.at = 0

    @property
    def offset(self) -> int:
        """How many bytes were taken so far."""
        return self._before + self.at

    def at_end(self) -> bool:
        """Say whether there are no bytes left; may wait for the next chunk."""
        while self.at >= len(self.chunk):
            self._before += len(self.chunk)
            self.chunk, self.at = b"", 0
            following = next(self._chunks, None)
            if following is None:
                return True
            self.chunk = following
        return False

    def some(self, most: int) -> bytes:
        """Return between 1 and `most` bytes, whatever is at hand.

        Raises:
            IntegrityError: the stream is at its end.
        """
        if self.at_end():
            raise damaged(f"{self._what} is truncated after {self.offset} bytes")
        start, self.at = self.at, min(self.at + most, len(self.chunk))
        return self.chunk[start : self.at]

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes; memory is needed for what arrives only, not for what `length` claims.

        Raises:
            IntegrityError: the stream ends before.
        """
        end = self.at + length
        if end <= len(self.chunk):
            data = self.chunk[self.at : end]
            self.at = end
            return data
        parts = []
        while length:
            parts.append(self.some(length))
            length -= len(parts[-1])
        return b"".join(parts)

    def stream(self, length: int, most: int = 1 << 20) -> Iterator[bytes]:
        """Yield the next `length` bytes in pieces of at most `most`.

        Raises:
            IntegrityError: the stream ends before.
        """
        while length:
            data = self.some(min(length, most))
            length -= len(data)
            yield data

    def peek(self, length: int) -> bytes:
        """Return the next `length` bytes, fewer if there are no more, and take none of them."""
        while len(self.chunk) - self.at < length and (following := next(self._chunks, None)) is not None:
            self._before += self.at
            self.chunk, self.at = self.chunk[self.at :] + following, 0
        return self.chunk[self.at : self.at + length]

    def skip(self, length: int) -> None:
        """Pass over `length` bytes, at least 0.

        Raises:
            IntegrityError: the stream ends before.
        """
        while length:
            if self.at_end():
                raise damaged(f"{self._what} is truncated after {self.offset} bytes")
            step = min(length, len(self.chunk) - self.at)
            self.at += step
            length -= step

    def skip_most(self, length: int) -> None:
        """Pass over `length` bytes, or as many as there are."""
        while length and not self.at_end():
            step = min(length, len(self.chunk) - self.at)
            self.at += step
            length -= step

    def give_back(self, length: int) -> None:
        """Undo the taking of the last `length` bytes of what `some` returned last."""
        self.at -= length

    def rest(self) -> Iterator[bytes]:
        """Yield everything that is left."""
        while not self.at_end():
            data = self.chunk[self.at :]
            self.at = len(self.chunk)
            yield data
