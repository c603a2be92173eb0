"""Whom to trust, and what goes without TLS."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.digest import digest_of
from agent.core.manifest import MANIFEST
from agent.errors import RefusedError, UsageError
from agent.store.trust import make_trust
from tests.fakes.docker_registry import BINARY, DockerRegistry
from tests.fakes.proxy import Fault, FaultProxy
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
    before = make_trust(None, {}).get_ca_certs(binary_form=True)
    after = make_trust(secure[1], {}).get_ca_certs(binary_form=True)
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
