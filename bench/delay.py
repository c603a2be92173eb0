"""A wire between a client and a server on loopback that is as long as it is told to be, and that is watched."""

from __future__ import annotations

import asyncio
import re
import threading
from types import TracebackType

_REQUEST = re.compile(rb"(?:GET|HEAD|POST|PUT|PATCH|DELETE) /v2/[^ \r\n]* HTTP/1\.1\r\n")


class Wire:
    """Passes bytes on, each after half of `round_trip` seconds; `address` is `127.0.0.1:PORT`.

    Loopback lets a client believe that it is connected before a packet could have come back. So all it sends before
    the first answer is held for one round trip more: a new connection costs what it costs elsewhere. How many bytes
    fit on the wire at a time is not limited.

    Attributes:
        round_trip: seconds; may be changed between connections.
        requests, connections, sent, received: what passed since they were set to 0.
    """

    def __init__(self, upstream: str) -> None:
        self.round_trip = 0.0
        self.requests = self.connections = self.sent = self.received = 0
        self.ends: set[asyncio.WriteTransport] = set()
        host, _, port = upstream.partition(":")
        self.upstream = host, int(port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        serving = self._loop.create_server(lambda: _Near(self), "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result()
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def forget(self) -> None:
        """Count from 0."""
        self.requests = self.connections = self.sent = self.received = 0

    def close(self) -> None:
        """Let go of every connection."""
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _shut(self) -> None:
        self._server.close()
        for end in self.ends:
            end.abort()
        await asyncio.sleep(0)  # so that the ends learn of it

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Line:
    """One direction: what is put in comes out in order, later."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._last = 0.0
        self._end: asyncio.WriteTransport | None = None
        self._waiting: list[bytes] = []

    def put(self, data: bytes, seconds: float) -> None:
        """Let `data` out after so many seconds; an empty one ends the line."""
        self._last = max(self._last + 1e-9, self._loop.time() + seconds)
        self._loop.call_at(self._last, self._out, data)

    def lead_to(self, end: asyncio.WriteTransport) -> None:
        """Let out there what comes, and what came already."""
        self._end = end
        for data in self._waiting:
            self._out(data)

    def _out(self, data: bytes) -> None:
        if self._end is None:
            self._waiting.append(data)
        elif data:
            self._end.write(data)
        else:
            self._end.close()


class _Near(asyncio.Protocol):
    """The end at the client."""

    def __init__(self, wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        self.wire, self.there, self.back = wire, _Line(loop), _Line(loop)
        self.answered = False
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.wire.connections += 1
        self.wire.ends.add(transport)
        self.back.lead_to(transport)
        connecting = asyncio.get_running_loop().create_connection(lambda: _Far(self), *self.wire.upstream)
        self._connecting = asyncio.ensure_future(connecting)

    def data_received(self, data: bytes) -> None:
        self.wire.sent += len(data)
        self._count(data)
        self.there.put(data, self.wire.round_trip * (0.5 if self.answered else 1.5))

    def connection_lost(self, error: Exception | None) -> None:
        self.there.put(b"", self.wire.round_trip * (0.5 if self.answered else 1.5))

    def _count(self, data: bytes) -> None:
        """Count the requests that begin in `data`, whose first line may have begun before."""
        seen = self._tail + data
        found = list(_REQUEST.finditer(seen))
        self.wire.requests += len(found)
        self._tail = seen[found[-1].end() if found else 0 :][-1024:]


class _Far(asyncio.Protocol):
    """The end at the server."""

    def __init__(self, near: _Near) -> None:
        self._near = near

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._near.wire.ends.add(transport)
        self._near.there.lead_to(transport)

    def data_received(self, data: bytes) -> None:
        near = self._near
        near.answered = True
        near.wire.received += len(data)
        near.back.put(data, near.wire.round_trip / 2)

    def connection_lost(self, error: Exception | None) -> None:
        self._near.back.put(b"", self._near.wire.round_trip / 2)
