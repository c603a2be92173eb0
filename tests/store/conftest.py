"""Registries that behave and misbehave, and stores that do not wait."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.core.image.manifest import CONFIG, MANIFEST
from agent.core.spelling.reference import RegistryReference
from agent.store.network.retrying import Patience, Timing
from agent.store.port import Store
from agent.store.registry.registry_store import RegistryStore
from tests.fakes.proxy import FaultProxy


class Patient:
    """A clock that sleeping moves, so that nothing waits. `slept` is every wait, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.timing = Timing(sleep=self.sleep, clock=lambda: self.now, wall=lambda: 1_700_000_000.0, jitter=lambda: 1.0)
        self.told: list[str] = []

    def patience(self, seconds: float = 120.0) -> Patience:
        return Patience(seconds, self.timing, self.told.append)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


Open = Callable[..., RegistryStore]


@pytest.fixture
def patient() -> Patient:
    return Patient()


@pytest.fixture
def repository(tmp_path: Path) -> str:
    return f"store/{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:24]}"


@pytest.fixture
def open_at(patient: Patient, repository: str) -> Iterator[Open]:
    """Opens stores at an address (`HOST:PORT`, perhaps with `/REPOSITORY`), closes them in the end."""
    opened: list[RegistryStore] = []

    def open_at(address: str, **options: Any) -> RegistryStore:
        host, _, name = address.partition("/")
        options.setdefault("patience", patient.patience())
        opened.append(RegistryStore(RegistryReference(host, name or repository, "latest"), **options))
        return opened[-1]

    yield open_at
    for store in opened:
        store.close()


@pytest.fixture
def proxy(registry: str) -> Iterator[FaultProxy]:
    """A proxy before the real registry."""
    with FaultProxy(registry) as running:
        yield running


@pytest.fixture
def web() -> Iterator[FaultProxy]:
    """A server of its own, which answers 404 until told otherwise."""
    with FaultProxy() as running:
        yield running


@pytest.fixture
def store(open_at: Open, proxy: FaultProxy) -> RegistryStore:
    """A repository in the real registry, reached through `proxy`."""
    return open_at(proxy.address)


def image(store: Store, note: str = "") -> bytes:
    """Stores an empty image's config and returns its manifest."""
    config = {"mediaType": CONFIG, "digest": store.put_blob(b"{}"), "size": 2}
    return json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [], "annotations": {"note": note}}
    ).encode()


def make_certificate(directory: Path, *names: str) -> tuple[str, str]:
    """Makes a self-signed certificate for `names` (subject alternative names); returns certificate and key files."""
    certificate, key = str(directory / "cert.pem"), str(directory / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=registry", "-addext", f"subjectAltName={','.join(names)}"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key
