"""What the network and the registry do wrong, and what the store makes of it."""

from __future__ import annotations

import os
from email.utils import formatdate

import pytest

from agent.core.image.manifest import INDEX, MANIFEST
from agent.core.spelling.digest import digest_of
from agent.errors import (
    AuthError,
    IntegrityError,
    MissingBlobError,
    PatienceError,
    RefusedError,
    TagRefusedError,
    UnavailableError,
)
from agent.store.network.retry_after import retry_after
from agent.store.network.retrying import Patience, Timing
from agent.store.port import Deleted
from agent.store.registry.manifest_verifier import PAUSES
from agent.store.registry.registry_store import RegistryStore
from tests.fakes.proxy import Fault, FaultProxy
from tests.store.conftest import Open, Patient, image

BIG = os.urandom(5 << 20)


# Statuses


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_failure_is_tried_again(store: RegistryStore, proxy: FaultProxy, patient: Patient, status: int) -> None:
    store.put_manifest("tag", image(store), MANIFEST)
    proxy.on("GET", "/manifests/", Fault(status), times=3)
    assert store.get_manifest("tag") is not None
    assert patient.slept == [0.25, 0.5, 1.0]


def test_lasting_failure_ends_when_the_patience_is_spent(
    store: RegistryStore, proxy: FaultProxy, patient: Patient
) -> None:
    proxy.on(
        "GET", "/manifests/", Fault(503, body=b'{"errors":[{"code":"UNAVAILABLE","message":"gone home"}]}'), times=99
    )
    with pytest.raises(PatienceError, match=r"503 \(gone home\), and nothing moved for 2m") as caught:
        store.get_manifest("tag")
    assert caught.value.exit_code == 21
    assert patient.slept[:6] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0]
    assert sum(patient.slept) == 120.0


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("0", 0.0), (formatdate(1_700_000_033, usegmt=True), 0.0), ("soon", 0.25)]
)
def test_retry_after_is_honoured(
    store: RegistryStore, proxy: FaultProxy, patient: Patient, header: str, seconds: float
) -> None:
    proxy.on("GET", "/tags/", Fault(429, {"Retry-After": header}))
    assert store.tags() == []
    assert patient.slept == [seconds]


@pytest.mark.parametrize("says_when", [True, False])
def test_a_date_to_try_again_counts_from_the_date_of_the_answer(says_when: bool) -> None:
    """Else a machine whose clock is an hour behind would wait an hour, or give up at once."""
    headers = {"Retry-After": formatdate(1_700_000_033, usegmt=True)}
    headers |= {"Date": formatdate(1_700_000_003, usegmt=True)} if says_when else {}
    timing = Timing(wall=lambda: 1_700_000_000.0)
    assert retry_after(headers, timing) == (30.0 if says_when else 33.0)


def test_retry_after_beyond_patience_is_an_error_that_says_so(
    store: RegistryStore, proxy: FaultProxy, patient: Patient
) -> None:
    proxy.on("GET", "/tags/", Fault(429, {"Retry-After": "3600"}))
    with pytest.raises(PatienceError, match="3600 s"):
        store.tags()
    assert patient.slept == []


def test_jitter_never_waits_longer_than_the_backoff(open_at: Open, proxy: FaultProxy, patient: Patient) -> None:

    patience = Patience(timing=patient.timing._replace(jitter=lambda: 0.0))
    store = open_at(proxy.address, patience=patience)
    proxy.on("GET", "/tags/", Fault(500), times=2)
    store.tags()
    assert patient.slept == [0.125, 0.25]


def test_put_of_a_manifest_whose_answer_is_lost_is_repeated(store: RegistryStore, proxy: FaultProxy) -> None:
    data = image(store)
    proxy.on("PUT", "/manifests/", Fault(lose_answer=True))
    assert store.put_manifest("tag", data, MANIFEST) == digest_of(data)
    assert proxy.count("PUT", "/manifests/") == 2


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, b'{"errors":[{"code":"TAG_INVALID","message":"tag is immutable"}]}', TagRefusedError),
        (403, b'{"errors":[{"code":"DENIED","message":"cannot be overwritten"}]}', TagRefusedError),
        (403, b"", TagRefusedError),
        (405, b'{"errors":[{"code":"UNSUPPORTED","message":"the operation is unsupported"}]}', TagRefusedError),
        (409, b"<html>conflict</html>", TagRefusedError),
        (412, b'{"errors":[{"code":"PRECONDITION","message":"configured as immutable"}]}', TagRefusedError),
        (400, b'{"errors":[{"code":"MANIFEST_INVALID","message":"tag immutability is on"}]}', TagRefusedError),
        (400, b'{"errors":[{"code":"MANIFEST_INVALID","message":"bad media type"}]}', RefusedError),
        (400, b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown"}]}', MissingBlobError),
        (404, b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}', MissingBlobError),
        (404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"make it first"}]}', RefusedError),
        (403, b'{"errors":[{"code":"DENIED","message":"no rights"}]}', AuthError),
        (400, b'{"errors":[{"code":"UNAUTHORIZED"}]}', AuthError),
        (413, b"too large", RefusedError),
    ],
)
def test_refused_manifest_gets_the_error_that_fits(
    store: RegistryStore, proxy: FaultProxy, patient: Patient, status: int, body: bytes, error: type[Exception]
) -> None:
    proxy.on("PUT", "/manifests/", Fault(status, body=body), times=9)
    with pytest.raises(error) as caught:
        store.put_manifest("tag", image(store), MANIFEST)
    assert type(caught.value) is error
    assert patient.slept == []


def test_manifest_refused_by_digest_is_not_about_the_tag(store: RegistryStore, proxy: FaultProxy) -> None:
    data = image(store)
    proxy.on("PUT", "/manifests/", Fault(403, body=b""))
    with pytest.raises(AuthError):
        store.put_manifest(digest_of(data), data, MANIFEST)


def test_absent_tag_is_asked_for_once(store: RegistryStore, proxy: FaultProxy, patient: Patient) -> None:
    assert store.get_manifest("absent") is None
    assert (proxy.count(), patient.slept) == (1, [])


@pytest.mark.parametrize("status", [400, 405, 501])
@pytest.mark.parametrize("tags", [[], ["tag"]])
def test_registry_that_offers_no_deletion_refuses(
    store: RegistryStore, proxy: FaultProxy, status: int, tags: list[str]
) -> None:
    digest = store.put_manifest("tag", image(store), MANIFEST)
    proxy.on("DELETE", "/manifests/", Fault(status), times=2)
    with pytest.raises(RefusedError, match=f"does not delete images, {status}"):
        store.delete_manifest(digest, tags)
    assert store.get_manifest("tag") is not None


@pytest.mark.parametrize("status", [200, 202, 204])
@pytest.mark.parametrize("tags", [[], ["tag"]])
def test_deletion_that_is_claimed_and_not_done_is_refused(
    store: RegistryStore, proxy: FaultProxy, status: int, tags: list[str]
) -> None:
    digest = store.put_manifest("tag", image(store), MANIFEST)
    proxy.on("DELETE", "/manifests/", Fault(status), times=2)
    with pytest.raises(RefusedError, match="still there"):
        store.delete_manifest(digest, tags)


def test_image_whose_tag_alone_can_be_deleted_is_left_to_the_registry(store: RegistryStore, proxy: FaultProxy) -> None:
    digest = store.put_manifest("tag", image(store), MANIFEST)
    proxy.on("DELETE", f"/manifests/{digest}", Fault(405))
    proxy.on("DELETE", "/manifests/tag", Fault(202))
    proxy.on("HEAD", "/manifests/tag", Fault(404), skip=1)
    assert store.delete_manifest(digest, ["tag"]) == Deleted(found=True, by_tag=True)


@pytest.mark.parametrize("status", [200, 202, 204])
def test_manifest_that_is_taken_with_another_answer_than_201_is_looked_for(
    store: RegistryStore, proxy: FaultProxy, patient: Patient, status: int
) -> None:
    data = image(store)
    proxy.on("PUT", "/manifests/", Fault(status))
    with pytest.raises(RefusedError, match=f"answers {status}, and what it was given is not there"):
        store.put_manifest("tag", data, MANIFEST)
    assert len(patient.slept) == len(PAUSES)
    store.put_manifest("tag", data, MANIFEST)
    proxy.on("PUT", "/manifests/", Fault(status))
    assert store.put_manifest("tag", data, MANIFEST) == digest_of(data)
    other = image(store, "other")
    proxy.on("PUT", "/manifests/", Fault(status))
    with pytest.raises(RefusedError):
        store.put_manifest("tag", other, MANIFEST)


@pytest.mark.parametrize("status", [201, 202])
def test_manifest_that_is_kept_as_another_is_an_integrity_error(
    store: RegistryStore, proxy: FaultProxy, status: int
) -> None:
    other = digest_of(b"converted")
    proxy.on("PUT", "/manifests/", Fault(status, {"Docker-Content-Digest": other}))
    with pytest.raises(IntegrityError, match="another manifest"):
        store.put_manifest("tag", image(store), MANIFEST)


@pytest.mark.parametrize("status", [200, 202, 204])
def test_blob_that_is_taken_with_another_answer_than_201_is_looked_for(
    store: RegistryStore, proxy: FaultProxy, status: int
) -> None:
    for put in (lambda data: store.put_blob(data, new=True), lambda data: store.upload(lambda: iter([data])).digest):
        data = os.urandom(20)
        proxy.on("PUT", "/blobs/uploads/", Fault(status))
        assert store.has_blob(put(data)), "the second try stored it"


def test_blob_that_is_kept_as_another_is_an_integrity_error(store: RegistryStore, proxy: FaultProxy) -> None:
    proxy.on("PUT", "/blobs/uploads/", Fault(201, {"Docker-Content-Digest": digest_of(b"other")}))
    with pytest.raises(IntegrityError, match="another blob"):
        store.put_blob(b"data")


def test_blob_that_is_said_to_be_mounted_and_is_not_is_copied(
    store: RegistryStore, proxy: FaultProxy, open_at: Open, repository: str
) -> None:
    source = open_at(f"{proxy.address}/{repository}/source")
    digest = source.put_blob(os.urandom(1000))
    proxy.on("POST", "mount=", Fault(201, {"Location": "/v2/elsewhere"}))
    store.copy_blob(digest, 1000, source)
    assert proxy.count("POST", "mount=") == 1
    assert store.has_blob(digest)


# What is said is not believed


def test_manifest_with_another_digest_is_an_integrity_error(store: RegistryStore, proxy: FaultProxy) -> None:
    digest = store.put_manifest("tag", image(store), MANIFEST)
    other = image(store, "other")
    proxy.on(
        "GET", "/manifests/", Fault(200, {"Content-Type": MANIFEST, "Docker-Content-Digest": digest}, other), times=2
    )
    with pytest.raises(IntegrityError):
        store.get_manifest(digest)
    by_tag = store.get_manifest("tag")
    assert by_tag is not None and by_tag.digest == digest_of(other)


@pytest.mark.parametrize("length", [True, False])
def test_oversized_manifest_is_not_read_whole(store: RegistryStore, proxy: FaultProxy, length: bool) -> None:
    body = b" " * (9 << 20)
    headers = {} if length else {"Transfer-Encoding": "identity", "Connection": "close"}
    proxy.on("GET", "/manifests/", Fault(200, {"Content-Type": MANIFEST, **headers}, body))
    with pytest.raises(IntegrityError, match="4 MiB"):
        store.get_manifest("tag")
    assert store.traffic.received < 5 << 20


def test_content_type_unlike_media_type_is_an_integrity_error(store: RegistryStore, proxy: FaultProxy) -> None:
    store.put_manifest("tag", image(store), MANIFEST)
    proxy.on("GET", "/manifests/", Fault(add={"Content-Type": INDEX}))
    with pytest.raises(IntegrityError, match="media type"):
        store.get_manifest("tag")


@pytest.mark.parametrize("kind", [None, "application/json", "text/plain; charset=utf-8"])
def test_vague_content_type_gives_way_to_the_media_type(
    store: RegistryStore, proxy: FaultProxy, kind: str | None
) -> None:
    store.put_manifest("tag", image(store), MANIFEST)
    proxy.on("GET", "/manifests/", Fault(add={"Content-Type": kind}))
    found = store.get_manifest("tag")
    assert found is not None and found.media_type == MANIFEST


def test_registry_that_keeps_another_manifest_is_noticed(store: RegistryStore, proxy: FaultProxy) -> None:
    proxy.on("PUT", "/manifests/", Fault(add={"Docker-Content-Digest": digest_of(b"reformatted")}))
    with pytest.raises(IntegrityError):
        store.put_manifest("tag", image(store), MANIFEST)


@pytest.mark.parametrize(
    ("status", "title", "error", "says"),
    [
        (413, "413 Request Entity Too Large", RefusedError, "requests of this size, 413"),
        (502, "502 Bad Gateway", UnavailableError, r"answers 502 \(502 Bad Gateway\)"),
        (504, "504 Gateway Time-out", UnavailableError, "answers 504"),
        (520, "Web server is returning an unknown error", UnavailableError, "answers 520"),
        (404, "404 Not Found", RefusedError, "no such repository, or no registry"),
        (400, "400 Bad Request", RefusedError, r"answers 400 \(400 Bad Request\)"),
        (403, "Attention Required! | Cloudflare", AuthError, "Attention Required"),
    ],
)
def test_page_for_people_says_what_its_status_says(
    open_at: Open, web: FaultProxy, status: int, title: str, error: type[Exception], says: str
) -> None:
    page = f"<!DOCTYPE html><html><head><title>{title}</title><script>a<b</script></head><body>x</body></html>"
    web.on("*", "/", Fault(status, {"Content-Type": "text/html"}, page.encode()), times=99)
    store = open_at(web.address)
    for call in (lambda: b"".join(store.read_blob(digest_of(b"x"))), store.tags):
        if status == 404 and call is not store.tags:
            continue  # it is not there, whoever says so
        with pytest.raises(error, match=says) as caught:
            call()
        assert "no registry:" not in str(caught.value)


@pytest.mark.parametrize("status", [200, 404])
def test_web_page_is_no_registry(open_at: Open, web: FaultProxy, status: int) -> None:
    web.on("*", "/", Fault(status, {"Content-Type": "text/html"}, b"<html>Welcome</html>"), times=9)
    store = open_at(web.address)
    for call in (lambda: store.get_manifest("tag"), store.tags):
        with pytest.raises(RefusedError, match="no registry"):
            call()


def test_control_characters_of_a_registry_do_not_reach_the_terminal(store: RegistryStore, proxy: FaultProxy) -> None:
    evil = b'{"errors":[{"code":"X","message":"a\\u001b[31m\\u0007\\r\\nb\\u202e' + b"c" * 5000 + b'"}]}'
    proxy.on("GET", "/tags/", Fault(418, body=evil))
    with pytest.raises(RefusedError) as caught:
        store.tags()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_error_body_without_end_is_not_read_to_it(store: RegistryStore, proxy: FaultProxy) -> None:
    proxy.on("GET", "/tags/", Fault(418, body=b"x" * (20 << 20)))
    with pytest.raises(RefusedError, match="418"):
        store.tags()


# Tags


def test_pages_of_tags_are_followed_and_joined(open_at: Open, web: FaultProxy) -> None:
    store = open_at(f"{web.address}/a/b")
    link = {"Link": '</v2/a/b/tags/list?n=1000&last=b>; rel="next"'}
    web.on("GET", "last=b", Fault(200, body=b'{"name":"a/b","tags":["b","c"]}'))
    web.on("GET", "/v2/a/b/tags/list?n=1000", Fault(200, link, b'{"name":"a/b","tags":["b","a"]}'))
    assert store.tags() == ["a", "b", "c"]
    assert web.count() == 2


def test_pages_of_tags_in_a_circle_are_no_list(open_at: Open, web: FaultProxy) -> None:
    store = open_at(f"{web.address}/a/b")
    link = {"Link": '<?n=1000>; rel="next"'}
    web.on("GET", "", Fault(200, link, b'{"tags":["a"]}'), times=50)
    with pytest.raises(RefusedError, match="circles"):
        store.tags()
    assert web.count() <= 2


def test_list_of_tags_that_goes_on_elsewhere_is_refused(open_at: Open, web: FaultProxy) -> None:
    link = {"Link": '<http://127.0.0.1:1/v2/x>; rel="next"'}
    web.on("GET", "", Fault(200, link, b'{"tags":["a"]}'))
    with pytest.raises(RefusedError):
        open_at(web.address).tags()


@pytest.mark.parametrize("body", [b'{"tags":null}', b'{"name":"x"}', b'{"tags":[]}'])
def test_repository_without_tags_has_none(open_at: Open, web: FaultProxy, body: bytes) -> None:
    web.on("GET", "", Fault(200, body=body))
    assert open_at(web.address).tags() == []


@pytest.mark.parametrize("body", [b"", b"[]", b'{"tags":5}', b'{"tags":[5]}', b"[" * 100_000])
def test_unreadable_list_of_tags_is_an_error(open_at: Open, web: FaultProxy, body: bytes) -> None:
    web.on("GET", "", Fault(200, body=body))
    with pytest.raises(RefusedError, match="unreadable"):
        open_at(web.address).tags()
