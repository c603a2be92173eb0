"""What a hostile server sends: bytes without end, and bytes that come so slowly that the end never does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from tests.fakes.proxy import Fault

Raw = Callable[[], Iterator[bytes]]

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
PAUSE = 0.02
"""Seconds between two bytes of a drip."""


def sends(*parts: bytes, then: Iterator[bytes] | Raw | None = None) -> Fault:
    """A fault: send `parts`, and then whatever `then` yields."""

    def raw() -> Iterator[bytes]:
        yield b"".join(parts)
        if then is not None:
            yield from then() if callable(then) else then

    return Fault(raw=raw)


def endless(data: bytes) -> Raw:
    """The same bytes again and again, as fast as they are taken."""

    def raw() -> Iterator[bytes]:
        block = data * max(1, 65536 // len(data))
        while True:
            yield block

    return raw


def drip(data: bytes, pause: float = PAUSE) -> Raw:
    """The same bytes again and again, one at a time."""

    def raw() -> Iterator[bytes]:
        while True:
            for at in range(len(data)):
                time.sleep(pause)
                yield data[at : at + 1]

    return raw
