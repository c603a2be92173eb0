"""Whom to trust, and what goes without TLS."""

from __future__ import annotations

import os
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.image.manifest import MANIFEST
from agent.core.spelling.digest import digest_of
from agent.errors import AgentError, RefusedError, UsageError
from agent.store.network.certificates import make_tls_context
from tests.fakes.docker_registry import BINARY, DockerRegistry
from tests.fakes.proxy import Fault, FaultProxy
from tests.fakes.secrets import holds_secret, secret
from tests.store.conftest import Open, Patient, image, make_certificate

BIG = os.urandom(3 << 20)


@pytest.fixture(scope="session")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A real registry with TLS by an authority of its own: (address, certificate file)."""
    for program in (BINARY, "openssl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    directory = tmp_path_factory.mktemp("secure")
    certificate, key = make_certificate(directory, "IP:127.0.0.1", "DNS:localhost")
    running = DockerRegistry(directory, http={"tls": {"certificate": certificate, "key": key}})
    yield running.address, certificate
    running.close()


def test_added_authority_is_trusted(open_at: Open, secure: tuple[str, str]) -> None:
    store = open_at(secure[0], ca_file=secure[1])
    store.put_manifest("tag", image(store), MANIFEST)
    assert store.upload(lambda: iter([BIG])).digest == digest_of(BIG)


def test_added_authority_replaces_no_other(secure: tuple[str, str]) -> None:
    before = make_tls_context(None, {}).get_ca_certs(binary_form=True)
    after = make_tls_context(secure[1], {}).get_ca_certs(binary_form=True)
    assert len(before) > 50
    assert len(after) == len(before) + 1


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_authority_from_the_environment_is_trusted(
    open_at: Open, secure: tuple[str, str], tmp_path: Path, variable: str
) -> None:
    other, _ = make_certificate(tmp_path, "DNS:other")
    store = open_at(secure[0], ca_file=other, environ={variable: secure[1]})
    assert store.tags() == []


def test_unknown_authority_is_refused_at_once(
    open_at: Open, secure: tuple[str, str], tmp_path: Path, patient: Patient
) -> None:
    other, _ = make_certificate(tmp_path, "IP:127.0.0.1")
    with pytest.raises(RefusedError, match=r"certificate is not trusted.*--ca-file") as caught:
        open_at(secure[0], ca_file=other).tags()
    assert caught.value.exit_code == 21
    assert patient.slept == []


def test_certificate_for_another_name_is_refused(open_at: Open, tmp_path: Path) -> None:
    if shutil.which(BINARY) is None:
        pytest.skip(f"{BINARY} is not installed")
    certificate, key = make_certificate(tmp_path, "DNS:elsewhere.test")
    running = DockerRegistry(tmp_path, http={"tls": {"certificate": certificate, "key": key}})
    try:
        with pytest.raises(RefusedError, match="certificate is not trusted"):
            open_at(running.address, ca_file=certificate).tags()
    finally:
        running.close()


def test_tls_to_a_registry_without_says_so(open_at: Open, registry: str, secure: tuple[str, str]) -> None:
    with pytest.raises(RefusedError, match="--plain-http"):
        open_at(registry, ca_file=secure[1]).tags()


def test_plain_http_wins_over_a_ca_file(open_at: Open, registry: str, secure: tuple[str, str]) -> None:
    assert open_at(registry, ca_file=secure[1], plain_http=True).tags() == []


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_unusable_ca_file_is_a_usage_error(open_at: Open, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=r"ca\.pem"):
        open_at("registry.example", ca_file=str(path))


@pytest.mark.parametrize(
    ("host", "scheme"),
    [
        ("localhost", "http"),
        ("localhost:5000", "http"),
        ("127.0.0.1:1", "http"),
        ("127.9.9.9", "http"),
        ("[::1]:5000", "http"),
        ("registry.example", "https"),
        ("10.0.0.1:5000", "https"),
        ("localhost.example", "https"),
    ],
)
def test_only_this_machine_is_spoken_to_without_tls(open_at: Open, host: str, scheme: str) -> None:
    assert open_at(host).origin.scheme == scheme
    assert open_at(host, plain_http=True).origin.scheme == "http"


def test_proxy_of_the_environment_is_used_but_not_for_this_machine(
    open_at: Open, registry: str, web: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(variable, f"http://{web.address}")
    for variable in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    assert open_at(registry).tags() == []
    assert web.count() == 0
    web.on("GET", "http://registry.invalid/v2/", Fault(200, body=b'{"tags":["through"]}'))
    assert open_at("registry.invalid", plain_http=True).tags() == ["through"]
    assert web.count() == 1


def test_a_registry_on_this_machine_that_wants_tls_says_so_at_once(
    open_at: Open, secure: tuple[str, str], patient: Patient
) -> None:
    """It is spoken to without, unless its authority is named."""
    for store in (open_at(secure[0]), open_at(secure[0].replace("127.0.0.1", "localhost")), open_at(secure[0])):
        with pytest.raises(RefusedError, match=r"speaks TLS.*--ca-file") as caught:
            store.tags()
        assert caught.value.exit_code == 21
    with pytest.raises(RefusedError, match=r"speaks TLS.*--plain-http"):
        open_at(secure[0], plain_http=True, ca_file=secure[1]).put_blob(b"x", new=True)
    assert patient.slept == []


@pytest.mark.parametrize("behaviour", ["ends the connection", "alerts"])
def test_tls_that_says_nothing_in_http_is_found_out(
    open_at: Open, tmp_path: Path, patient: Patient, behaviour: str
) -> None:
    """What a server says that gets no handshake is its own affair: an end, or a few bytes that are no HTTP."""
    certificate, key = make_certificate(tmp_path, "IP:127.0.0.1")
    with FaultProxy(tls=(certificate, key)) as web:
        if behaviour == "alerts":
            web._server.socket.context.minimum_version = ssl.TLSVersion.TLSv1_3
        with pytest.raises(RefusedError, match="speaks TLS"):
            open_at(web.address).tags()
        web.on("GET", "", Fault(200, body=b'{"tags":["a"]}'))
        assert open_at(web.address, ca_file=certificate).tags() == ["a"]
    assert patient.slept == []


def test_what_speaks_neither_is_not_taken_for_tls(open_at: Open, web: FaultProxy) -> None:
    web.on("*", "", Fault(raw=lambda: iter([b"\x15\x03\x01\x00\x02\x02F"])), times=99)
    with pytest.raises(AgentError) as caught:
        open_at(web.address).tags()
    assert "TLS" not in str(caught.value)


# Proxies


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        for variable in (name, name.upper()):
            monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"])
@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("socks5://127.0.0.1:1080", "SOCKS"),
        ("socks5h://user:{password}@127.0.0.1:1080", "SOCKS"),
        ("socks4a://x", "SOCKS"),
        ("::::", "no address"),
        ("http://", "no address"),
        ("http://user:{password}@", "no address"),
        ("http://proxy:port", "no address"),
        ("ftp://proxy:21", "no address of an HTTP proxy"),
        ("http://[::1", "no address"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_by_its_variable(
    open_at: Open,
    monkeypatch: pytest.MonkeyPatch,
    no_proxies: None,
    patient: Patient,
    variable: str,
    value: str,
    why: str,
) -> None:
    monkeypatch.setenv(variable, value.format(password=secret("proxy")))
    store = open_at("registry.invalid", plain_http=variable == "http_proxy")
    for call in (store.tags, lambda: store.put_blob(b"x", new=True), lambda: store.upload(lambda: iter([b"x"]))):
        with pytest.raises(UsageError, match=why) as caught:
            call()
        assert caught.value.subject == variable
        assert "NO_PROXY" in caught.value.remedy
        assert not holds_secret(str(caught.value))
    assert patient.slept == []


@pytest.mark.parametrize("value", ["socks5://127.0.0.1:1080", "::::"])
def test_a_proxy_that_is_not_asked_may_be_anything(
    open_at: Open, registry: str, monkeypatch: pytest.MonkeyPatch, no_proxies: None, value: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    assert open_at(registry).tags() == []


@pytest.mark.parametrize("form", ["http://{}", "{}", "HTTP://{}/"])
def test_a_proxy_may_be_written_in_any_way_that_others_read(
    open_at: Open, web: FaultProxy, monkeypatch: pytest.MonkeyPatch, no_proxies: None, form: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", form.format(web.address))
    monkeypatch.setenv("http_proxy", form.format(web.address))
    web.on("GET", "http://registry.invalid/v2/", Fault(200, body=b'{"tags":["through"]}'))
    assert open_at("registry.invalid", plain_http=True).tags() == ["through"]
