"""An HTTP server on loopback that misbehaves on purpose, before a real server or alone."""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

_HOP = {"connection", "transfer-encoding", "keep-alive", "proxy-connection", "te", "upgrade"}


@dataclass(frozen=True)
class Seen:
    """A request as it came. `number` counts from 1; `body` is read only where there is no upstream."""

    number: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Fault:
    """What to do with a request instead of passing it on. Everything unset is as it should be.

    Attributes:
        status, headers, body: answer this at once (the request's body is read and dropped).
        delay: seconds to wait first; ends early when the proxy is closed.
        cut_request: pass on so many bytes of the request's body, then break both connections; with 0 the upstream
            hears nothing.
        cut_response: pass on so many bytes of the answer's body, then close.
        claim: with `cut_response`, what the answer says of its length: what it would have been (`whole`), what is
            passed on (`part`), or nothing, so that only the connection's end ends it (`none`).
        lose_answer: let the upstream do it, then close without a word.
        raw: send these bytes instead of an answer, head and all, then close.
        twice: let the upstream do it two times, and pass on the second answer.
        add: headers to set in the upstream's answer (None: take away).
    """

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    cut_request: int | None = None
    cut_response: int | None = None
    claim: str = "whole"
    lose_answer: bool = False
    raw: Callable[[], Iterator[bytes]] | None = None
    twice: bool = False
    add: Mapping[str, str | None] = field(default_factory=dict)


Plan = Callable[[Seen], Fault | None]


class FaultProxy:
    """`address` is `HOST:PORT`. Requests are kept in `seen`, in the order in which they came.

    The first rule that has a fault for a request decides; without one the request goes to `upstream`
    (`HOST:PORT`, with the client's Host header), or gets a 404 where there is none.

    Args:
        host: the address to listen at.
        tls: files of a certificate and its key, to speak TLS.
    """

    def __init__(
        self, upstream: str | None = None, host: str = "127.0.0.1", tls: tuple[str, str] | None = None
    ) -> None:
        self.upstream = upstream
        self.seen: list[Seen] = []
        self.raw_sent = 0
        self.closing = threading.Event()
        self._rules: list[Plan] = []
        self._lock = threading.Lock()
        self._server = _Server((host, 0), _Handler)
        self._server.proxy = self
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port: int = self._server.server_address[1]
        self.address = f"{host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def add_rule(self, plan: Plan) -> None:
        """Ask `plan` about every request."""
        self._rules.append(plan)

    def on(self, method: str, part: str, fault: Fault, *, skip: int = 0, times: int = 1) -> None:
        """Do `fault` to requests with this method (`*`: any) and `part` in their path: not to the first `skip` of
        them, then to `times` of them."""
        left = [skip, times]

        def plan(seen: Seen) -> Fault | None:
            if method not in ("*", seen.method) or part not in seen.path:
                return None
            if left[0] > 0:
                left[0] -= 1
                return None
            if left[1] <= 0:
                return None
            left[1] -= 1
            return fault

        self.add_rule(plan)

    def count(self, method: str = "*", part: str = "") -> int:
        """How many requests came with this method and `part` in their path."""
        return sum(1 for seen in self.seen if method in ("*", seen.method) and part in seen.path)

    def note(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[Seen, Fault | None]:
        with self._lock:
            seen = Seen(len(self.seen) + 1, method, path, headers, body)
            self.seen.append(seen)
            for plan in self._rules:
                fault = plan(seen)
                if fault is not None:
                    return seen, fault
        return seen, None

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    proxy: FaultProxy

    def handle_error(self, request: object, client_address: object) -> None:
        """Broken connections are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def handle_any(self) -> None:
        proxy = self.server.proxy
        headers = {key.title(): value for key, value in self.headers.items()}
        body = b"".join(self.incoming()) if proxy.upstream is None else b""
        seen, fault = proxy.note(self.command, self.path, headers, body)
        fault = fault or Fault()
        if fault.delay:
            proxy.closing.wait(fault.delay)
        if fault.cut_request == 0 or (fault.cut_request and proxy.upstream is None):
            self.reset()
        elif fault.raw is not None:
            self.close_connection = True
            for data in fault.raw():
                if proxy.closing.is_set():
                    break
                self.wfile.write(data)
                proxy.raw_sent += len(data)
        elif fault.status or proxy.upstream is None:
            if proxy.upstream is not None:
                for _ in self.incoming():
                    pass
            self.answer(fault.status or 404, fault.headers, fault.body)
        else:
            self.forward(proxy.upstream, seen, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

    def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if "Content-Length" not in headers and "Transfer-Encoding" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def forward(self, upstream: str, seen: Seen, fault: Fault) -> None:
        chunked = "chunked" in seen.headers.get("Transfer-Encoding", "")
        framed = chunked or seen.headers.get("Content-Length")
        body: Iterable[bytes] | None = self.incoming() if framed else None
        if fault.cut_request and body is not None:
            body = _first(body, fault.cut_request)
        if fault.twice:
            body = None if body is None else list(body)
            self.pass_on(upstream, seen, body, chunked, Fault(lose_answer=True))
        try:
            self.pass_on(upstream, seen, body, chunked, fault)
        except _CutError:
            self.reset()
        if fault.lose_answer:
            self.close_connection = True

    def pass_on(self, upstream: str, seen: Seen, body: Iterable[bytes] | None, chunked: bool, fault: Fault) -> None:
        host, _, port = upstream.partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        try:
            headers = {key: value for key, value in seen.headers.items() if key.lower() not in _HOP}
            if chunked:
                headers["Transfer-Encoding"] = "chunked"
            connection.request(seen.method, seen.path, body, headers, encode_chunked=chunked)
            response = connection.getresponse()
            if fault.lose_answer:
                response.read()
            else:
                self.relay(response, fault)
        finally:
            connection.close()

    def relay(self, response: http.client.HTTPResponse, fault: Fault) -> None:
        cut = fault.cut_response
        changed = {key.lower() for key in fault.add} | ({"content-length"} if fault.claim != "whole" else set())
        self.send_response(response.status)
        for key, value in response.getheaders():
            if key.lower() not in _HOP | changed | {"date", "server"}:
                self.send_header(key, value)
        for key, new in fault.add.items():
            if new is not None:
                self.send_header(key, new)
        length = response.getheader("Content-Length")
        if fault.claim == "part" and cut is not None:
            self.send_header("Content-Length", str(min(cut, int(length or 0))))
        if fault.claim == "none" or (length is None and response.status not in (204, 304)):
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        while self.command != "HEAD" and (chunk := response.read1(65536 if cut is None else min(cut, 65536))):
            self.wfile.write(chunk)
            cut = None if cut is None else cut - len(chunk)
        if cut is not None:
            self.close_connection = True

    def incoming(self) -> Iterator[bytes]:
        """The request's body."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            chunk = self.rfile.read(min(left, 65536))
            if not chunk:
                raise ConnectionError("the client went away")
            left -= len(chunk)
            yield chunk

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


class _CutError(Exception):
    """The request's body ends here."""


def _first(body: Iterable[bytes], length: int) -> Iterator[bytes]:
    for chunk in body:
        yield chunk[:length]
        length -= len(chunk)
        if length <= 0:
            break
    raise _CutError
