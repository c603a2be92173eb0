"""HTTP connections with limits on time, memory and address, whatever the server sends.

`requests` and `urllib3` limit the silence between two pieces of a response, not the response. Here the whole wait for
the head of a response is limited, and `PACE` bytes of the body must arrive in the same time, so that a byte now and
then does not count. Everything else, such as status lines, headers, interim responses, chunk sizes and trailers, may
exceed the content by `FRAMING_MAX` bytes at most.
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
"""Bytes of content that must arrive within `Limits.read` seconds."""
FRAMING_MAX = 256 << 10
LINE_MAX = 64 << 10
_CONNECTIONS = 16
_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4))
"""Seconds of silence before the first keep-alive probe, seconds between probes, and the number of probes without reply:
a host that disappeared is noticed long before patience ends."""

# Its log has addresses with their queries, which can be secrets, and tracebacks about malformed headers.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)

CheckPeer = Callable[[str, int, str], None]
"""(host, port, address) of a connection that has sent nothing yet; raises RefusedError if it must not be used."""


class BoundedAdapter(HTTPAdapter):
    """Sends requests over bounded connections. Safe for several threads.

    Args:
        check_peer: called for each new connection, except those to a proxy.
        context: the TLS context, instead of a bundle that is read for every connection; None for plain HTTP only.
    """

    def __init__(self, check_peer: CheckPeer, context: ssl.SSLContext | None = None) -> None:
        self._check_peer = check_peer
        self._tls: dict[str, Any] = {"ssl_context": context} if context else {}
        super().__init__(pool_maxsize=_CONNECTIONS)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        """See `HTTPAdapter`."""
        super().init_poolmanager(connections, maxsize, block, socket_options=_socket_options(), **self._tls, **kwargs)
        self._use_own_connections(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """See `HTTPAdapter`."""
        return self._use_own_connections(
            super().proxy_manager_for(proxy, socket_options=_socket_options(), **self._tls, **kwargs)
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
    keepalive = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    keepalive += [
        (socket.IPPROTO_TCP, getattr(socket, name), number) for name, number in _KEEPALIVE if hasattr(socket, name)
    ]
    return [*HTTPConnection.default_socket_options, *keepalive]


class _PacedReader(io.RawIOBase):
    """A socket's bytes, read within its timeout in all (RFC 9112 sets no limit)."""

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
            self._left -= time.monotonic() - began  # the consumer of the bytes may take any time
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


class _LineReader(io.BufferedReader):
    """The same, buffered. HTTP's framing is read as lines and content is not, so lines are counted as framing."""

    def __init__(self, paced: _PacedReader) -> None:
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
    _Base = HTTPConnection
else:
    _Base = object


class _BoundedConnection(_Base):
    def __init__(self, *args: Any, check_peer: CheckPeer, **kwargs: Any) -> None:
        self._check_peer = check_peer
        self._paced: _PacedReader | None = None
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
        self._paced = _PacedReader(response.fp.detach(), sock)
        response.fp = _LineReader(self._paced)
        return response

    def getresponse(self) -> Any:
        response = super().getresponse()
        if self._paced is not None:
            self._paced.renew()
        return response


class _PlainConnection(_BoundedConnection, HTTPConnection):
    pass


class _TlsConnection(_BoundedConnection, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
