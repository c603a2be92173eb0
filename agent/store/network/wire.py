"""Connections that keep what `transport` promises whatever the other side sends: time, memory, address.

`requests` and `urllib3` bound the silence between two pieces of an answer, not the answer. Here the time spent waiting
for the head of an answer has a limit as a whole, and of its body so much must come in the same time (`PACE`), so
that a byte now and then does not count. What is not content, as status lines, headers, interim answers, chunk sizes and
trailers, may not exceed the content by more than `FRAMING_MAX`.
"""

from __future__ import annotations

import http.client
import io
import logging
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

PACE = 64 << 10
"""Bytes of content that must come in the seconds that an answer may take (`Limits.read`)."""
FRAMING_MAX = 256 << 10
LINE_MAX = 64 << 10
_CONNECTIONS = 16
_ALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4))
"""Seconds of silence before the other side is asked whether it is still there, seconds between such questions, and how
many may stay without an answer: a host that went without a word is noticed long before patience ends."""

# It logs addresses with their queries, which can be secrets, and what is wrong with a server's headers as a traceback.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)

CheckPeer = Callable[[str, int, str], None]
"""(host, port, address) of a connection that stands and has sent nothing yet; raises if it must not be used."""


class Adapter(HTTPAdapter):
    """Sends requests over such connections; several threads may.

    Args:
        check_peer: asked about each new connection, save those to a proxy.
        trust: judges certificates, instead of a bundle that is read for every connection; None for plain HTTP only.
    """

    def __init__(self, check_peer: CheckPeer, trust: ssl.SSLContext | None = None) -> None:
        self._check_peer = check_peer
        self._trust: dict[str, Any] = {"ssl_context": trust} if trust else {}
        super().__init__(pool_maxsize=_CONNECTIONS)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        """See `HTTPAdapter`."""
        super().init_poolmanager(connections, maxsize, block, socket_options=_socket_options(), **self._trust, **kwargs)
        self._use_own_connections(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """See `HTTPAdapter`."""
        return self._use_own_connections(
            super().proxy_manager_for(proxy, socket_options=_socket_options(), **self._trust, **kwargs)
        )

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """See `HTTPAdapter`."""
        conn.cert_reqs = "CERT_REQUIRED"

    def _use_own_connections(self, manager: Any) -> Any:
        manager.pool_classes_by_scheme = {
            "http": partial(_PlainPool, check_peer=self._check_peer),
            "https": partial(_TlsPool, check_peer=self._check_peer),
        }
        return manager


def _socket_options() -> list[tuple[int, int, int]]:
    kept = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    kept += [(socket.IPPROTO_TCP, getattr(socket, name), number) for name, number in _ALIVE if hasattr(socket, name)]
    return [*HTTPConnection.default_socket_options, *kept]


class _Paced(io.RawIOBase):
    """A socket's bytes, for as long as waiting for them takes no longer than its timeout (RFC 9112 says no bound)."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock
        self._seconds = sock.gettimeout() or 0.0
        self._left = self._seconds
        self._renewed_at = 0
        self.content = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._left <= 0:
            raise TimeoutError("too slow")
        self._sock.settimeout(self._left)
        began = time.monotonic()
        try:
            count = self._raw.readinto(buffer)
        finally:
            self._left -= time.monotonic() - began  # whoever consumes this may take as long as it likes
        self.content += count or 0
        if self.content - self._renewed_at >= PACE:
            self.renew()
        return count

    def renew(self) -> None:
        self._left = self._seconds
        self._renewed_at = self.content

    def close(self) -> None:
        super().close()
        self._raw.close()


class _Lines(io.BufferedReader):
    """The same, buffered. HTTP is framed by lines, and content is read otherwise: so lines are what is not content."""

    def __init__(self, paced: _Paced) -> None:
        super().__init__(paced)
        self._paced = paced
        self._framing = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        most = LINE_MAX + 1
        line = super().readline(most if size is None or size < 0 else min(size, most))
        self._framing += len(line)
        self._paced.content -= len(line)
        if len(line) > LINE_MAX or self._framing > FRAMING_MAX + max(self._paced.content, 0):
            raise http.client.HTTPException("more framing than content")
        return line


if TYPE_CHECKING:
    _Mixed = HTTPConnection
else:
    _Mixed = object


class _Watched(_Mixed):
    def __init__(self, *args: Any, check_peer: CheckPeer, **kwargs: Any) -> None:
        self._check_peer = check_peer
        self._paced: _Paced | None = None
        super().__init__(*args, **kwargs)

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        if self.proxy is None:
            try:
                self._check_peer(self.host, self.port, sock.getpeername()[0])
            except BaseException:
                sock.close()
                raise
        return sock

    # http.client calls this as if it were the class.
    def response_class(  # type: ignore[override]
        self, sock: socket.socket, *args: Any, **kwargs: Any
    ) -> http.client.HTTPResponse:
        response = http.client.HTTPResponse(sock, *args, **kwargs)
        self._paced = _Paced(response.fp.detach(), sock)
        response.fp = _Lines(self._paced)
        return response

    def getresponse(self) -> Any:
        response = super().getresponse()
        if self._paced is not None:
            self._paced.renew()
        return response


class _PlainConnection(_Watched, HTTPConnection):
    pass


class _TlsConnection(_Watched, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
