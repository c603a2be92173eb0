"""Logging in: basic and bearer, tokens that end in the middle, and who never gets to see a credential."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.image.manifest import MANIFEST
from agent.core.spelling.digest import digest_of
from agent.errors import AgentError, AuthError, RefusedError, UnavailableError
from tests.fakes.docker_registry import BINARY, DockerRegistry
from tests.fakes.memory_store import MemoryStore
from tests.fakes.proxy import Fault, FaultProxy
from tests.fakes.secrets import secret
from tests.fakes.token_server import TokenServer
from tests.store.conftest import Open, Patient, image

PASSWORD = secret("with:colon/and slash")
WRONG, REFRESH, OLD = secret("wrong"), secret("refresh"), secret("old")
BIG = os.urandom(3 << 20)


def chunks() -> Iterator[bytes]:
    for at in range(0, len(BIG), 1 << 18):
        yield BIG[at : at + (1 << 18)]


def basic(user: str = "user", password: str = PASSWORD) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def logged_in(home: Path, address: str, **entry: str) -> dict[str, str]:
    """An environment whose docker configuration knows `address`."""
    (home / ".docker").mkdir(exist_ok=True)
    auths = {address: entry or {"auth": basic()}}
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": auths}))
    return {"HOME": str(home), "PATH": os.environ["PATH"]}


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real registry that wants user name and password."""
    for program in (BINARY, "htpasswd"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    directory = tmp_path_factory.mktemp("guarded")
    users = directory / "users"
    subprocess.run(["htpasswd", "-Bbc", "-C", "4", str(users), "user", PASSWORD], check=True, capture_output=True)
    running = DockerRegistry(directory, auth={"htpasswd": {"realm": "test", "path": str(users)}})
    yield running.address
    running.close()


@pytest.fixture
def tokens(proxy: FaultProxy) -> Iterator[TokenServer]:
    """A token server that guards the registry behind `proxy`."""
    server = TokenServer(users={"user": PASSWORD})
    proxy.add_rule(server.gate)
    yield server
    server.close()


# Basic


def test_right_password_is_let_in(open_at: Open, guarded: str, tmp_path: Path) -> None:
    store = open_at(guarded, environ=logged_in(tmp_path, guarded))
    store.put_manifest("tag", image(store), MANIFEST)
    assert store.upload(chunks).digest == digest_of(BIG)
    assert store.tags() == ["tag"]


def test_wrong_password_is_an_auth_error_that_says_what_to_do(open_at: Open, guarded: str, tmp_path: Path) -> None:
    store = open_at(guarded, environ=logged_in(tmp_path, guarded, auth=basic(password=WRONG)))
    with pytest.raises(AuthError, match=f"docker login {guarded}") as caught:
        store.get_manifest("tag")
    assert caught.value.exit_code == 20
    assert WRONG not in str(caught.value)
    for call in (lambda: store.upload(chunks), lambda: store.put_blob(b"x"), store.tags):
        with pytest.raises(AuthError):
            call()


def test_no_password_is_an_auth_error_that_names_what_was_passed_over(
    open_at: Open, guarded: str, tmp_path: Path
) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text('{"credsStore": "of-another-machine"}')
    store = open_at(guarded, environ={"HOME": str(tmp_path), "PATH": "/nowhere"})
    with pytest.raises(AuthError, match=r"no.* was found.*docker-credential-of-another-machine' is not on the PATH"):
        store.get_manifest("tag")


def test_basic_login_is_sent_at_once_after_the_first_challenge(open_at: Open, guarded: str, tmp_path: Path) -> None:
    with FaultProxy(guarded) as proxy:
        store = open_at(proxy.address, environ=logged_in(tmp_path, proxy.address))
        store.tags()
        store.tags()
        assert ["Authorization" in seen.headers for seen in proxy.seen] == [False, True, True]


def test_netrc_never_replaces_a_login(
    open_at: Open, guarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1\nlogin thief\npassword thief\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with FaultProxy(guarded) as proxy:
        store = open_at(proxy.address, environ=logged_in(tmp_path, proxy.address))
        store.put_blob(b"x")
        sent = {seen.headers.get("Authorization") for seen in proxy.seen}
    assert sent == {None, f"Basic {basic()}"}


# Bearer


def test_token_is_fetched_with_the_password_and_used_again(
    open_at: Open, proxy: FaultProxy, tokens: TokenServer, tmp_path: Path
) -> None:
    store = open_at(proxy.address, environ=logged_in(tmp_path, proxy.address))
    store.upload(chunks)
    store.put_manifest("tag", image(store), MANIFEST)
    assert store.get_manifest("tag") is not None
    assert tokens.http.count() == 1  # a push token is good for a pull
    assert {seen.headers.get("Authorization") for seen in tokens.http.seen} == {f"Basic {basic()}"}
    assert [seen for seen in proxy.seen if "Basic" in seen.headers.get("Authorization", "")] == []


def test_deletion_asks_for_its_own_right(open_at: Open, proxy: FaultProxy, tokens: TokenServer, tmp_path: Path) -> None:
    store = open_at(proxy.address, environ=logged_in(tmp_path, proxy.address))
    digest = store.put_manifest("tag", image(store), MANIFEST)
    assert store.delete_manifest(digest, ["tag"]).found
    assert ["delete" in seen.path for seen in tokens.http.seen] == [False, False, True], "a look needs a pull's alone"


def test_wrong_password_at_the_token_server_is_an_auth_error(
    open_at: Open, proxy: FaultProxy, tokens: TokenServer, tmp_path: Path
) -> None:
    store = open_at(proxy.address, environ=logged_in(tmp_path, proxy.address, auth=basic(password=WRONG)))
    with pytest.raises(AuthError, match=r"incorrect username or password.*docker login") as caught:
        store.tags()
    assert WRONG not in str(caught.value)
    assert tokens.http.count() == 1


def test_anonymous_pull_works_and_anonymous_push_is_refused(
    open_at: Open, registry: str, proxy: FaultProxy, tokens: TokenServer, repository: str
) -> None:
    tokens.anonymous = True
    behind = open_at(registry)
    behind.put_manifest("tag", image(behind), MANIFEST)
    store = open_at(proxy.address, environ={})
    assert store.get_manifest("tag") is not None
    assert tokens.http.seen[0].headers.get("Authorization") is None
    with pytest.raises(AuthError, match=r"without a login.*docker login"):
        store.put_blob(b"mine")
    with pytest.raises(AuthError):
        store.upload(chunks)


def test_account_without_rights_is_an_auth_error_without_retries(
    open_at: Open, proxy: FaultProxy, tokens: TokenServer, tmp_path: Path, patient: Patient
) -> None:
    tokens.rights = frozenset({"pull"})
    store = open_at(proxy.address, environ=logged_in(tmp_path, proxy.address))
    with pytest.raises(AuthError, match="refuses this account"):
        store.upload(chunks)
    assert patient.slept == []


@pytest.mark.parametrize("uses", [2, 3])
def test_token_that_ends_in_the_middle_of_a_push_is_renewed(
    open_at: Open, proxy: FaultProxy, tokens: TokenServer, tmp_path: Path, uses: int
) -> None:
    tokens.uses = uses
    store = open_at(proxy.address, environ=logged_in(tmp_path, proxy.address))
    stored = store.upload(chunks)
    store.put_manifest("tag", image(store), MANIFEST)
    assert b"".join(store.read_blob(stored.digest)) == BIG
    assert tokens.http.count() > 2


def test_token_that_ends_before_the_stream_restarts_it(
    open_at: Open, proxy: FaultProxy, tokens: TokenServer, tmp_path: Path
) -> None:
    store = open_at(proxy.address, environ=logged_in(tmp_path, proxy.address))
    once = iter([True])
    proxy._rules.insert(0, lambda seen: tokens.expire_all() if seen.method == "PATCH" and next(once, False) else None)
    runs = []

    def counted() -> Iterator[bytes]:
        runs.append(1)
        return chunks()

    assert store.upload(counted).digest == digest_of(BIG)
    assert len(runs) == 2


def test_old_token_is_replaced_before_a_stream_begins(
    open_at: Open, proxy: FaultProxy, tokens: TokenServer, tmp_path: Path, patient: Patient
) -> None:
    tokens.expires_in = 100
    store = open_at(proxy.address, environ=logged_in(tmp_path, proxy.address))
    proxy.add_rule(
        lambda seen: patient.sleep(95) if seen.method == "POST" and "Authorization" in seen.headers else None
    )
    store.upload(chunks)
    used = [seen.headers.get("Authorization") for seen in proxy.seen if seen.method in ("POST", "PATCH", "PUT")][1:]
    assert used[0] != used[1] == used[2]
    assert [seen for seen in proxy.seen if seen.method == "DELETE"] == []


@pytest.mark.parametrize(
    ("expires_in", "after", "renewed"), [(None, 40, 0), (None, 61, 1), (300, 200, 0), (300, 295, 1)]
)
def test_token_is_kept_until_shortly_before_its_end(
    open_at: Open,
    proxy: FaultProxy,
    tokens: TokenServer,
    tmp_path: Path,
    patient: Patient,
    expires_in: int | None,
    after: float,
    renewed: int,
) -> None:
    tokens.expires_in = expires_in
    store = open_at(proxy.address, environ=logged_in(tmp_path, proxy.address))
    store.tags()
    patient.sleep(after)
    store.tags()
    assert tokens.http.count() == 1 + renewed


def test_identity_token_is_exchanged_by_post(
    open_at: Open, proxy: FaultProxy, tokens: TokenServer, tmp_path: Path
) -> None:
    tokens.identity_tokens.add(REFRESH)
    environ = logged_in(tmp_path, proxy.address, auth=basic("00000000", ""), identitytoken=REFRESH)
    store = open_at(proxy.address, environ=environ)
    store.upload(chunks)
    assert [seen.method for seen in tokens.http.seen] == ["POST"]
    assert REFRESH not in "".join(seen.path for seen in tokens.http.seen + proxy.seen)


def test_bad_identity_token_is_an_auth_error(
    open_at: Open, proxy: FaultProxy, tokens: TokenServer, tmp_path: Path
) -> None:
    store = open_at(proxy.address, environ=logged_in(tmp_path, proxy.address, identitytoken=OLD))
    with pytest.raises(AuthError) as caught:
        store.tags()
    assert OLD not in str(caught.value)


def test_mount_asks_for_both_repositories(
    open_at: Open, proxy: FaultProxy, tokens: TokenServer, tmp_path: Path, repository: str
) -> None:
    environ = logged_in(tmp_path, proxy.address)
    source = open_at(f"{proxy.address}/{repository}/a", environ=environ)
    target = open_at(f"{proxy.address}/{repository}/b", environ=environ)
    digest = source.put_blob(BIG)
    target.copy_blob(digest, len(BIG), source)
    assert target.traffic.sent == 0
    path = tokens.http.seen[-1].path
    assert path.count("scope=") == 2 and "%2Fa%3Apull&" in path + "&" and "%2Fb%3Apull%2Cpush" in path


def test_token_server_that_fails_for_a_moment_is_asked_again(
    open_at: Open, proxy: FaultProxy, tokens: TokenServer, tmp_path: Path, patient: Patient
) -> None:
    tokens.http._rules.insert(0, lambda seen: Fault(503) if seen.number < 3 else None)
    open_at(proxy.address, environ=logged_in(tmp_path, proxy.address)).tags()
    assert len(patient.slept) == 2


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"token":7}', b'{"token":"a\\r\\nX: y"}', b'{"token":""}'])
def test_token_servers_nonsense_is_an_auth_error(
    open_at: Open, proxy: FaultProxy, tokens: TokenServer, tmp_path: Path, body: bytes
) -> None:
    tokens.http._rules.insert(0, lambda seen: Fault(200, body=body))
    with pytest.raises(AuthError, match="no token"):
        open_at(proxy.address, environ=logged_in(tmp_path, proxy.address)).tags()


# Who gets a credential


@pytest.mark.parametrize(
    "realm",
    ["http://tokens.example.invalid/token", "ftp://127.0.0.1/token", "file:///etc/passwd", "//x", "", "http://"],
)
def test_token_server_without_tls_gets_no_credentials(
    open_at: Open, web: FaultProxy, tmp_path: Path, realm: str
) -> None:
    web.on("*", "", Fault(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'}), times=9)
    store = open_at(web.address, environ=logged_in(tmp_path, web.address))
    with pytest.raises(AuthError, match="token server"):
        store.tags()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_to_another_host_does_not_carry_the_login(
    open_at: Open, guarded: str, web: FaultProxy, tmp_path: Path, status: int
) -> None:
    with FaultProxy(guarded) as proxy:
        store = open_at(proxy.address, environ=logged_in(tmp_path, proxy.address))
        digest = store.put_blob(BIG)
        proxy.on("GET", "/blobs/", Fault(status, {"Location": f"http://localhost:{web.port}/signed?key=once"}), times=9)
        cut = {"Content-Length": str(len(BIG)), "Connection": "close"}
        web.on("GET", "/signed", Fault(200, cut, BIG[:1000]))
        web.on("GET", "/signed", Fault(403))  # the signature ran out: back to the registry
        web.on("GET", "/signed", Fault(206, {"Content-Range": "bytes 1000-"}, BIG[1000:]))
        assert b"".join(store.read_blob(digest)) == BIG
    assert [seen.headers.get("Authorization") for seen in web.seen] == [None] * 3
    assert "Authorization" in proxy.seen[-1].headers


def test_upload_location_on_another_host_gets_the_blob_but_not_the_login(
    open_at: Open, guarded: str, web: FaultProxy, tmp_path: Path
) -> None:
    with FaultProxy(guarded) as proxy:
        store = open_at(proxy.address, environ=logged_in(tmp_path, proxy.address))
        proxy.on("POST", "", Fault(202, {"Location": f"http://localhost:{web.port}/up?x=1"}), skip=1, times=9)
        web.on("PATCH", "/up", Fault(202, {"Location": "/up?x=2"}))
        web.on("PUT", "/up", Fault(201))
        assert store.upload(chunks).digest == digest_of(BIG)
    assert [(seen.method, seen.headers.get("Authorization")) for seen in web.seen] == [("PATCH", None), ("PUT", None)]
    assert web.seen[0].body == BIG
    assert "x=2&digest=sha256" in web.seen[1].path


def test_same_host_on_another_port_is_another_host(
    open_at: Open, guarded: str, web: FaultProxy, tmp_path: Path
) -> None:
    with FaultProxy(guarded) as proxy:
        store = open_at(proxy.address, environ=logged_in(tmp_path, proxy.address))
        store.tags()
        proxy.on("GET", "/manifests/", Fault(307, {"Location": f"http://{web.address}/v2/x"}))
        assert store.get_manifest("tag") is None
    assert [seen.headers.get("Authorization") for seen in web.seen] == [None]


@pytest.mark.parametrize(
    ("location", "addresses"),
    [
        ("http://169.254.169.254/latest/meta-data", {}),
        ("http://metadata.test/", {"metadata.test": ["fe80::1"]}),
        ("http://inside.test/", {"inside.test": ["10.1.2.3"]}),
        ("http://inside.test/", {"inside.test": ["::ffff:192.168.0.1"]}),
        ("http://localhost:1/", {"localhost": ["127.0.0.1"]}),
    ],
)
def test_public_registry_cannot_send_us_inside(
    open_at: Open, web: FaultProxy, location: str, addresses: dict[str, list[str]]
) -> None:
    known = {"127.0.0.1": ["93.184.216.35"], "169.254.169.254": ["169.254.169.254"], **addresses}
    store = open_at(web.address, resolve=lambda host: known.get(host, []))
    web.on("GET", "", Fault(307, {"Location": location}))
    with pytest.raises(RefusedError, match="inside this network"):
        store.get_manifest("tag")


@pytest.mark.parametrize("location", ["ftp://x/", "http://user:pass@127.0.0.1/", "http://[", "file:///etc/passwd"])
def test_redirect_to_no_web_address_is_refused(open_at: Open, web: FaultProxy, location: str) -> None:
    web.on("GET", "", Fault(307, {"Location": location}))
    with pytest.raises(RefusedError):
        open_at(web.address).get_manifest("tag")


def test_redirects_in_circles_end(open_at: Open, web: FaultProxy) -> None:
    web.on("GET", "", Fault(307, {"Location": "/again"}), times=99)
    with pytest.raises(RefusedError, match="circles"):
        open_at(web.address).get_manifest("tag")
    assert web.count() == 5


def test_secrets_that_a_server_repeats_are_not_shown(
    open_at: Open, proxy: FaultProxy, tokens: TokenServer, tmp_path: Path
) -> None:
    store = open_at(proxy.address, environ=logged_in(tmp_path, proxy.address))
    store.tags()
    token = next(iter(tokens.issued))
    said = f"token {token} of user {PASSWORD} ({basic()})"
    body = json.dumps({"errors": [{"code": "DENIED", "message": said}]}).encode()
    for status in (403, 400, 503):
        proxy._rules.insert(0, lambda seen, status=status: Fault(status, body=body))  # type: ignore[misc]
        with pytest.raises(AgentError) as caught:
            store.put_manifest("tag", b"{}", MANIFEST)
        text = f"{caught.value} {caught.value!r} {caught.value.__cause__}"
        assert "***" in text
        assert token not in text and PASSWORD not in text and basic() not in text


def test_copy_from_another_kind_of_store_keeps_its_errors(open_at: Open, guarded: str, tmp_path: Path) -> None:
    source = MemoryStore()
    digest = source.put_blob(b"x")
    failing = UnavailableError("the source is away", subject="source", remedy="wait")

    def fail(name: str, subject: str) -> None:
        raise failing

    source.before = fail
    store = open_at(guarded, environ=logged_in(tmp_path, guarded))
    with pytest.raises(UnavailableError) as caught:
        store.copy_blob(digest, 1, source)
    assert caught.value is failing


def test_a_registry_token_is_shown_to_the_registry_itself(
    open_at: Open, web: FaultProxy, tokens: TokenServer, tmp_path: Path
) -> None:
    own = secret("registry-token")
    challenge = {"WWW-Authenticate": f'Bearer realm="{tokens.realm}",service="registry.test"'}
    web.add_rule(
        lambda seen: (
            Fault(200, body=b'{"tags":["a"]}')
            if seen.headers.get("Authorization") == f"Bearer {own}"
            else Fault(401, challenge)
        )
    )
    store = open_at(web.address, environ=logged_in(tmp_path, web.address, registrytoken=own))
    assert store.tags() == ["a"] and store.tags() == ["a"]
    assert tokens.http.seen == []
    store = open_at(web.address, environ=logged_in(tmp_path, web.address, registrytoken=WRONG))
    with pytest.raises(AuthError, match="registrytoken") as caught:
        store.tags()
        store.tags()
    assert WRONG not in str(caught.value)
    assert tokens.http.seen == []


@pytest.mark.parametrize("key", ["*:{port}", "127.0.*.1:{port}", "http://127.*.*.1:{port}/v2/"])
def test_a_pull_secret_for_several_hosts_logs_in(open_at: Open, guarded: str, tmp_path: Path, key: str) -> None:
    port = guarded.partition(":")[2]
    store = open_at(guarded, environ=logged_in(tmp_path, key.format(port=port)))
    if key.startswith("*:"):
        with pytest.raises(AuthError):  # a star is one label of a name, as the kubelet has it
            store.tags()
    else:
        assert store.tags() == []
