"""A registry that wants us to wait for ever, to fill our memory, or to stumble: what bounds each answer."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.core.image.manifest import DOCKER_LIST, INDEX, MANIFEST
from agent.core.spelling.digest import digest_of
from agent.errors import AgentError, IntegrityError, RefusedError, UnavailableError, UnsupportedError
from agent.store.login.challenge import parse_challenges
from agent.store.network.retrying import Limits, Patience, Timing
from agent.store.registry.registry_store import RegistryStore
from agent.sync.remote.resolved_image import read_image, read_small_blob
from tests.fakes.hostile import CHUNKED, OK, drip, endless, sends
from tests.fakes.proxy import Fault, FaultProxy
from tests.store.conftest import Open, Patient, make_certificate
from tests.store.test_registry_auth import logged_in

LIMITS = Limits(connect=2.0, read=0.15, least=0.15)
ANY = digest_of(b"any")
LONG = 1_000_000
"""So long that what takes the square of it would take hours."""
MANY = 32 << 20
"""Bytes. More than a hostile server may get rid of, with what buffers on the way take: a bound is far below."""

Call = Callable[[RegistryStore], object]
CALLS: dict[str, Call] = {
    "manifest": lambda store: store.get_manifest("tag"),
    "tags": lambda store: store.tags(),
    "head": lambda store: store.has_blob(ANY),
    "blob": lambda store: b"".join(store.read_blob(ANY, 0, 1000)),
    "range": lambda store: b"".join(store.read_blob(ANY, 1000, 1000)),
    "config": lambda store: read_small_blob(store, ANY, 1000),
    "upload": lambda store: store.upload(lambda: iter([b"data"])),
    "put": lambda store: store.put_manifest("tag", b"{}", MANIFEST),
    "delete": lambda store: store.delete_manifest(ANY),
}


def hurried() -> dict[str, Any]:
    """Return options of a store that is patient for one pause, so that it tries twice."""
    return {"limits": LIMITS, "patience": Patience(0.4, Timing(sleep=lambda seconds: time.sleep(0.4)))}


def ends(call: Call, store: RegistryStore) -> AgentError | None:
    """Run a call, which must end; return the declared error with which it does, if it does."""
    error = None
    try:
        call(store)
    except AgentError as caught:
        error = caught
        assert str(caught).isprintable() and len(str(caught)) < 1000
        assert caught.exit_code in (20, 21, 30)
    return error


# Time: each of these would last for ever, since no single silence is long

DRIPS = {
    "status line": sends(then=drip(b"HTTP/1.1 200 OK and more of it")),
    "header": sends(OK, b"X-Long: ", then=drip(b"x")),
    "headers": sends(OK, then=drip(b"X: y\r\n")),
    "interim answers": sends(then=drip(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "body": sends(OK, b"Content-Length: 1000\r\n\r\n", then=drip(b" ")),
    "body without length": sends(OK, b"\r\n", then=drip(b" ")),
    "chunks": sends(OK, CHUNKED, then=drip(b"1\r\n \r\n")),
    "chunk size": sends(OK, CHUNKED, then=drip(b"0")),
    "chunk extensions": sends(OK, CHUNKED, then=drip(b"1;" + b"x" * 50 + b"\r\n \r\n")),
    "trailers": sends(OK, CHUNKED, b"2\r\n{}\r\n0\r\n", then=drip(b"X: y\r\n")),
    "refusal": sends(b"HTTP/1.1 400 No\r\nContent-Length: 60000\r\n\r\n", then=drip(b"x")),
    "failure": sends(b"HTTP/1.1 500 No\r\nContent-Length: 60000\r\n\r\n", then=drip(b"x")),
}


@pytest.mark.sweep(5)
@pytest.mark.parametrize("call", ["manifest", "blob", "put"])
@pytest.mark.parametrize("name", DRIPS)
def test_answer_that_drips_is_given_up(open_at: Open, web: FaultProxy, name: str, call: str) -> None:
    web.on("*", "", DRIPS[name], times=99)
    ends(CALLS[call], open_at(web.address, **hurried()))


@pytest.mark.parametrize("call", CALLS)
def test_every_call_gives_up_an_answer_whose_head_drips(open_at: Open, web: FaultProxy, call: str) -> None:
    web.on("*", "", DRIPS["headers"], times=99)
    assert isinstance(ends(CALLS[call], open_at(web.address, **hurried())), UnavailableError)


@pytest.mark.parametrize("name", ["headers", "body", "refusal"])
def test_token_server_that_drips_is_given_up(open_at: Open, web: FaultProxy, tmp_path: Path, name: str) -> None:
    realm = f'Bearer realm="http://{web.address}/token",service="x"'
    web.on("*", "/token", DRIPS[name], times=99)
    web.on("*", "/v2/", Fault(401, {"WWW-Authenticate": realm}), times=99)
    store = open_at(web.address, **hurried(), environ=logged_in(tmp_path, web.address))
    assert ends(CALLS["tags"], store) is not None


def test_tls_that_drips_is_given_up(open_at: Open, tmp_path: Path) -> None:
    certificate, _ = make_certificate(tmp_path, "IP:127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def shake_hands() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with suppress(OSError), connection:
                        connection.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03")  # most of it is to come
                        for data in drip(b"\0")():
                            connection.sendall(data)

        thread = threading.Thread(target=shake_hands, daemon=True)
        thread.start()
        options = {**hurried(), "limits": LIMITS._replace(connect=0.15)}
        store = open_at(f"127.0.0.1:{listening.getsockname()[1]}", ca_file=certificate, **options)
        assert isinstance(ends(CALLS["tags"], store), UnavailableError)
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_blob_that_keeps_the_pace_may_take_longer_than_any_limit(open_at: Open, web: FaultProxy) -> None:
    data = bytes(400_000)
    head = OK + b"Content-Length: %d\r\n\r\n" % len(data)
    web.on("GET", "/blobs/", sends(head, then=_pieces(data, 40_000, 0.04)))
    began = time.monotonic()
    assert b"".join(open_at(web.address, **hurried()).read_blob(ANY)) == data
    assert time.monotonic() - began > 2 * LIMITS.read
    assert web.count() == 1


def test_reader_may_be_as_slow_as_it_likes(open_at: Open, web: FaultProxy) -> None:
    data = bytes(2 << 20)
    web.on("GET", "/blobs/", Fault(200, body=data))
    found = bytearray()
    for chunk in open_at(web.address, **hurried()).read_blob(ANY):
        found += chunk
        time.sleep(0.1)
    assert found == data
    assert web.count() == 1


def test_upload_that_nobody_reads_is_given_up(open_at: Open, web: FaultProxy) -> None:
    web.on("POST", "", Fault(202, {"Location": "/up"}), times=9)
    web.on("PATCH", "", Fault(delay=30), times=9)
    web.upstream = "127.0.0.1:1"  # so that it does not read what it is sent
    error = ends(lambda store: store.upload(lambda: iter([bytes(1 << 20)] * 64)), open_at(web.address, **hurried()))
    assert isinstance(error, UnavailableError)


def _pieces(data: bytes, size: int, pause: float) -> Any:
    for at in range(0, len(data), size):
        time.sleep(pause)
        yield data[at : at + size]


# Size

FLOODS = {
    "status line": sends(then=endless(b"HTTP/1.1 ")),
    "header": sends(OK, b"X-Long: ", then=endless(b"x")),
    "headers": sends(OK, then=endless(b"X: y\r\n")),
    "interim answers": sends(then=endless(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "body": sends(OK, b"Content-Length: 99999999999\r\n\r\n", then=endless(b" ")),
    "body without length": sends(OK, b"\r\n", then=endless(b" ")),
    "chunks": sends(OK, CHUNKED, then=endless(b"1000\r\n" + b" " * 4096 + b"\r\n")),
    "chunk size": sends(OK, CHUNKED, then=endless(b"0")),
    "chunk extensions": sends(OK, CHUNKED, then=endless(b"1;" + b"x" * 50_000 + b"\r\n \r\n")),
    "trailers": sends(OK, CHUNKED, b"2\r\n{}\r\n0\r\n", then=endless(b"X: y\r\n")),
    "refusal": sends(b"HTTP/1.1 400 No\r\n\r\n", then=endless(b"x")),
    "failure": sends(b"HTTP/1.1 500 No\r\n\r\n", then=endless(b"x")),
}


@pytest.mark.parametrize("call", ["manifest", "config", "put", "head"])
@pytest.mark.parametrize("name", FLOODS)
def test_answer_without_end_is_not_read_to_it(open_at: Open, web: FaultProxy, name: str, call: str) -> None:
    web.on("*", "", FLOODS[name], times=99)
    ends(CALLS[call], open_at(web.address, **hurried()))
    assert web.raw_sent < MANY


@pytest.mark.parametrize("name", ["body", "chunks", "trailers"])
def test_whole_blob_ends_where_its_reader_stops(open_at: Open, web: FaultProxy, name: str) -> None:
    web.on("GET", "/blobs/", FLOODS[name], times=99)

    def read(store: RegistryStore) -> None:
        size = 0
        for chunk in store.read_blob(ANY):
            size += len(chunk)
            if size > 1 << 20:
                break

    ends(read, open_at(web.address, **hurried()))
    assert web.raw_sent < MANY


def test_list_of_tags_has_an_end(open_at: Open, web: FaultProxy) -> None:
    page = json.dumps({"tags": [f"{n:0100}" for n in range(80_000)]}).encode()
    web.add_rule(lambda seen: Fault(200, {"Link": f'</v2/x/tags/list?last={seen.number}>; rel="next"'}, page))
    assert isinstance(ends(CALLS["tags"], open_at(web.address)), RefusedError)
    assert web.count() <= 5


def test_list_of_tags_that_takes_its_time_has_an_end(open_at: Open, web: FaultProxy, patient: Patient) -> None:
    def page(seen: object) -> Fault:
        patient.now += 50  # and so it takes hours
        link = f'</v2/x/tags/list?last={web.count()}>; rel="next"'
        return Fault(200, {"Link": link}, b'{"tags":["t%d"]}' % web.count())

    web.add_rule(page)
    assert isinstance(ends(CALLS["tags"], open_at(web.address)), RefusedError)
    assert web.count() < 20


def test_compressed_answer_is_not_expanded(open_at: Open, web: FaultProxy) -> None:
    import gzip

    bomb = gzip.compress(bytes(64 << 20))
    web.on("GET", "", Fault(200, {"Content-Encoding": "gzip", "Content-Type": MANIFEST}, bomb), times=9)
    found = open_at(web.address).get_manifest("tag")
    assert found is not None and found.data == bomb
    assert web.seen[0].headers["Accept-Encoding"] == "identity"


# Stumbling blocks: numbers, headers, what comes after an answer


@pytest.mark.sweep(4)
@pytest.mark.parametrize(
    "value", ["9" * 5000, "-1", "1e9", "0x10", "\u00b2", "", "bytes */5", "bytes " + "9" * 5000 + "-", "bytes \u0661-"]
)
@pytest.mark.parametrize(
    "header", ["Content-Range", "OCI-Chunk-Min-Length", "Retry-After", "Content-Length", "Docker-Content-Digest"]
)
def test_number_that_is_none_does_not_trip_us(open_at: Open, web: FaultProxy, header: str, value: str) -> None:
    line = f"{header}: {value}\r\n".encode("latin-1", "ignore")
    for status in (b"206 Partial", b"202 Accepted", b"429 Slow", b"200 OK"):
        web.on("*", "", sends(b"HTTP/1.1 ", status, b"\r\nLocation: /up\r\n", line, b"\r\n{}"), times=3)
        for call in ("range", "upload", "manifest", "put"):
            ends(CALLS[call], open_at(web.address, **hurried()))


def test_retry_after_a_million_seconds_is_not_waited_for(open_at: Open, web: FaultProxy, patient: Patient) -> None:
    web.on("*", "", Fault(429, {"Retry-After": "1000000"}), times=9)
    assert isinstance(ends(CALLS["tags"], open_at(web.address)), UnavailableError)
    assert patient.slept == []


@pytest.mark.parametrize("value", ["1" + "0" * 400, "Infinity", "NaN", "-5", "1e400", "true", '"x"', "[]"])
def test_token_may_claim_any_lifetime(open_at: Open, web: FaultProxy, value: str) -> None:
    realm = f'Bearer realm="http://{web.address}/token"'
    web.on("GET", "/token", Fault(200, body=b'{"token":"t","expires_in":%b}' % value.encode()), times=9)
    web.add_rule(
        lambda seen: (
            Fault(401, {"WWW-Authenticate": realm})
            if "Authorization" not in seen.headers
            else Fault(200, body=b'{"tags":["a"]}')
        )
    )
    assert open_at(web.address).tags() == ["a"]


@pytest.mark.parametrize("shape", ["<", "<>;", "<a>;x", "<a>; rel", " ", ",", "<a>;" + " " * 100])
def test_long_link_is_read_in_bounded_time(open_at: Open, web: FaultProxy, shape: str) -> None:
    line = b"Link: <x>" + shape.encode() * (60_000 // len(shape)) + b"\r\n"
    web.on("GET", "", sends(OK, line * 3, b'Content-Length: 14\r\n\r\n{"tags":["a"]}'), times=9)
    ends(CALLS["tags"], open_at(web.address))


@pytest.mark.sweep(4)
@pytest.mark.parametrize("shape", [" ", ",", ", ", "a ", "a=", 'a="\\', "a= ", "Basic ", "a,", "=", '"'])
def test_long_challenge_is_read_in_bounded_time(shape: str) -> None:
    parse_challenges("Bearer " + shape * (LONG // len(shape)))
    parse_challenges(shape * (LONG // len(shape)) + "\x00")


@pytest.mark.sweep(3)
@pytest.mark.parametrize("char", ["\x00", "\x1b[31m", "\x0b", "\r", "\r\n ", "\x85", "\xff"])
@pytest.mark.parametrize("header", ["Location", "WWW-Authenticate", "Link", "Content-Type"])
def test_control_characters_in_headers_end_in_a_clean_error(
    open_at: Open, web: FaultProxy, tmp_path: Path, header: str, char: str
) -> None:
    values = {
        "Location": f"/a{char}b\r\n X-Evil: 1",
        "WWW-Authenticate": f'Bearer realm="http://{web.address}/t{char}",service="a{char}b\r\n X-Evil: 1"',
        "Link": f'</v2/{char}>; rel="next"',
        "Content-Type": f"text/{char}html",
    }
    line = f"{header}: {values[header]}\r\n".encode("latin-1")
    for status in (b"401 No", b"307 There", b"200 OK", b"202 Up"):
        web.on("*", "", sends(b"HTTP/1.1 ", status, b"\r\n", line, b"Content-Length: 2\r\n\r\n{}"), times=2)
        for call in ("tags", "upload", "manifest"):
            ends(CALLS[call], open_at(web.address, **hurried(), environ=logged_in(tmp_path, web.address)))
    assert not [seen for seen in web.seen if "X-Evil" in seen.headers]


def test_what_follows_an_answer_is_not_taken_for_the_next(open_at: Open, web: FaultProxy) -> None:
    store = open_at(web.address, **hurried())
    forged = OK + b'Content-Length: 19\r\n\r\n{"tags":["forged"]}'
    for _ in range(20):
        web.on("GET", "/tags/", sends(OK, b'Content-Length: 14\r\n\r\n{"tags":["a"]}', forged))
        assert store.tags() == ["a"]


def test_a_range_past_the_end_is_not_read(open_at: Open, web: FaultProxy) -> None:
    """One that claims the length of the blob, as distribution 2.8 does, would be waited for."""
    head = b"HTTP/1.1 416 No\r\nContent-Length: 99999999\r\n\r\n{}"
    web.on("GET", "/blobs/", sends(head, then=drip(b" ", 0.5)), times=9)
    store = open_at(web.address, limits=LIMITS._replace(read=1_000.0))
    assert b"".join(store.read_blob(ANY, 5)) == b""
    assert web.count() == 1


def test_cookies_are_not_kept(open_at: Open, web: FaultProxy) -> None:
    web.on("*", "", Fault(200, {"Set-Cookie": "id=1; Path=/"}, b'{"tags":[]}'), times=9)
    store = open_at(web.address)
    store.tags()
    store.tags()
    assert [seen.headers.get("Cookie") for seen in web.seen] == [None, None]


# Manifests that are two things


BOTH = {"schemaVersion": 2, "manifests": [], "layers": [], "config": {"digest": ANY, "size": 2}}
IMAGE = {"schemaVersion": 2, "layers": [], "config": {"digest": ANY, "size": 2}}
LIST = {"schemaVersion": 2, "manifests": [{"digest": ANY, "size": 2}]}


@pytest.mark.parametrize("says", [None, MANIFEST, INDEX])
@pytest.mark.parametrize(
    ("value", "kind"),
    [(BOTH, MANIFEST), (BOTH, INDEX), (BOTH, ""), (IMAGE, INDEX), (IMAGE, DOCKER_LIST), (LIST, MANIFEST)],
)
def test_manifest_that_is_an_index_to_some_is_refused(
    open_at: Open, web: FaultProxy, value: dict[str, Any], kind: str, says: str | None
) -> None:
    body = json.dumps({**value, "mediaType": says} if says else value).encode()
    web.on("GET", "", Fault(200, {"Content-Type": kind}, body), times=9)
    with pytest.raises(IntegrityError):
        open_at(web.address).get_manifest("tag")


@pytest.mark.parametrize(
    "kind", ["application/vnd.docker.distribution.manifest.v1+prettyjws", "application/vnd.cncf.artifact+json", "x"]
)
def test_unknown_kind_of_manifest_is_no_image(open_at: Open, web: FaultProxy, kind: str) -> None:
    body = json.dumps({**IMAGE, "mediaType": kind}).encode()
    web.on("GET", "", Fault(200, {"Content-Type": kind}, body), times=9)
    with pytest.raises(IntegrityError if kind == "x" else UnsupportedError, match="media type"):
        read_image(open_at(web.address), "tag", ("linux", "amd64", ""), "x")


@pytest.mark.parametrize("digest", ["sha256:../../x", "sha256:" + "A" * 64, "md5:" + "a" * 32, f"{ANY}\n", 5, None])
def test_digest_that_is_none_is_never_asked_for(open_at: Open, web: FaultProxy, digest: Any) -> None:
    config = {"digest": digest, "size": 2, "mediaType": "application/json"}
    index = {"manifests": [{"digest": digest, "platform": {"os": "linux", "architecture": "amd64"}}]}
    for value, kind in (({**IMAGE, "config": config}, MANIFEST), (index, INDEX)):
        web.on("GET", "", Fault(200, {"Content-Type": kind}, json.dumps(value).encode()))
        with pytest.raises(IntegrityError):
            read_image(open_at(web.address), "tag", ("linux", "amd64", ""), "x")
    assert {seen.path.rpartition("/")[2] for seen in web.seen} == {"tag"}
