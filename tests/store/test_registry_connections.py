"""Connections that break, stay silent or end, and what is read and sent again."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from agent.core.image.manifest import MANIFEST
from agent.core.spelling.digest import digest_of
from agent.errors import (
    IntegrityError,
    PatienceError,
    RefusedError,
    UnavailableError,
)
from agent.store.network.retrying import Limits, Patience
from agent.store.registry.registry_store import RegistryStore
from tests.fakes.proxy import Fault, FaultProxy
from tests.store.conftest import Open, Patient, image

BIG = os.urandom(5 << 20)


def chunks_of(data: bytes, size: int = 1 << 18) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def read(store: RegistryStore, digest: str, start: int = 0, length: int | None = None) -> bytes:
    return b"".join(store.read_blob(digest, start, length))  # type: ignore[arg-type]


def test_read_goes_on_where_the_connection_broke(store: RegistryStore, proxy: FaultProxy, patient: Patient) -> None:
    digest = store.put_blob(BIG)
    proxy.on("GET", "/blobs/", Fault(cut_response=1_500_000), times=2)
    received = store.traffic.received
    assert read(store, digest) == BIG
    ranges = [seen.headers.get("Range") for seen in proxy.seen if seen.method == "GET"]
    assert ranges == [None, "bytes=1500000-", "bytes=3000000-"]
    assert store.traffic.received - received == len(BIG)
    assert len(patient.slept) == 2


def test_ranged_read_goes_on_to_its_own_end(store: RegistryStore, proxy: FaultProxy) -> None:
    digest = store.put_blob(BIG)
    proxy.on("GET", "/blobs/", Fault(cut_response=1000))
    assert read(store, digest, 5000, 100_000) == BIG[5000:105_000]
    assert [seen.headers["Range"] for seen in proxy.seen if seen.method == "GET"] == [
        "bytes=5000-104999",
        "bytes=6000-104999",
    ]


def test_read_that_makes_progress_is_not_given_up(store: RegistryStore, proxy: FaultProxy) -> None:
    digest = store.put_blob(BIG * 2)
    proxy.on("GET", "/blobs/", Fault(cut_response=1_100_000), times=9)
    assert read(store, digest) == BIG * 2


def test_read_that_makes_none_is(store: RegistryStore, proxy: FaultProxy, patient: Patient) -> None:
    digest = store.put_blob(BIG)
    proxy.on("GET", "/blobs/", Fault(cut_response=10), times=99)
    with pytest.raises(PatienceError, match="nothing moved for 2m"):
        read(store, digest)
    assert sum(patient.slept) == 120.0


def test_registry_that_ignores_ranges_is_read_from_the_start(open_at: Open, web: FaultProxy) -> None:
    web.on("GET", "/blobs/", Fault(200, body=BIG), times=9)
    store = open_at(web.address)
    assert read(store, digest_of(BIG), 3_000_001, 1_000_000) == BIG[3_000_001:4_000_001]
    assert read(store, digest_of(BIG), len(BIG) - 3) == BIG[-3:]
    assert read(store, digest_of(BIG), len(BIG) + 3) == b""


def test_another_range_than_asked_for_is_refused(open_at: Open, web: FaultProxy) -> None:
    web.on("GET", "/blobs/", Fault(206, {"Content-Range": "bytes 0-9/100"}, b"0123456789"), times=9)
    with pytest.raises(RefusedError, match="range"):
        read(open_at(web.address), digest_of(b"x"), 5, 10)


def test_more_than_asked_for_is_cut(open_at: Open, web: FaultProxy) -> None:
    web.on("GET", "/blobs/", Fault(206, {"Content-Range": "bytes 5-99/100"}, b"x" * 95))
    assert read(open_at(web.address), digest_of(b"x"), 5, 10) == b"x" * 10


@pytest.mark.parametrize("cut", [0, 100, 2_000_000])
def test_upload_begins_again_when_its_connection_breaks(
    store: RegistryStore, proxy: FaultProxy, cut: int, patient: Patient
) -> None:
    proxy.on("PATCH", "", Fault(cut_request=cut), times=2)
    runs = []

    def chunks() -> Iterator[bytes]:
        runs.append(1)
        yield from chunks_of(BIG)

    stored = store.upload(chunks)
    assert (stored.digest, stored.size, len(runs)) == (digest_of(BIG), len(BIG), 3)
    assert read(store, stored.digest) == BIG
    sessions = {seen.path for seen in proxy.seen if seen.method == "PATCH"}
    assert len(sessions) == 3


def test_broken_upload_is_cancelled(store: RegistryStore, proxy: FaultProxy) -> None:
    proxy.on("PATCH", "", Fault(503))
    store.upload(lambda: chunks_of(BIG))
    assert proxy.count("DELETE", "/blobs/uploads/") == 1


def test_upload_that_always_breaks_is_given_up(store: RegistryStore, proxy: FaultProxy, patient: Patient) -> None:
    proxy.on("PATCH", "", Fault(502), times=99)
    runs = []

    def chunks() -> Iterator[bytes]:
        runs.append(1)
        yield b"x"

    with pytest.raises(PatienceError, match=r"502.*, and nothing moved for 2m"):
        store.upload(chunks)
    assert sum(patient.slept) == 120.0
    assert 6 < len(runs) < 50


def test_upload_source_is_closed_when_its_run_breaks(store: RegistryStore, proxy: FaultProxy) -> None:
    proxy.on("PATCH", "", Fault(cut_request=1000))
    state: list[str] = []

    def chunks() -> Iterator[bytes]:
        state.append("open")
        try:
            yield from chunks_of(BIG * 3)
        finally:
            state.append("closed")

    store.upload(chunks)
    assert state == ["open", "closed", "open", "closed"]


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_upload_survives_a_lost_answer(store: RegistryStore, proxy: FaultProxy, method: str) -> None:
    proxy.on(method, "/blobs/uploads/", Fault(lose_answer=True))
    stored = store.upload(lambda: chunks_of(BIG))
    assert store.has_blob(stored.digest)
    assert proxy.count("PATCH") == 1, "what arrived is not sent again"
    proxy.on(method, "/blobs/uploads/", Fault(lose_answer=True))
    assert read(store, store.put_blob(b"small")) == b"small"


def test_lost_upload_session_is_replaced(store: RegistryStore, proxy: FaultProxy) -> None:
    unknown = b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"blob upload unknown"}]}'
    proxy.on("PATCH", "", Fault(404, body=unknown))
    proxy.on("PUT", "/blobs/", Fault(404, body=unknown))
    stored = store.upload(lambda: chunks_of(BIG))
    assert read(store, stored.digest) == BIG
    assert proxy.count("PATCH") == 3


@pytest.mark.parametrize("status", [400, 405, 411, 413, 501])
def test_registry_that_refuses_streams_gets_pieces(store: RegistryStore, proxy: FaultProxy, status: int) -> None:
    proxy.add_rule(lambda seen: Fault(status) if "chunked" in seen.headers.get("Transfer-Encoding", "") else None)
    data = BIG * 2 + b"end"
    for _ in range(2):
        stored = store.upload(lambda: chunks_of(data))
    assert (stored.digest, stored.size) == (digest_of(data), len(data))
    ranges = [seen.headers["Content-Range"] for seen in proxy.seen if "Content-Range" in seen.headers]
    assert ranges == ["0-4194303", "4194304-8388607", f"8388608-{len(data) - 1}"] * 2
    assert proxy.count("PATCH") == 7  # the refusal is remembered
    assert read(store, stored.digest) == data
    assert store.has_blob(store.upload(lambda: iter(())).digest)


def test_source_that_fails_between_pieces_is_not_tried_again(store: RegistryStore, proxy: FaultProxy) -> None:
    proxy.add_rule(lambda seen: Fault(411) if "chunked" in seen.headers.get("Transfer-Encoding", "") else None)
    store.upload(lambda: iter([b"so that it is known"]))
    failing = UnavailableError("the source is away", subject="source", remedy="wait")
    runs = []

    def chunks() -> Iterator[bytes]:
        runs.append(1)
        yield from chunks_of(BIG)
        raise failing

    with pytest.raises(UnavailableError) as caught:
        store.upload(chunks)
    assert caught.value is failing
    assert len(runs) == 1


def test_pieces_are_as_large_as_the_registry_wants(store: RegistryStore, proxy: FaultProxy) -> None:
    proxy.add_rule(lambda seen: Fault(411) if "chunked" in seen.headers.get("Transfer-Encoding", "") else None)
    proxy.on("POST", "", Fault(add={"OCI-Chunk-Min-Length": str(6 << 20)}), times=9)
    store.upload(lambda: chunks_of(BIG * 2))
    ranges = [seen.headers["Content-Range"] for seen in proxy.seen if "Content-Range" in seen.headers]
    assert ranges == [f"0-{(6 << 20) - 1}", f"{6 << 20}-{(10 << 20) - 1}"]


def test_unreachable_registry_is_a_clear_error(open_at: Open, patient: Patient) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        store = open_at(f"127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(UnavailableError, match="connection refused") as caught:
            store.get_manifest("tag")
    assert caught.value.exit_code == 21
    assert sum(patient.slept) == 120.0


def test_unknown_host_is_a_clear_error_at_once(
    open_at: Open, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # no test asks a name server
    with pytest.raises(RefusedError, match="name is not known"):
        open_at("registry.invalid", plain_http=True).get_manifest("tag")
    assert patient.slept == []


def test_silent_registry_is_given_up(open_at: Open) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        store = open_at(address, limits=Limits(connect=0.2, read=0.2), patience=Patience(0.5))
        with pytest.raises(UnavailableError, match="in time"):
            store.get_manifest("tag")


def test_silence_in_the_middle_of_a_blob_is_overcome(open_at: Open, web: FaultProxy) -> None:
    store = open_at(web.address, limits=Limits(read=0.3))
    web.on("GET", "/blobs/", Fault(206, {"Content-Range": "bytes 0-19/20", "Content-Length": "20"}, b"0123456789"))
    web.on("GET", "/blobs/", Fault(206, {"Content-Range": "bytes 0-19/20"}, b"0123456789abcdefghij"))
    assert read(store, digest_of(b"x"), 0, 20) == b"0123456789abcdefghij"
    assert web.count("GET") == 2


def test_connection_that_the_registry_closed_meanwhile_is_replaced(open_at: Open, web: FaultProxy) -> None:
    store = open_at(web.address)
    web.on("GET", "", Fault(200, {"Connection": "close"}, b'{"tags":["a"]}'), times=5)
    assert [store.tags() for _ in range(5)] == [["a"]] * 5


def test_connections_are_used_again(store: RegistryStore, proxy: FaultProxy) -> None:
    clients: set[int] = set()
    proxy.add_rule(lambda seen: clients.add(threading.get_ident()))  # a thread serves one connection
    digest = store.put_blob(BIG)
    assert store.has_blob(digest)
    store.upload(lambda: chunks_of(BIG))
    store.put_manifest("tag", image(store), MANIFEST)
    for start in range(5):
        read(store, digest, start, 1000)
    with pytest.raises(IntegrityError):
        read(store, digest_of(b"absent"))
    store.get_manifest("absent")
    assert len(clients) == 1


def test_requests_are_counted(store: RegistryStore, proxy: FaultProxy) -> None:
    proxy.on("GET", "/tags/", Fault(500), times=2)
    store.tags()
    store.upload(lambda: chunks_of(BIG))
    assert store.traffic.requests == len(proxy.seen) == 6
    assert store.traffic.sent == len(BIG)


# Mounting


def test_blob_of_the_same_registry_is_mounted(open_at: Open, proxy: FaultProxy, repository: str) -> None:
    source, target = open_at(f"{proxy.address}/{repository}/a"), open_at(f"{proxy.address}/{repository}/b")
    digest = source.put_blob(BIG)
    target.copy_blob(digest, len(BIG), source)
    assert target.traffic.sent == 0
    assert target.has_blob(digest)
    assert proxy.count("PATCH") == 0


@pytest.mark.parametrize("status", [202, 400, 404, 405])
def test_blob_that_cannot_be_mounted_is_uploaded(
    open_at: Open, proxy: FaultProxy, repository: str, status: int
) -> None:
    source, target = open_at(f"{proxy.address}/{repository}/a"), open_at(f"{proxy.address}/{repository}/b")
    digest = source.put_blob(BIG)
    if status == 202:  # a registry that does not mount begins an upload; so does this one for an absent source
        begun = target._uploads.sessions.begin()[0]
        proxy.on("POST", "mount=", Fault(202, {"Location": begun}))
    else:
        proxy.on("POST", "mount=", Fault(status))
    posts = proxy.count("POST")
    target.copy_blob(digest, len(BIG), source)
    assert read(target, digest) == BIG
    assert proxy.count("POST") - posts == (1 if status == 202 else 2)


def test_a_list_of_tags_whose_answer_breaks_is_read_again(store: RegistryStore, proxy: FaultProxy) -> None:
    store.put_manifest("tag", image(store), MANIFEST)
    proxy.on("GET", "/tags/", Fault(cut_response=5), times=2)
    assert store.tags() == ["tag"]
    assert proxy.count("GET", "/tags/") == 3
