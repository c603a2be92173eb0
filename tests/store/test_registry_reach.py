"""Where a registry can send us, and that no credential comes along: each other host keeps what it was asked."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.image.manifest import MANIFEST
from agent.errors import AgentError, AuthError, RefusedError
from agent.store.registry.registry_store import RegistryStore
from tests.fakes.proxy import Fault, FaultProxy, Seen
from tests.fakes.secrets import holds_secret, secret
from tests.fakes.token_server import TokenServer
from tests.store.conftest import Open, make_certificate
from tests.store.test_registry_auth import basic, logged_in

PASSWORD = secret("password")
REFRESH = secret("refresh")
PUBLIC = "93.184.216.35"


@pytest.fixture
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return make_certificate(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1", "IP:127.0.0.2", "DNS:localhost")


@pytest.fixture
def secure(certificate: tuple[str, str]) -> Iterator[FaultProxy]:
    """A server that speaks TLS, and answers 404 until told otherwise."""
    with FaultProxy(tls=certificate) as running:
        yield running


@pytest.fixture
def elsewhere() -> Iterator[FaultProxy]:
    """Another host, which takes everything."""
    with FaultProxy(host="127.0.0.2") as running:
        running.add_rule(lambda seen: Fault(202 if seen.method in ("POST", "PATCH") else 200, body=b"{}"))
        yield running


def use(store: RegistryStore) -> list[AgentError]:
    """Do all that a store can; return what went wrong, which may be everything."""
    failures = []
    for call in (
        lambda: store.get_manifest("tag"),
        store.tags,
        lambda: b"".join(store.read_blob("sha256:" + "0" * 64, 0, 10)),  # type: ignore[arg-type]
        lambda: store.has_blob("sha256:" + "0" * 64),  # type: ignore[arg-type]
        lambda: store.put_blob(b"data"),
        lambda: store.upload(lambda: iter([b"data"])),
        lambda: store.put_manifest("tag", b"{}", MANIFEST),
        lambda: store.delete_manifest("sha256:" + "0" * 64),  # type: ignore[arg-type]
    ):
        try:
            call()  # type: ignore[no-untyped-call]
        except AgentError as error:
            failures.append(error)
    return failures


def asked(web: FaultProxy) -> str:
    """All that a host was told."""
    return repr([(seen.path, dict(seen.headers), seen.body) for seen in web.seen])


def gate(seen: Seen) -> Fault | None:
    """Ask for a password."""
    return Fault(401, {"WWW-Authenticate": 'Basic realm="x"'}) if "Authorization" not in seen.headers else None


@pytest.mark.sweep(2)
@pytest.mark.parametrize("login", ["password", "identity"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("asks", ["basic", "bearer", "nothing"])
def test_no_other_host_gets_a_credential(
    open_at: Open, web: FaultProxy, elsewhere: FaultProxy, tmp_path: Path, login: str, status: int, asks: str
) -> None:
    tokens = TokenServer(users={"user": PASSWORD}, identity_tokens={REFRESH})
    there = f"http://{elsewhere.address}"
    elsewhere._rules.insert(0, lambda seen: _challenge(asks, tokens.realm))
    web.add_rule(gate if login == "password" else tokens.gate)
    web.on("POST", "", Fault(202, {"Location": f"{there}/upload"}), times=99)
    web.on("GET", "/tags/", Fault(200, {"Link": f'<{there}/v2/tags>; rel="next"'}, b'{"tags":[]}'), times=9)
    web.on("*", "", Fault(status, {"Location": f"{there}/moved"}), times=99)
    entry = {"auth": basic(password=PASSWORD)} if login == "password" else {"identitytoken": REFRESH}
    store = open_at(web.address, environ=logged_in(tmp_path, web.address, **entry))
    try:
        failures = use(store)
    finally:
        tokens.close()
    assert elsewhere.count("GET", "/moved") and elsewhere.count("*", "/upload")
    assert "Authorization" not in asked(elsewhere) and not holds_secret(asked(elsewhere))
    assert not holds_secret(repr(failures))
    assert "Authorization" in asked(web), "the registry itself got its login"


def _challenge(asks: str, realm: str) -> Fault | None:
    challenges = {"basic": 'Basic realm="x"', "bearer": f'Bearer realm="{realm}",service="registry.test"'}
    return Fault(401, {"WWW-Authenticate": challenges[asks]}) if asks in challenges else None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("login", ["password", "identity"])
def test_token_servers_redirect_takes_no_credential_along(
    open_at: Open, web: FaultProxy, elsewhere: FaultProxy, tmp_path: Path, login: str, status: int
) -> None:
    tokens = TokenServer()
    tokens.http._rules.insert(0, lambda seen: Fault(status, {"Location": f"http://{elsewhere.address}/token"}))
    web.add_rule(tokens.gate)
    entry = {"auth": basic(password=PASSWORD)} if login == "password" else {"identitytoken": REFRESH}
    store = open_at(web.address, environ=logged_in(tmp_path, web.address, **entry))
    try:
        failures = use(store)
    finally:
        tokens.close()
    assert len(failures) == 8
    assert holds_secret(asked(tokens.http)) and not holds_secret(asked(web))
    assert elsewhere.seen == []


def test_anonymous_token_request_may_be_redirected(open_at: Open, web: FaultProxy, elsewhere: FaultProxy) -> None:
    tokens = TokenServer(anonymous=True)
    there = {"Location": f"http://{elsewhere.address}/token?service=registry.test"}
    elsewhere._rules.insert(0, lambda seen: Fault(200, body=b'{"token":"of-anyone"}'))
    tokens.http._rules.insert(0, lambda seen: Fault(307, there))
    web.add_rule(lambda seen: tokens.gate(seen) if "Authorization" not in seen.headers else Fault(200, body=b"{}"))
    try:
        assert open_at(web.address).tags() == []
    finally:
        tokens.close()


# TLS is not given up


@pytest.mark.parametrize("login", [True, False])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_registry_with_tls_gets_tokens_over_tls_only(
    open_at: Open, secure: FaultProxy, certificate: tuple[str, str], tmp_path: Path, login: bool, host: str
) -> None:
    with FaultProxy(host="127.0.0.2" if host == "127.0.0.2" else "127.0.0.1") as plain:
        realm = f'Bearer realm="http://{host}:{plain.port}/token",service="x"'
        secure.add_rule(lambda seen: Fault(401, {"WWW-Authenticate": realm}))
        environ = logged_in(tmp_path, secure.address, auth=basic(password=PASSWORD)) if login else {}
        with pytest.raises(AuthError, match="TLS"):
            open_at(secure.address, ca_file=certificate[0], environ=environ).tags()
        assert plain.seen == []


def test_token_server_on_another_host_gets_the_login_over_tls(
    open_at: Open, secure: FaultProxy, certificate: tuple[str, str], tmp_path: Path
) -> None:
    with FaultProxy(host="127.0.0.2", tls=certificate) as tokens:
        tokens.add_rule(lambda seen: Fault(200, body=b'{"token":"issued"}'))
        realm = f'Bearer realm="https://{tokens.address}/token",service="x"'
        secure.add_rule(
            lambda seen: (
                Fault(200, body=b'{"tags":["a"]}')
                if seen.headers.get("Authorization") == "Bearer issued"
                else Fault(401, {"WWW-Authenticate": realm})
            )
        )
        environ = logged_in(tmp_path, secure.address, auth=basic(password=PASSWORD))
        assert open_at(secure.address, ca_file=certificate[0], environ=environ).tags() == ["a"]
        assert [seen.headers["Authorization"] for seen in tokens.seen] == [f"Basic {basic(password=PASSWORD)}"]
        assert not holds_secret(asked(secure))


def test_redirect_from_tls_to_plain_http_is_refused(
    open_at: Open, secure: FaultProxy, elsewhere: FaultProxy, certificate: tuple[str, str]
) -> None:
    secure.add_rule(lambda seen: Fault(307, {"Location": f"http://{elsewhere.address}/blob"}))
    failures = use(open_at(secure.address, ca_file=certificate[0]))
    assert len(failures) == 8
    assert all(isinstance(error, RefusedError) for error in failures)
    assert elsewhere.seen == []


def test_registry_behind_a_proxy_that_ends_tls_is_followed_over_tls(
    open_at: Open, secure: FaultProxy, certificate: tuple[str, str]
) -> None:
    secure.on("GET", "/v2/", Fault(307, {"Location": "http://127.0.0.1/there"}))
    secure.on("GET", "/there", Fault(200, body=b'{"tags":["a"]}'))
    assert open_at(secure.address, ca_file=certificate[0]).tags() == ["a"]


# Inside the network


@pytest.mark.parametrize("way", ["redirect", "upload", "token"])
def test_public_registry_reaches_nothing_inside_by_a_name_that_changes(
    open_at: Open, web: FaultProxy, elsewhere: FaultProxy, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(  # a name server that says one thing when asked first, and another then
        socket,
        "getaddrinfo",
        lambda host, *words, **more: real("127.0.0.2" if host == "rebound.test" else host, *words, **more),
    )
    known = {"127.0.0.1": [PUBLIC], "rebound.test": ["93.184.216.36"]}
    store = open_at(web.address, resolve=lambda host: known.get(host, [host]))
    there = f"http://rebound.test:{elsewhere.port}/"
    if way == "token":
        web.add_rule(lambda seen: Fault(401, {"WWW-Authenticate": f'Bearer realm="{there}"'}))
    web.on("POST", "", Fault(202, {"Location": there}), times=9)
    web.on("*", "", Fault(307, {"Location": there}), times=99)
    assert all(isinstance(error, RefusedError | AuthError) for error in use(store))
    assert elsewhere.seen == []


@pytest.mark.parametrize("host", ["127.0.0.2\\.public.test", "127.0.0.2\\@public.test", "public.test\\@127.0.0.2"])
def test_address_that_parsers_read_differently_is_refused(
    open_at: Open, web: FaultProxy, elsewhere: FaultProxy, host: str
) -> None:
    known = {"127.0.0.1": [PUBLIC], "127.0.0.2": ["127.0.0.2"]}
    store = open_at(web.address, resolve=lambda name: known.get(name, []))
    for location in (f"http://{host}:{elsewhere.port}/", f"http://127.0.0.2:{elsewhere.port}\\.public.test/"):
        web.on("GET", "", Fault(307, {"Location": location}))
        with pytest.raises(RefusedError):
            store.get_manifest("tag")
    assert elsewhere.seen == []


def test_proxy_of_the_environment_may_lie_inside(
    open_at: Open, web: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("http_proxy", f"http://user:{PASSWORD}@{web.address}")
    web.on("GET", "http://public.test/", Fault(307, {"Location": "http://storage.test/tags"}))
    web.on("GET", "http://storage.test/", Fault(200, body=b'{"tags":["a"]}'))
    store = open_at("public.test", plain_http=True, resolve=lambda name: [])
    assert store.tags() == ["a"]
    assert all("Proxy-Authorization" in seen.headers for seen in web.seen)


def test_proxy_that_lets_nobody_through_is_named_without_its_password(
    open_at: Open, web: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://user:{PASSWORD}@{web.address}")
    monkeypatch.setenv("no_proxy", "")
    web.add_rule(lambda seen: Fault(407, {"Proxy-Authenticate": "Basic"}, f"not {PASSWORD}".encode()))
    with pytest.raises(AgentError) as caught:
        open_at("public.test").tags()
    assert not holds_secret(str(caught.value))


def test_redirects_into_a_real_network_are_refused() -> None:
    """In a network of its own, with a public address, one inside and that of cloud metadata, all for real."""
    if shutil.which("ip") is None:
        pytest.skip("ip is not installed")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode:
        pytest.skip("no rights to make a network")
    addresses = [PUBLIC, "10.1.2.3", "169.254.169.254"]
    network = "ip link set lo up" + "".join(f" && ip addr add {address}/32 dev lo" for address in addresses)
    here = str(Path(__file__).parents[2])
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", f'{network} && exec "$@"', "sh", sys.executable, "-c", REDIRECTED],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": here},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["refused"] * 3 + ["followed"]


REDIRECTED = f"""
from agent.core.spelling.reference import RegistryReference
from agent.errors import RefusedError
from agent.store.registry.registry_store import RegistryStore
from tests.fakes.proxy import Fault, FaultProxy

with FaultProxy(host={PUBLIC!r}) as public, FaultProxy(host="10.1.2.3") as inside:
    with FaultProxy(host="169.254.169.254") as metadata, FaultProxy(host="127.0.0.1") as local:
        for registry, target in (public, metadata), (public, inside), (inside, metadata), (inside, local):
            target.on("GET", "/there", Fault(200, body=b'{{"tags":["a"]}}'))
            registry.on("GET", "", Fault(307, {{"Location": f"http://{{target.address}}/there"}}))
            store = RegistryStore(RegistryReference(registry.address, "x", "y"), plain_http=True)
            try:
                print("followed" if store.tags() == ["a"] else "?")
            except RefusedError:
                print("refused" if not target.seen else "asked")
"""
