"""The image layout on disk: what is there before, what stays behind, what other tools make of it."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from agent.core.image.manifest import CONFIG, INDEX, MANIFEST
from agent.core.spelling.digest import digest_of
from agent.core.spelling.reference import LayoutReference, RegistryReference
from agent.errors import IntegrityError, UnavailableError, UsageError
from agent.store import StoreOptions, open_store
from agent.store.layout.layout_files import LOCK, TEMPORARY, TemporaryFile, locked, remove_abandoned, translate_errors
from agent.store.layout.layout_index import EMPTY, REF_NAME, parse_index, with_tag
from agent.store.layout.layout_store import LayoutStore
from agent.store.port import Store
from agent.store.registry.registry_store import RegistryStore
from tests.store.conftest import image

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


def real_image(store: Store, content: bytes = b"hello\n") -> bytes:
    """Stores an image of one gzip layer with one file that any tool can unpack; returns its manifest."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        member = tarfile.TarInfo("greeting")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    layer = gzip.compress(tar.getvalue(), mtime=0)
    rootfs = {"type": "layers", "diff_ids": [digest_of(tar.getvalue())]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": store.put_blob(config), "size": len(config)},
            "layers": [{"mediaType": GZIP, "digest": store.put_blob(layer), "size": len(layer)}],
        }
    ).encode()


def run(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(path: Path) -> set[str]:
    return {str(found.relative_to(path)) for found in path.rglob("*") if found.is_file()}


# What is there before


def test_reading_makes_nothing(tmp_path: Path) -> None:
    store = LayoutStore(str(tmp_path / "absent"))
    assert store.get_manifest("tag") is None
    assert store.tags() == []
    assert store.has_blob(digest_of(b"x")) is False
    assert store.delete_manifest(digest_of(b"x")).found is False
    with pytest.raises(IntegrityError):
        list(store.read_blob(digest_of(b"x")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["notes.txt", "blobs", "index.json"])
def test_directory_of_something_else_is_a_usage_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match="no oci-layout") as caught:
        LayoutStore(str(tmp_path))
    assert caught.value.exit_code == 2
    assert files(tmp_path) == {name}


def test_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in ("file", "file/below"):
        with pytest.raises(UsageError, match="not a directory"):
            LayoutStore(str(tmp_path / path))


@pytest.mark.parametrize("names", [[], ["lost+found"], [f"{TEMPORARY}dead", ".instep.lock"]])
def test_directory_with_nothing_in_it_becomes_a_layout(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    LayoutStore(str(tmp_path)).put_blob(b"x")
    assert json.loads((tmp_path / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads((tmp_path / "index.json").read_text())["manifests"] == []


def test_directory_that_fills_after_it_was_looked_at_is_left_alone(tmp_path: Path) -> None:
    store = LayoutStore(str(tmp_path))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError):
        store.put_blob(b"x")
    assert files(tmp_path) - {".instep.lock"} == {"notes.txt"}


def test_layout_is_not_made_where_that_is_not_wanted(tmp_path: Path) -> None:
    store = LayoutStore(str(tmp_path / "new"), create=False)
    with pytest.raises(UsageError, match="no image layout"):
        store.put_blob(b"x")
    assert not (tmp_path / "new").exists()
    LayoutStore(str(tmp_path / "new")).put_blob(b"x")
    LayoutStore(str(tmp_path / "new"), create=False).put_blob(b"y")


def test_relative_path_stays_where_it_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = LayoutStore("here")
    monkeypatch.chdir("/")
    store.put_blob(b"x")
    assert (tmp_path / "here" / "oci-layout").exists()


# The index


def entry(digest: str, tag: str | None, **more: Any) -> dict[str, Any]:
    annotations = {} if tag is None else {"annotations": {REF_NAME: tag}}
    return {"mediaType": MANIFEST, "digest": digest, "size": 1, **annotations, **more}


def test_last_of_several_entries_counts_and_moving_the_tag_leaves_one(tmp_path: Path) -> None:
    store = LayoutStore(str(tmp_path))
    old, new = image(store, "old"), image(store, "new")
    for data in (old, new):
        store.put_manifest(digest_of(data), data, MANIFEST)
    index = {**EMPTY, "manifests": [entry(digest_of(data), "tag") for data in (old, new)]}
    (tmp_path / "index.json").write_text(json.dumps(index))
    found = store.get_manifest("tag")
    assert found is not None and found.data == new
    store.put_manifest("tag", old, MANIFEST)
    assert len(json.loads((tmp_path / "index.json").read_text())["manifests"]) == 1


def test_what_is_not_understood_survives(tmp_path: Path) -> None:
    store = LayoutStore(str(tmp_path))
    data = image(store)
    strange = [
        entry(digest_of(b"1"), None, platform={"os": "plan9"}),
        entry(digest_of(b"2"), "docker.io/library/whole:name"),
        {"odd": 1, "annotations": 7},
    ]
    index = {**EMPTY, "annotations": {"kept": "yes"}, "extra": [1], "manifests": strange}
    (tmp_path / "index.json").write_text(json.dumps(index))
    store.put_manifest("tag", data, MANIFEST)
    after = json.loads((tmp_path / "index.json").read_text())
    assert {key: after[key] for key in ("annotations", "extra")} == {"annotations": {"kept": "yes"}, "extra": [1]}
    assert after["manifests"][:-1] == strange
    assert store.tags() == ["tag"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"manifests":7}', '{"manifests":[7]}', "[" * 100_000, "\0" * 9])
def test_damaged_index_is_an_integrity_error_and_stays(tmp_path: Path, text: str) -> None:
    store = LayoutStore(str(tmp_path))
    data = image(store)
    (tmp_path / "index.json").write_text(text)
    for call in (lambda: store.get_manifest("tag"), store.tags, lambda: store.put_manifest("tag", data, MANIFEST)):
        with pytest.raises(IntegrityError, match="not an image index"):
            call()
    assert (tmp_path / "index.json").read_text() == text


@pytest.mark.parametrize("digest", [None, 5, "sha256:../../../etc/passwd", "md5:00", "sha256:" + "A" * 64])
def test_entry_without_a_proper_digest_is_an_integrity_error(tmp_path: Path, digest: Any) -> None:
    store = LayoutStore(str(tmp_path))
    store.put_blob(b"x")
    (tmp_path / "index.json").write_text(json.dumps({**EMPTY, "manifests": [entry(digest, "tag")]}))
    with pytest.raises(IntegrityError):
        store.get_manifest("tag")


def test_entry_whose_manifest_is_missing_is_an_integrity_error(tmp_path: Path) -> None:
    store = LayoutStore(str(tmp_path))
    store.put_blob(b"x")
    (tmp_path / "index.json").write_text(json.dumps({**EMPTY, "manifests": [entry(digest_of(b"gone"), "tag")]}))
    with pytest.raises(IntegrityError, match="not there"):
        store.get_manifest("tag")


def test_damaged_manifest_is_an_integrity_error(tmp_path: Path) -> None:
    store = LayoutStore(str(tmp_path))
    digest = store.put_manifest("tag", image(store), MANIFEST)
    (tmp_path / "blobs" / "sha256" / digest.partition(":")[2]).write_bytes(image(store, "other"))
    for reference in ("tag", digest):
        with pytest.raises(IntegrityError):
            store.get_manifest(reference)


def test_parsing_and_writing_an_index_are_inverse() -> None:
    index = with_tag(EMPTY, "tag", {"mediaType": INDEX, "digest": digest_of(b""), "size": 0})
    assert parse_index(json.dumps(index).encode(), "x") == index
    assert EMPTY["manifests"] == []


def test_blob_that_is_no_manifest_is_not_found_as_one(tmp_path: Path) -> None:
    store = LayoutStore(str(tmp_path))
    for data in (b"{}", b"\0" * 100, b'{"rootfs":{}}', b"[]"):
        assert store.get_manifest(store.put_blob(data)) is None


# Hostile layouts


def test_link_or_fifo_in_place_of_a_blob_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"not yours")
    store = LayoutStore(str(tmp_path / "layout"))
    store.put_blob(b"x")
    for number, make in enumerate((lambda path: path.symlink_to(tmp_path / "secret"), os.mkfifo)):
        digest = digest_of(b"%d" % number)
        make(tmp_path / "layout" / "blobs" / "sha256" / digest.partition(":")[2])
        assert store.has_blob(digest) is False
        with pytest.raises((IntegrityError, UnavailableError)):
            list(store.read_blob(digest))


# What stays behind


def test_failed_upload_leaves_nothing(tmp_path: Path) -> None:
    store = LayoutStore(str(tmp_path))
    store.put_blob(b"x")
    before = files(tmp_path)

    def chunks() -> Any:
        yield b"y" * 100
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        store.upload(chunks)
    assert files(tmp_path) == before


FULL = """
import os, resource, sys
from agent.core.spelling.digest import digest_of
from agent.errors import UnavailableError
from agent.store.layout.layout_store import LayoutStore
store = LayoutStore(sys.argv[1])
digest = store.put_blob(b"small")
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
for call in (lambda: store.upload(lambda: iter([b"x" * 600_000] * 3)), lambda: store.put_blob(b"y" * (2 << 20))):
    try:
        call()
    except UnavailableError as error:
        print(error.exit_code, error)
assert store.has_blob(digest)
"""


def test_full_disk_is_a_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line[:2] for line in done.stdout.splitlines()] == ["21", "21"]
    assert "no space left" in done.stdout
    expected = {".instep.lock", "index.json", "oci-layout", f"blobs/sha256/{digest_of(b'small')[7:]}"}
    assert files(tmp_path) == expected


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "no space left"),
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "input/output"),
    ],
)
def test_trouble_with_the_disk_is_said_plainly(number: int, words: str) -> None:
    with pytest.raises(UnavailableError, match=words) as caught, translate_errors("/layout"):
        raise OSError(number, os.strerror(number), "/layout/index.json")
    assert caught.value.exit_code == 21


def test_directory_that_vanishes_is_a_clear_error(tmp_path: Path) -> None:
    store = LayoutStore(str(tmp_path / "layout"))
    store.put_blob(b"first")
    shutil.rmtree(tmp_path / "layout")
    for call in (lambda: store.put_blob(b"x"), lambda: store.upload(lambda: iter([b"x"]))):
        with pytest.raises(UnavailableError):
            call()


ENDLESS = """
import sys
from agent.store.layout.layout_store import LayoutStore
def chunks():
    while True:
        yield b"x" * 4096
        print("going", flush=True)
LayoutStore(sys.argv[1]).upload(chunks)
"""


def test_killed_writer_leaves_what_the_next_one_removes(tmp_path: Path) -> None:
    running = subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)], stdout=subprocess.PIPE)
    assert running.stdout is not None
    running.stdout.readline()
    LayoutStore(str(tmp_path)).put_blob(b"meanwhile")
    assert len(list(tmp_path.glob(TEMPORARY + "*"))) == 1, "the file of a living writer is not touched"
    running.send_signal(signal.SIGKILL)
    running.wait()
    running.stdout.close()
    assert len(list((tmp_path / "blobs" / "sha256").iterdir())) == 1
    LayoutStore(str(tmp_path)).put_blob(b"afterwards")
    assert list(tmp_path.glob(TEMPORARY + "*")) == []


def test_sweep_spares_what_is_being_written(tmp_path: Path) -> None:
    with TemporaryFile(str(tmp_path)) as temporary:
        os.write(temporary.descriptor, b"whole")
        remove_abandoned(str(tmp_path))
        temporary.rename_to(str(tmp_path / "done"))
    assert (tmp_path / "done").read_bytes() == b"whole"


# Other tools


def test_skopeo_reads_what_we_write_and_we_read_what_it_writes(tmp_path: Path, registry: str, repository: str) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    store = LayoutStore(str(ours))
    digest = store.put_manifest("one", real_image(store), MANIFEST)
    store.put_manifest("two", real_image(store, b"other\n"), MANIFEST)
    assert json.loads(run("skopeo", "inspect", f"oci:{ours}:one"))["Digest"] == digest
    remote = f"{registry}/{repository}:one"
    run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{ours}:one", f"docker://{remote}")
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://{remote}", f"oci:{theirs}:again")
    found = LayoutStore(str(theirs)).get_manifest("again")
    assert found is not None and found.digest == digest
    at_registry = RegistryStore(RegistryReference(registry, repository, "one"))
    assert at_registry.get_manifest("one") == found
    at_registry.close()


def test_skopeo_and_we_write_one_layout(tmp_path: Path) -> None:
    store = LayoutStore(str(tmp_path / "layout"))
    store.put_manifest("one", real_image(store), MANIFEST)
    run("skopeo", "copy", f"oci:{tmp_path}/layout:one", f"oci:{tmp_path}/layout:two")
    store.put_manifest("three", real_image(store), MANIFEST)
    assert store.tags() == ["one", "three", "two"]


def test_umoci_reads_what_we_write_and_we_read_what_it_writes(tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    run("umoci", "init", "--layout", str(layout))
    run("umoci", "new", "--image", f"{layout}:theirs")
    store = LayoutStore(str(layout), create=False)
    theirs = store.get_manifest("theirs")
    assert theirs is not None and theirs.media_type == MANIFEST
    store.put_manifest("ours", real_image(store), MANIFEST)
    run("umoci", "tag", "--image", f"{layout}:ours", "renamed")
    run("umoci", "gc", "--layout", str(layout))
    assert sorted(run("umoci", "ls", "--layout", str(layout)).split()) == ["ours", "renamed", "theirs"]
    assert store.tags() == ["ours", "renamed", "theirs"]
    run("umoci", "unpack", "--rootless", "--image", f"{layout}:renamed", str(tmp_path / "bundle"))
    assert (tmp_path / "bundle" / "rootfs" / "greeting").read_bytes() == b"hello\n"


# Opening


def test_layout_needs_no_http_client(tmp_path: Path) -> None:
    code = (
        "import sys; from agent.store import *; from agent.core.spelling.reference import parse_reference\n"
        "store = open_store(parse_reference('oci:' + sys.argv[1]), StoreOptions()); store.put_blob(b'x')\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'requests', 'urllib3', 'oras', 'ssl'}))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_registry_needs_no_oras() -> None:
    loaded = "print([name for name in sys.modules if name.startswith('oras')])"
    code = f"import sys, agent.store.registry.registry_store; {loaded}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_reference_decides_the_store(tmp_path: Path) -> None:
    layout = open_store(LayoutReference(str(tmp_path), "tag"), StoreOptions())
    registry = open_store(RegistryReference("registry.example", "a/b", "tag"), StoreOptions(plain_http=True))
    assert isinstance(layout, LayoutStore)
    assert isinstance(registry, RegistryStore) and registry.origin.scheme == "http"
    registry.close()


def test_a_lock_that_is_never_given_up_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = str(tmp_path / LOCK)
    with (
        locked(path),
        pytest.raises(UnavailableError, match=r"instep\.lock: another process has held the lock for 0\.1 s"),
        locked(path, 0.1),
    ):
        pytest.fail("both hold the lock")
    with locked(path, 0):
        pass
