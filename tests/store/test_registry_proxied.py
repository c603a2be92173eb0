"""A registry behind proxies and before object stores: names that are not its own, sizes, redirects that are enough."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.core.image.manifest import MANIFEST
from agent.core.spelling.digest import Digest, digest_of
from agent.errors import AgentError, AuthError, RefusedError
from agent.store.registry.registry_store import RegistryStore
from agent.store.registry.upload import CHUNK_SIZES
from tests.fakes.proxy import Fault, FaultProxy, Seen
from tests.fakes.secrets import holds_secret, secret
from tests.store.conftest import Open, image
from tests.store.test_registry_auth import basic, logged_in

PASSWORD = secret("password")
BIG = os.urandom(3 << 20)
NAMES: dict[str, Callable[[str, str], str]] = {
    "as it is": lambda host, path: f"http://{host}{path}",
    "relative": lambda host, path: path,
    "without scheme": lambda host, path: f"//{host}{path}",
    "without slashes": lambda host, path: f"{host}{path}",
    "https": lambda host, path: f"https://{host}{path}",
    "without port": lambda host, path: f"http://{host.partition(':')[0]}{path}",
    "another port": lambda host, path: f"http://{host.partition(':')[0]}:1{path}",
    "a host inside": lambda host, path: f"http://registry.invalid:5000{path}",
    "https of a host inside": lambda host, path: f"https://registry.invalid{path}",
    "a prefix": lambda host, path: f"/registry{path}",
    "a prefix of a host inside": lambda host, path: f"http://registry.invalid/registry{path}",
    "less of a prefix": lambda host, path: f"http://registry.invalid{path.replace('/v2/team/', '/v2/')}",
    "the last part": lambda host, path: path.rpartition("/")[2],
}


class Renaming(FaultProxy):
    """A registry of one upload at a time, that calls its uploads by names of its own; `blobs` are what it got."""

    def __init__(self, name: Callable[[str, str], str]) -> None:
        super().__init__()
        self.blobs: dict[str, bytes] = {}
        self.data = b""
        self.steps = 0
        self.name = name
        self.add_rule(self.answer)

    def answer(self, seen: Seen) -> Fault | None:
        if "Authorization" not in seen.headers:
            return Fault(401, {"WWW-Authenticate": 'Basic realm="x"'})
        path = "/v2/team/ws/blobs/uploads/"
        if not seen.path.startswith(path):
            return None
        self.steps += 1
        location = {"Location": self.name(self.address, f"{path}u-{self.steps}") + f"?_state=a%2Bb{self.steps}"}
        if seen.method == "POST":
            self.data = b""
            return Fault(202, location)
        if not seen.path.startswith(f"{path}u-{self.steps - 1}?_state=a%2Bb{self.steps - 1}"):
            return Fault(404)
        self.data += seen.body
        if seen.method == "PATCH":
            return Fault(202, location)
        self.blobs[digest_of(self.data)] = self.data
        return Fault(201)


@pytest.mark.parametrize("name", NAMES)
def test_an_upload_goes_on_where_it_began(open_at: Open, tmp_path: Path, name: str) -> None:
    with Renaming(NAMES[name]) as web:
        environ = logged_in(tmp_path, web.address, auth=basic(password=PASSWORD))
        store = open_at(f"{web.address}/team/ws", environ=environ)
        stored = store.upload(lambda: iter([b"some ", b"data"]))
        assert web.blobs == {stored.digest: b"some data"}
        digest = store.put_blob(b"more", new=True)
        assert web.blobs[digest] == b"more"
        assert store.probe("stream", "").works and store.probe("whole", "").works


def test_an_upload_without_location_is_known_by_its_number(open_at: Open, web: FaultProxy) -> None:
    web.on("POST", "", Fault(202, {"Docker-Upload-UUID": "u/1"}))
    web.on("PUT", "/blobs/uploads/u%2F1?digest=", Fault(201))
    open_at(web.address).put_blob(b"data", new=True)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_success_is_one(open_at: Open, web: FaultProxy, status: int) -> None:
    web.on("POST", "", Fault(status, {"Location": "/up"}), times=9)
    web.on("PATCH", "", Fault(status), times=9)
    web.on("PUT", "", Fault(status), times=9)
    # What such an answer claims is believed after a look.
    web.on("HEAD", "", Fault(200), times=9)
    web.on("GET", "/manifests/", Fault(200, {"Content-Type": MANIFEST}, b"{}"), times=9)
    store = open_at(web.address)
    store.put_blob(b"data", new=True)
    assert store.upload(lambda: iter([b"data"])).digest == digest_of(b"data")
    store.put_manifest("tag", b"{}", MANIFEST)


# What something on the way does not let through


@pytest.mark.parametrize("most", [CHUNK_SIZES[0], 2 << 20, CHUNK_SIZES[1], 300 << 10, CHUNK_SIZES[2]])
def test_what_is_too_large_for_a_proxy_goes_up_in_pieces(store: RegistryStore, proxy: FaultProxy, most: int) -> None:
    def limit(seen: Seen) -> Fault | None:
        length = seen.headers.get("Content-Length")
        chunked = "Transfer-Encoding" in seen.headers
        page = b"<html><head><title>413 Request Entity Too Large</title></head></html>"
        is_much = chunked or int(length or 0) > most
        return Fault(413, {"Content-Type": "text/html"}, page) if is_much else None

    proxy.add_rule(limit)
    digest = store.put_blob(BIG)
    assert b"".join(store.read_blob(digest)) == BIG
    stored = store.upload(lambda: (BIG[at : at + 100_000] for at in range(0, len(BIG), 100_000)))
    assert stored.digest == digest
    data = BIG + BIG + b"more"
    assert store.upload(lambda: iter([data])).digest == digest_of(data)
    before = len(proxy.seen)
    store.put_blob(BIG[1:], new=True)
    largest = max(int(seen.headers.get("Content-Length", 0)) for seen in proxy.seen[before:])
    assert largest <= most, "the limit is remembered"


def test_a_proxy_that_lets_next_to_nothing_through_is_named(store: RegistryStore, proxy: FaultProxy) -> None:
    proxy.add_rule(lambda seen: Fault(413) if seen.method in ("PUT", "PATCH") else None)
    for call in (lambda: store.put_blob(BIG), lambda: store.upload(lambda: iter([BIG])), lambda: store.put_blob(b"x")):
        with pytest.raises(RefusedError, match=r"413.*limit"):
            call()


# Where a blob is


@pytest.fixture
def storage() -> Iterator[FaultProxy]:
    """An object store whose addresses are signed for GET."""
    with FaultProxy(host="127.0.0.2") as running:
        running.add_rule(lambda seen: None if seen.method == "GET" else Fault(403, {}, b"<Error>Signature</Error>"))
        yield running


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_a_storage_is_a_yes(
    open_at: Open, web: FaultProxy, storage: FaultProxy, tmp_path: Path, status: int
) -> None:
    web.on("*", "/blobs/", Fault(status, {"Location": f"http://{storage.address}/s3?signature=x"}), times=9)
    store = open_at(web.address, environ=logged_in(tmp_path, web.address, auth=basic(password=PASSWORD)))
    assert store.has_blob(digest_of(b"data"))
    assert storage.count("GET") == 0
    assert not holds_secret(repr(storage.seen))


def test_a_registry_that_moved_is_asked_where_it_is(open_at: Open, web: FaultProxy) -> None:
    with FaultProxy(host="127.0.0.2") as moved:
        for status in (301, 307, 308):
            web.on(
                "*", "/blobs/", Fault(status, {"Location": f"http://{moved.address}/v2/x/y/blobs/sha256:{'0' * 64}"})
            )
            assert not open_at(f"{web.address}/x/y").has_blob(Digest(f"sha256:{'0' * 64}"))
        assert moved.count("HEAD") == 3


@pytest.mark.parametrize("head", [400, 403, 405, 406, 501])
@pytest.mark.parametrize(("get", "there"), [(200, True), (206, True), (416, True), (307, True), (404, False)])
def test_where_head_is_no_way_to_ask_the_first_byte_tells(
    open_at: Open, web: FaultProxy, head: int, get: int, there: bool
) -> None:
    web.on("HEAD", "/blobs/", Fault(head), times=9)
    web.on("GET", "/blobs/", Fault(get, {"Location": "http://127.0.0.2:1/s3"}, b"d"), times=9)
    assert open_at(web.address).has_blob(digest_of(b"data")) is there
    assert web.seen[-1].headers["Range"] == "bytes=0-0"


@pytest.mark.parametrize("status", [200, 201, 202, 203, 204, 206])
def test_every_yes_is_a_yes(open_at: Open, web: FaultProxy, status: int) -> None:
    web.on("HEAD", "/blobs/", Fault(status))
    assert open_at(web.address).has_blob(digest_of(b"data"))
    assert web.count() == 1


def test_a_denial_stays_one(open_at: Open, web: FaultProxy) -> None:
    web.add_rule(lambda seen: Fault(403, {}, b'{"errors":[{"code":"DENIED","message":"no rights"}]}'))
    with pytest.raises(AuthError, match="no rights"):
        open_at(web.address).has_blob(digest_of(b"data"))


@pytest.mark.parametrize("status", [200, 204])
def test_a_mount_that_did_nothing_is_no_mount(open_at: Open, proxy: FaultProxy, repository: str, status: int) -> None:
    source, target = open_at(f"{proxy.address}/{repository}/a"), open_at(f"{proxy.address}/{repository}/b")
    digest = source.put_blob(BIG)
    proxy.on("POST", "mount=", Fault(status))
    target.copy_blob(digest, len(BIG), source)
    assert target.has_blob(digest)


def test_a_manifest_is_read_whoever_passes_it_on(open_at: Open, web: FaultProxy, proxy: FaultProxy) -> None:
    data = image(open_at(proxy.address))
    web.on("GET", "", Fault(203, {"Content-Type": MANIFEST}, data))
    found = open_at(web.address).get_manifest("tag")
    assert found is not None and found.data == data


def test_a_login_page_is_no_manifest(open_at: Open, web: FaultProxy) -> None:
    page = b"<html><head><title>Sign in</title></head></html>"
    web.on("GET", "/v2/", Fault(302, {"Location": "/login"}))
    web.on("GET", "/login", Fault(200, {"Content-Type": "text/html"}, page))
    with pytest.raises(AgentError, match=r"page for people \(Sign in\)"):
        open_at(web.address).get_manifest("tag")


PAGE = (404, {"Content-Type": "text/html; charset=utf-8"}, b"<html><head><title>404 Not Found</title></head></html>")


@pytest.mark.parametrize("login", [False, True])
def test_a_registry_whose_proxy_writes_pages_is_one(
    open_at: Open, proxy: FaultProxy, tmp_path: Path, login: bool
) -> None:
    """The status counts, since the registry's own address tells that it is one."""
    environ = logged_in(tmp_path, proxy.address, auth=basic(password=PASSWORD)) if login else {}
    store = open_at(proxy.address, environ=environ)
    if login:
        proxy.add_rule(
            lambda seen: (
                None if "Authorization" in seen.headers else Fault(401, {"WWW-Authenticate": 'Basic realm="x"'})
            )
        )
    proxy.on("GET", "/manifests/absent", Fault(*PAGE), times=2)
    proxy.on("GET", "/tags/", Fault(*PAGE))
    proxy.on("HEAD", "/blobs/", Fault(*PAGE))
    assert store.get_manifest("absent") is None and store.get_manifest("absent") is None
    assert store.tags() == []
    assert not store.has_blob(digest_of(b"absent"))
    assert proxy.count("GET", "/v2/") - proxy.count("GET", "/v2/s") == 1, "it is asked once"
    store.put_manifest("tag", image(store), MANIFEST)
    assert store.get_manifest("tag") is not None


@pytest.mark.parametrize("root", [Fault(*PAGE), Fault(200, {"Content-Type": "text/html"}, b"<html>"), Fault(404)])
def test_a_web_server_is_none(open_at: Open, web: FaultProxy, root: Fault) -> None:
    web.add_rule(lambda seen: root if seen.path == "/v2/" else Fault(*PAGE))
    for call in (lambda store: store.get_manifest("tag"), lambda store: store.tags()):
        with pytest.raises(RefusedError, match="no registry"):
            call(open_at(web.address))
