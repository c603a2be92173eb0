"""What a real registry says of its abilities: each is known of this one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest

from agent.core.image.manifest import CONFIG, MANIFEST
from agent.core.spelling.reference import RegistryReference
from agent.store.port import Ability, Probing
from agent.store.registry.registry_store import RegistryStore
from tests.fakes.memory_store import MemoryStore


@pytest.fixture
def store(registry: str) -> Iterator[RegistryStore]:
    made = RegistryStore(RegistryReference(registry, f"probing/{uuid.uuid4().hex}", "latest"))
    yield made
    made.close()


@pytest.mark.parametrize("ability", ["stream", "whole", "resume"])
def test_every_way_of_uploading_is_offered(store: RegistryStore, ability: Ability) -> None:
    answered = store.probe(ability, "")
    assert answered == (True, 201)


def test_what_concerns_a_blob(store: RegistryStore) -> None:
    digest = store.put_blob(b"some bytes")
    assert store.probe("range", digest) == (True, 206)
    assert store.probe("mount", digest) == (True, 201)
    absent = digest[:-4] + "0000"
    assert not store.probe("range", absent).works
    assert not store.probe("mount", absent).works


def test_what_concerns_tags(store: RegistryStore) -> None:
    config = {"digest": store.put_blob(b"{}"), "mediaType": CONFIG, "size": 2}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []}
    digest = store.put_manifest("one", json.dumps(manifest).encode(), MANIFEST)
    store.put_manifest("two", json.dumps(manifest).encode(), MANIFEST)
    assert store.probe("tag", "one") == (True, 200)
    assert store.probe("tag", "three") == (False, 404)
    assert store.probe("referrers", digest) == (False, 404)
    assert store.probe("pages", "") == (False, 200)
    works, ahead = store.probe("clock", "")
    assert works
    assert abs(ahead) < 2_000


def test_only_what_is_reached_over_a_network_has_something_to_tell(store: RegistryStore) -> None:
    assert isinstance(store, Probing)
    assert not isinstance(MemoryStore(), Probing)
