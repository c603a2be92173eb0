"""What every adapter of the store's port promises. One suite; the fixture `store` runs it against each of them."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from agent.core.image.manifest import CONFIG, DOCKER_MANIFEST, INDEX, MANIFEST
from agent.core.spelling.digest import Digest, digest_of
from agent.core.spelling.reference import RegistryReference
from agent.errors import IntegrityError, InvalidReferenceError, MissingBlobError
from agent.store.layout.layout_store import LayoutStore
from agent.store.port import Deleted, Store
from agent.store.registry.registry_store import RegistryStore
from tests.fakes.memory_store import MemoryStore
from tests.fakes.small_registry import SmallRegistry

LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"
Make = Callable[[], Store]


@pytest.fixture(params=["memory", "layout", "registry", "registry that deletes tag by tag"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes fresh, empty repositories of one kind."""
    with ExitStack() as opened:
        numbers = count()
        address = ""
        if request.param == "registry":
            address = request.getfixturevalue("registry")
        elif request.param == "registry that deletes tag by tag":
            address = opened.enter_context(closing(SmallRegistry("by tag"))).address

        def fresh() -> Store:
            return opened.enter_context(closing(_open(request.param, address, tmp_path, next(numbers))))

        yield fresh


def _open(kind: str, address: str, tmp_path: Path, number: int) -> Store:
    if kind == "memory":
        return MemoryStore()
    if kind == "layout":
        return LayoutStore(str(tmp_path / f"layout{number}"))
    name = f"contract/{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:24]}/{number}"
    return RegistryStore(RegistryReference(address, name, "latest"))


@pytest.fixture
def store(make: Make) -> Store:
    return make()


def image(store: Store, note: str = "", layers: tuple[bytes, ...] = (b"layer",), media_type: str = MANIFEST) -> bytes:
    """Stores the blobs of an image and returns its manifest."""
    value: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": descriptor(store.put_blob(b"{}"), 2, CONFIG),
        "layers": [descriptor(store.put_blob(data), len(data), LAYER) for data in layers],
    }
    if note:
        value["annotations"] = {"note": note}
    return json.dumps(value).encode()


def descriptor(digest: Digest, size: int, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def whole(store: Store, digest: Digest, start: int = 0, length: int | None = None) -> bytes:
    return b"".join(store.read_blob(digest, start, length))


# Manifests and tags


def test_manifest_comes_back_by_tag_and_by_digest(store: Store) -> None:
    data = image(store)
    digest = store.put_manifest("one", data, MANIFEST)
    assert digest == digest_of(data)
    for reference in ("one", digest):
        found = store.get_manifest(reference)
        assert found is not None
        assert (found.data, found.media_type, found.digest) == (data, MANIFEST, digest)


def test_manifest_bytes_are_not_reformatted(store: Store) -> None:
    data = json.dumps(json.loads(image(store)), indent=7).encode() + b"\n"
    store.put_manifest("odd", data, MANIFEST)
    found = store.get_manifest("odd")
    assert found is not None and found.data == data


@pytest.mark.parametrize("reference", ["missing", "sha256:" + "0" * 64])
def test_absent_manifest_is_none_before_and_after_the_repository_exists(store: Store, reference: str) -> None:
    assert store.get_manifest(reference) is None
    store.put_manifest("one", image(store), MANIFEST)
    assert store.get_manifest(reference) is None


def test_tag_moves_and_the_old_manifest_stays_by_digest(store: Store) -> None:
    first, second = image(store, "first"), image(store, "second")
    old = store.put_manifest("tag", first, MANIFEST)
    new = store.put_manifest("tag", second, MANIFEST)
    at_tag, at_old = store.get_manifest("tag"), store.get_manifest(old)
    assert at_tag is not None and (at_tag.digest, at_tag.data) == (new, second)
    assert at_old is not None and at_old.data == first
    assert store.tags() == ["tag"]


def test_manifest_put_twice_is_harmless(store: Store) -> None:
    data = image(store)
    assert store.put_manifest("tag", data, MANIFEST) == store.put_manifest("tag", data, MANIFEST)
    assert store.tags() == ["tag"]


def test_manifest_put_by_digest_has_no_tag(store: Store) -> None:
    data = image(store, "untagged")
    digest = store.put_manifest(digest_of(data), data, MANIFEST)
    found = store.get_manifest(digest)
    assert found is not None and found.data == data
    assert store.tags() == []


def test_manifest_put_under_anothers_digest_is_refused(store: Store) -> None:
    with pytest.raises(IntegrityError):
        store.put_manifest("sha256:" + "1" * 64, image(store), MANIFEST)


def test_docker_manifest_and_index_keep_their_media_types(store: Store) -> None:
    docker = image(store, media_type=DOCKER_MANIFEST)
    child = store.put_manifest("docker", docker, DOCKER_MANIFEST)
    index = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [descriptor(child, len(docker), DOCKER_MANIFEST)],
        }
    ).encode()
    store.put_manifest("index", index, INDEX)
    kinds = [found.media_type for tag in ("docker", "index") if (found := store.get_manifest(tag))]
    assert kinds == [DOCKER_MANIFEST, INDEX]


@pytest.mark.parametrize("where", ["config", "layers"])
def test_manifest_that_names_a_missing_blob_is_refused(store: Store, where: str) -> None:
    value = json.loads(image(store))
    missing = descriptor(digest_of(os.urandom(20)), 20, LAYER)
    value[where] = missing if where == "config" else [*value[where], missing]
    with pytest.raises(MissingBlobError) as caught:
        store.put_manifest("tag", json.dumps(value).encode(), MANIFEST)
    assert caught.value.exit_code == 21
    assert store.get_manifest("tag") is None


def test_index_that_names_a_missing_manifest_is_refused(store: Store) -> None:
    store.put_manifest("one", image(store), MANIFEST)
    missing = descriptor(digest_of(b"missing"), 7, MANIFEST)
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [missing]}
    with pytest.raises(MissingBlobError):
        store.put_manifest("index", json.dumps(index).encode(), INDEX)


def test_manifest_above_four_mebibytes_is_refused(store: Store) -> None:
    with pytest.raises(IntegrityError, match="4 MiB"):
        store.put_manifest("big", image(store, "x" * (4 << 20)), MANIFEST)
    assert store.get_manifest("big") is None


def test_manifest_of_almost_four_mebibytes_is_kept(store: Store) -> None:
    data = image(store, "x" * ((4 << 20) - 2000))
    store.put_manifest("big", data, MANIFEST)
    found = store.get_manifest("big")
    assert found is not None and found.data == data


@pytest.mark.parametrize("reference", ["", "../up", "a/b", "a:b", "a b", "sha256:xyz", "x" * 129, "ü", "a\n"])
def test_what_is_neither_tag_nor_digest_is_a_usage_error(store: Store, reference: str) -> None:
    with pytest.raises(InvalidReferenceError):
        store.get_manifest(reference)
    with pytest.raises(InvalidReferenceError):
        store.put_manifest(reference, b"{}", MANIFEST)


def test_tags_are_listed_by_prefix_in_bytes_order(store: Store) -> None:
    assert store.tags() == []
    data = image(store)
    for tag in ("b", "a.x", "B", "a_x", "a-x", "_a", "a", "0", "a.x.y"):
        store.put_manifest(tag, data, MANIFEST)
    assert store.tags() == ["0", "B", "_a", "a", "a-x", "a.x", "a.x.y", "a_x", "b"]
    assert store.tags("a.x") == ["a.x", "a.x.y"]
    assert store.tags("none") == []


def test_many_tags_are_listed_whole(store: Store) -> None:
    data = image(store)
    expected = sorted(f"t{number}" for number in range(120))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda tag: store.put_manifest(tag, data, MANIFEST), expected))
    assert store.tags("t") == expected


def test_deleted_manifest_takes_all_its_tags_along(store: Store) -> None:
    data, other = image(store, "gone"), image(store, "stays")
    digest = store.put_manifest("one", data, MANIFEST)
    store.put_manifest("two", data, MANIFEST)
    store.put_manifest("other", other, MANIFEST)
    assert store.delete_manifest(digest, ["one", "two"]).found
    assert [store.get_manifest(reference) for reference in ("one", "two", digest)] == [None, None, None]
    assert store.get_manifest("other") is not None
    assert store.tags() == ["other"]
    assert store.delete_manifest(digest, ["one", "two"]) == Deleted(found=False)


def test_deletion_says_whether_a_tag_that_was_not_named_may_live_on(store: Store) -> None:
    digest = store.put_manifest("named", image(store), MANIFEST)
    store.put_manifest("not-named", image(store), MANIFEST)
    deleted = store.delete_manifest(digest, ["named"])
    assert deleted.found
    assert store.tags() == (["not-named"] if deleted.by_tag else [])
    assert store.delete_manifest(digest, ["not-named"]).found is deleted.by_tag
    assert store.tags() == []


def test_deletion_spares_a_tag_that_was_moved_to_another_manifest(store: Store) -> None:
    old = store.put_manifest("tag", image(store, "old"), MANIFEST)
    new = store.put_manifest("tag", image(store, "new"), MANIFEST)
    assert store.delete_manifest(old, ["tag", "never-there"]).found
    found = store.get_manifest("tag")
    assert found is not None and found.digest == new
    assert store.get_manifest(old) is None


def test_deleting_what_is_not_there_finds_nothing(store: Store) -> None:
    assert store.delete_manifest(digest_of(b"never")).found is False
    assert store.delete_manifest(digest_of(b"never"), ["tag"]).found is False
    store.put_manifest("tag", image(store), MANIFEST)
    assert store.delete_manifest(digest_of(b"never"), ["tag"]).found is False
    assert store.tags() == ["tag"]


def test_deleted_manifest_can_be_put_again(store: Store) -> None:
    data = image(store)
    store.delete_manifest(store.put_manifest("tag", data, MANIFEST), ["tag"])
    assert store.get_manifest("tag") is None
    store.put_manifest("tag", data, MANIFEST)
    assert store.get_manifest("tag") is not None


# Blobs


def test_blob_comes_back_whole_and_by_range(store: Store) -> None:
    data = os.urandom(3 << 20)
    digest = store.put_blob(data)
    assert digest == digest_of(data)
    assert whole(store, digest) == data
    for start, length in ((0, 1), (5, 10), (1 << 20, 1 << 20), (len(data) - 1, 1), (0, len(data)), (7, 0)):
        assert whole(store, digest, start, length) == data[start : start + length]
    assert whole(store, digest, 1000) == data[1000:]


def test_range_past_the_end_is_an_error_if_its_length_was_promised(store: Store) -> None:
    digest = store.put_blob(b"0123456789")
    assert whole(store, digest, 10) == b""
    assert whole(store, digest, 99) == b""
    assert whole(store, digest, 99, 0) == b""
    for start, length in ((5, 6), (10, 1), (99, 1)):
        with pytest.raises(IntegrityError):
            whole(store, digest, start, length)


def test_absent_blob_is_an_integrity_error_when_read(store: Store) -> None:
    missing = digest_of(b"never stored")
    assert store.has_blob(missing) is False
    with pytest.raises(IntegrityError):
        whole(store, missing)
    store.put_blob(b"something")
    assert store.has_blob(missing) is False
    with pytest.raises(IntegrityError):
        whole(store, missing, 0, 5)


def test_reading_can_stop_half_way(store: Store) -> None:
    digest = store.put_blob(os.urandom(5 << 20))
    reader = store.read_blob(digest)
    assert len(next(reader)) > 0
    reader.close()  # type: ignore[attr-defined]
    assert store.has_blob(digest)


def test_blob_put_twice_moves_once(store: Store) -> None:
    data = os.urandom(100_000)
    digest = store.put_blob(data)
    sent = store.traffic.sent
    assert store.put_blob(data) == digest
    assert store.traffic.sent == sent
    assert store.has_blob(digest)


@pytest.mark.parametrize("size", [0, 1, 17 << 20])
def test_upload_stores_a_blob_of_unknown_size(store: Store, size: int) -> None:
    data = os.urandom(size)
    stored = store.upload(lambda: (data[at : at + 300_001] for at in range(0, size, 300_001)))
    assert (stored.digest, stored.size) == (digest_of(data), size)
    assert store.has_blob(stored.digest)
    assert whole(store, stored.digest) == data


def test_upload_takes_empty_chunks(store: Store) -> None:
    stored = store.upload(lambda: iter([b"", b"ab", b"", b"c", b""]))
    assert whole(store, stored.digest) == b"abc"


def test_upload_of_what_is_there_is_harmless(store: Store) -> None:
    store.put_blob(b"twice")
    stored = store.upload(lambda: iter([b"twi", b"ce"]))
    assert whole(store, stored.digest) == b"twice"


@pytest.mark.parametrize("error", [OSError(5, "the workspace's disk fails"), ValueError("odd"), KeyboardInterrupt()])
def test_what_the_source_of_an_upload_raises_passes_through(store: Store, error: BaseException) -> None:
    calls = []

    def chunks() -> Iterator[bytes]:
        calls.append(1)
        yield b"x" * 100_000
        raise error

    with pytest.raises(type(error)) as caught:
        store.upload(chunks)
    assert caught.value is error
    assert len(calls) == 1
    assert not store.has_blob(digest_of(b"x" * 100_000))


def test_traffic_counts_bytes_of_blobs_and_manifests(store: Store) -> None:
    before = store.traffic.sent
    digest = store.upload(lambda: iter([b"x" * 1000, b"y" * 500])).digest
    assert store.traffic.sent - before == 1500
    before = store.traffic.received
    whole(store, digest, 100, 300)
    assert store.traffic.received - before == 300


def test_blob_is_copied_from_another_repository(make: Make) -> None:
    source, target = make(), make()
    data = os.urandom(2 << 20)
    digest = source.put_blob(data)
    for _ in range(2):
        target.copy_blob(digest, len(data), source)
        assert whole(target, digest) == data


def test_blob_is_copied_from_another_kind_of_store(store: Store) -> None:
    source = MemoryStore()
    digest = source.put_blob(b"from afar")
    store.copy_blob(digest, 9, source)
    assert whole(store, digest) == b"from afar"


def test_blob_keeps_its_kind_of_digest_when_it_is_copied(make: Make) -> None:
    source, target = make(), make()
    data = os.urandom(100_000)
    digest = source.upload(lambda: iter([data]), "sha512").digest
    assert digest == "sha512:" + hashlib.sha512(data).hexdigest()
    target.copy_blob(digest, len(data), source)
    assert target.has_blob(digest)
    assert whole(target, digest) == data


def test_copy_of_an_absent_blob_is_an_integrity_error(make: Make) -> None:
    source, target = make(), make()
    source.put_blob(b"other")
    with pytest.raises(IntegrityError):
        target.copy_blob(digest_of(b"absent"), 6, source)
    assert not target.has_blob(digest_of(b"absent"))


def test_copy_of_a_damaged_blob_is_an_integrity_error(store: Store) -> None:
    source = MemoryStore()
    digest = source.put_blob(b"right")
    source.blobs[digest] = b"wrong"
    with pytest.raises(IntegrityError):
        store.copy_blob(digest, 5, source)
    assert not store.has_blob(digest)


# Many at once


def test_threads_share_one_store(store: Store) -> None:
    manifest = image(store)
    start = threading.Barrier(8)

    def work(number: int) -> bytes:
        start.wait()
        data = bytes([number]) * 200_000
        stored = store.upload(lambda: (data[at : at + 50_000] for at in range(0, len(data), 50_000)))
        store.put_blob(b"small %d" % number)
        store.put_manifest(f"thread{number}", manifest, MANIFEST)
        return whole(store, stored.digest)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))
    assert results == [bytes([number]) * 200_000 for number in range(8)]
    assert store.tags("thread") == sorted(f"thread{number}" for number in range(8))
    assert store.traffic.sent >= 8 * 200_000


def put_tags(path: str, writer: int, count: int, data: bytes) -> None:
    store = LayoutStore(path)
    for number in range(count):
        store.put_manifest(f"w{writer}.{number}", data, MANIFEST)
        store.put_manifest("head", data, MANIFEST)


def test_processes_that_tag_one_layout_at_once_lose_no_tag(tmp_path: Path) -> None:
    path = str(tmp_path / "layout")
    data = image(LayoutStore(path))
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=put_tags, args=(path, writer, 12, data)) for writer in range(4)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert [process.exitcode for process in writers] == [0] * 4
    expected = ["head", *(f"w{writer}.{number}" for writer in range(4) for number in range(12))]
    assert LayoutStore(path).tags() == sorted(expected)
