"""Whether an answer says "later", and when: by status, header, code, counter or words."""

from __future__ import annotations

import json
from email.utils import formatdate
from pathlib import Path

import pytest
from requests.structures import CaseInsensitiveDict

from agent.core.image.manifest import MANIFEST
from agent.core.spelling.digest import digest_of
from agent.errors import AgentError, AuthError, RefusedError, UnavailableError
from agent.store.network.error_details import parse_error_details
from agent.store.network.retry_after import STATUSES, is_temporary, requested_delay
from agent.store.network.retrying import Timing
from agent.store.registry.registry_store import RegistryStore
from tests.fakes.proxy import Fault, FaultProxy, Seen
from tests.fakes.token_server import TokenServer
from tests.store.conftest import Open, Patient, image
from tests.store.test_registry_auth import logged_in

NOW = 1_700_000_000
TIMING = Timing(wall=lambda: float(NOW))


def errors(code: str, message: str = "", **more: object) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, **more}]}).encode()


def page(text: str) -> bytes:
    return f"<html><head><title>Error</title><style>x</style></head><body><h1>{text}</h1></body></html>".encode()


LATER: dict[str, tuple[int, dict[str, str], bytes]] = {
    **{str(status): (status, {}, b"") for status in sorted(STATUSES)},
    "Retry-After beside 403": (403, {"Retry-After": "1"}, errors("DENIED", "no")),
    "a date beside 403": (403, {"Retry-After": formatdate(NOW + 1, usegmt=True)}, b""),
    "Retry-After beside 400": (400, {"Retry-After": "1"}, b""),
    "Retry-After beside 409": (409, {"Retry-After": "1"}, errors("CONFLICT")),
    "Retry-After beside 413": (413, {"Retry-After": "1"}, page("413 Request Entity Too Large")),
    "a code beside 403": (403, {}, errors("TOOMANYREQUESTS", "pull rate")),
    "a code beside 400": (400, {}, errors("toomanyrequests")),
    "a code of AWS": (400, {}, json.dumps({"code": "ThrottlingException"}).encode()),
    "a type of AWS": (400, {}, b'{"__type":"ThrottlingException","message":"Rate exceeded"}'),
    "a secondary limit": (403, {}, errors("DENIED", "You have exceeded a secondary rate limit.")),
    "a limit in the detail": (403, {}, errors("DENIED", "denied", detail={"reason": "rate limit exceeded"})),
    "plain words": (403, {}, b"toomanyrequests: You have reached your pull rate limit."),
    "Cloudflare's page": (403, {"Content-Type": "text/html"}, page("You are being rate limited")),
    "CloudFront's page": (
        403,
        {"Content-Type": "text/html"},
        page("Request blocked. There might be too much traffic or a configuration error. Try again later."),
    ),
    "S3's document": (400, {}, b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce</Message></Error>"),
    "GitHub's counter": (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(NOW + 1)}, errors("DENIED")),
    "Docker Hub's counter": (403, {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "0;w=21600"}, b""),
    "the draft's counter": (403, {"RateLimit": '"burst";r=9;t=1, "daily";r=0;t=1'}, b""),
    "the old draft's counter": (403, {"RateLimit": "limit=100, remaining=0, reset=1"}, b""),
}
FOR_GOOD: dict[str, tuple[int, dict[str, str], bytes]] = {
    "no rights": (403, {}, errors("DENIED", "requested access to the resource is denied")),
    "no rights, counters as usual": (403, {"x-ratelimit-remaining": "59", "x-ratelimit-reset": "1"}, errors("DENIED")),
    "no rights, Docker Hub's counter": (403, {"ratelimit-remaining": "76;w=21600"}, errors("DENIED")),
    "no page": (403, {"Content-Type": "text/html"}, page("Access Denied")),
    "a bad request": (400, {}, errors("NAME_INVALID", "invalid repository name")),
    "too large": (413, {}, page("413 Request Entity Too Large")),
    "not allowed": (405, {"Retry-After": "1"}, errors("UNSUPPORTED")),
    "not there": (404, {"Retry-After": "1", "x-ratelimit-remaining": "0"}, errors("NAME_UNKNOWN")),
    "not built": (501, {"Retry-After": "1"}, b""),
    "locked": (423, {}, b"the tag is locked"),
}


def answer(case: tuple[int, dict[str, str], bytes]) -> bool:
    status, headers, body = case
    return is_temporary(parse_error_details(status, body), CaseInsensitiveDict(headers))


@pytest.mark.parametrize("case", LATER)
def test_what_says_later_is_understood(case: str) -> None:
    assert answer(LATER[case])


@pytest.mark.parametrize("case", FOR_GOOD)
def test_what_is_refused_for_good_is_not_waited_for(case: str) -> None:
    assert not answer(FOR_GOOD[case])


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": formatdate(NOW + 7, usegmt=True)}, 7),
        ({"Retry-After": formatdate(NOW + 7, usegmt=True), "Date": formatdate(NOW + 4, usegmt=True)}, 3),
        ({"Retry-After": "7", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "99"}, 7),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(NOW + 30)}, 30),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str((NOW + 30) * 1000)}, 30),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(NOW - 30)}, 0),
        ({"x-ratelimit-remaining": "0", "X-RateLimit-Reset": str(NOW + 9), "Date": formatdate(NOW + 5)}, 4),
        ({"ratelimit-remaining": "0;w=60", "ratelimit-reset": "12"}, 12),
        ({"RateLimit": '"burst";r=9;t=1, "daily";r=0;t=40'}, 40),
        ({"RateLimit": "limit=100, remaining=0, reset=5"}, 5),
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": "3"}, 3),
        ({"x-ratelimit-remaining": "5", "x-ratelimit-reset": str(NOW + 30)}, None),
        ({"x-ratelimit-reset": "30"}, None),
        ({"x-ratelimit-remaining": "0"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9" * 15}, 253_402_300_799 - NOW),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_the_wait_is_as_long_as_the_answer_asks(headers: dict[str, str], seconds: float | None) -> None:
    assert requested_delay(CaseInsensitiveDict(headers), TIMING) == seconds


# In the store


def use(store: RegistryStore) -> None:
    """Do everything that a push and a pull do, each of which may be refused once."""
    digest = store.put_blob(b"data")
    stored = store.upload(lambda: iter([b"more ", b"data"]))
    assert store.has_blob(digest) and store.has_blob(stored.digest)
    assert b"".join(store.read_blob(stored.digest)) == b"more data"
    store.put_manifest("tag", image(store), MANIFEST)
    assert store.get_manifest("tag") is not None
    assert store.tags() == ["tag"]
    store.delete_manifest(digest_of(image(store)))


@pytest.mark.sweep(2)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("case", ["429", "521", "Retry-After beside 403", "a secondary limit", "CloudFront's page"])
def test_whatever_says_later_is_tried_later(store: RegistryStore, proxy: FaultProxy, method: str, case: str) -> None:
    status, headers, body = LATER[case]
    proxy.on(method, "", Fault(status, headers, body))
    if method == "HEAD" and not headers and status < 429:  # it has no words
        return
    use(store)
    assert proxy.count(method) >= 2


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT"])
def test_the_wait_that_is_asked_for_is_kept(
    store: RegistryStore, proxy: FaultProxy, patient: Patient, method: str
) -> None:
    proxy.on(method, "", Fault(403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "17"}))
    use(store)
    assert patient.slept == [17.0]


def test_a_limit_that_lasts_is_an_error_that_says_so(store: RegistryStore, proxy: FaultProxy) -> None:
    body = errors("DENIED", "You have exceeded a secondary rate limit")
    proxy.on("GET", "", Fault(403, {}, body), times=10_000)
    with pytest.raises(UnavailableError, match=r"403 \(You have exceeded a secondary rate limit\)") as caught:
        store.tags()
    assert caught.value.exit_code == 21
    assert not isinstance(caught.value, RefusedError)


def test_a_limit_beyond_patience_is_told_at_once(store: RegistryStore, proxy: FaultProxy, patient: Patient) -> None:
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "3600"}
    proxy.on("GET", "", Fault(403, headers, errors("DENIED", "API rate limit exceeded")))
    with pytest.raises(UnavailableError, match="3600 s"):
        store.tags()
    assert patient.slept == []


def test_a_token_server_may_ask_for_patience_too(open_at: Open, proxy: FaultProxy, tmp_path: Path) -> None:
    tokens = TokenServer(users={"user": "pass"})
    left = [2]

    def refuse(seen: Seen) -> Fault | None:
        left[0] -= 1
        return Fault(403, {}, errors("DENIED", "too many requests")) if left[0] >= 0 else None

    tokens.http._rules.insert(0, refuse)
    proxy.add_rule(tokens.gate)
    try:
        store = open_at(proxy.address, environ=logged_in(tmp_path, proxy.address, username="user", password="pass"))
        assert store.tags() == []
    finally:
        tokens.close()


def test_a_denial_is_not_tried_again(store: RegistryStore, proxy: FaultProxy, patient: Patient) -> None:
    status, headers, body = FOR_GOOD["no rights, Docker Hub's counter"]
    proxy.on("*", "", Fault(status, headers, body), times=99)
    failures = []
    for call in (store.tags, lambda: store.put_blob(b"x", new=True), lambda: store.upload(lambda: iter([b"x"]))):
        with pytest.raises(AgentError) as caught:
            call()
        failures.append(type(caught.value))
    assert failures == [AuthError] * 3
    assert patient.slept == []
