"""Bad input gets a clear error and loses nothing (issue 2, item 8): target, state and directory stay as they were.

The same through the command line, and credentials, are in tests/cli and tests/store.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.core.image.manifest import CONFIG, INDEX, MANIFEST
from agent.core.spelling.reference import parse_reference
from agent.core.spelling.tags import entry_tag
from agent.errors import (
    AgentError,
    AuthError,
    DivergedError,
    FileChangedError,
    IntegrityError,
    InvalidReferenceError,
    UnavailableError,
    UnsafeArchiveError,
    UnsupportedError,
    WorkspaceError,
)
from agent.store import Patience, StoreOptions, open_store
from agent.sync.operation.options import PullOptions, PushOptions
from agent.sync.operation.workspace_context import Progress
from agent.sync.pull_steps.pull_directory import pull
from agent.sync.push_steps.push_directory import push
from tests.fakes.contents import noise, write
from tests.fakes.docker_registry import BINARY, DockerRegistry
from tests.fakes.memory_workspaces import MemoryWorkspaces, entries_of
from tests.fakes.plain import on_disk, put_image
from tests.fakes.secrets import holds_secret, secret
from tests.fakes.stranger import Stranger
from tests.fakes.trees import snapshot, unlike
from tests.fakes.workspaces import Workspaces

RIGHT, WRONG = secret("right"), secret("wrong")


def refused(kind: type[AgentError], words: str | None, act: Callable[[], object]) -> AgentError:
    """Check that an operation ends with one line that says what happened and what to do."""
    with pytest.raises(kind, match=words) as caught:
        act()
    error = caught.value
    assert type(error).exit_code == kind.exit_code
    assert error.subject and error.what and error.remedy
    assert str(error).isprintable()
    assert len(str(error)) < 600
    return error


@pytest.fixture
def shared(memory: MemoryWorkspaces) -> MemoryWorkspaces:
    """A workspace pushed from `a`, pulled into `b`, which has a change to push."""
    top = memory.at("a")
    write(top, b"d/one", b"one")
    write(top, b"big", noise(400_000))
    write(top, b"d/two", noise(5000))
    memory.push("a")
    memory.pull("b")
    write(memory.at("b"), b"new", b"n")
    return memory


@pytest.mark.parametrize(
    "tag", ["main.a._eaaaaaaaaaa" + "0" * 26, "x._p" + "a" * 26 + "-3-0", "._c" + "b" * 10 + "f" * 26]
)
def test_a_tag_that_is_derived_from_a_targets_is_no_target(shared: MemoryWorkspaces, tag: str) -> None:
    before, disk = shared.frozen("b"), snapshot(shared.at("b"))
    site = shared.site("b")
    site = site._replace(target=parse_reference(shared.target)._replace(tag=tag))
    for act in (lambda: push(site, PushOptions(lane="b")), lambda: pull(site, PullOptions())):
        error = refused(InvalidReferenceError, "derived from a target's", act)
        assert error.exit_code == 2
    assert shared.frozen("b") == before
    assert unlike(disk, snapshot(shared.at("b"))) == {}


def test_a_registry_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        made = Workspaces(tmp_path, f"127.0.0.1:{unused.getsockname()[1]}/x/y:z")
        made.patience = Patience(0.5)
        error = refused(UnavailableError, "127.0.0.1", lambda: made.pull("b"))
        assert error.exit_code == 21
        assert on_disk(made.at("b")) == {}
        assert sorted(os.listdir(tmp_path / ".state-b")) == ["lock"]
        made.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[Workspaces, Path]]:
    """Workspaces at a registry that asks for a password, and where to write which one they use."""
    if shutil.which(BINARY) is None or shutil.which("htpasswd") is None:
        pytest.skip(f"{BINARY} or htpasswd is not installed")
    users, config = tmp_path / "users", tmp_path / "docker"
    subprocess.run(["htpasswd", "-Bbc", users, "me", RIGHT], check=True, capture_output=True)
    (tmp_path / "registry").mkdir()
    config.mkdir()
    running = DockerRegistry(tmp_path / "registry", auth={"htpasswd": {"realm": "r", "path": str(users)}})

    class Authorized(Workspaces):
        def open_store(self, reference: Any) -> Any:
            return open_store(reference, StoreOptions(environ={"DOCKER_CONFIG": str(config)}))

    yield Authorized(tmp_path, f"{running.address}/team/ws:main"), config / "config.json"
    running.close()


def test_a_wrong_password_changes_nothing_and_is_never_told(guarded: tuple[Workspaces, Path]) -> None:
    made, config = guarded

    def use(word: str) -> None:
        entry = base64.b64encode(f"me:{word}".encode()).decode()
        config.write_text(json.dumps({"auths": {made.target.partition("/")[0]: {"auth": entry}}}))

    use(RIGHT)
    write(made.at("a"), b"f", b"1")
    made.push("a")
    write(made.at("a"), b"f", b"2")
    state = (made.place / ".state-a" / "state").read_bytes()
    use(WRONG)
    for act in (lambda: made.push("a"), lambda: made.pull("b"), lambda: made.pull("a", force=True)):
        error = refused(AuthError, None, act)
        assert error.exit_code == 20
        assert not holds_secret(str(error))
    assert (made.place / ".state-a" / "state").read_bytes() == state
    assert on_disk(made.at("b")) == {}
    use(RIGHT)
    assert made.push("a").written == 1


def broken_manifest(how: str, good: dict[str, Any]) -> tuple[Any, str]:
    """Return what stands at the target's tag instead of an image, and its media type."""
    layer = good["layers"][0]
    return {
        "not json": (b"{", MANIFEST),
        "a list": ([], MANIFEST),
        "a number": (7, MANIFEST),
        "nothing in it": ({"schemaVersion": 2, "mediaType": MANIFEST}, MANIFEST),
        "layers that are none": ({**good, "layers": "none"}, MANIFEST),
        "a layer without digest": ({**good, "layers": [{"mediaType": "x", "size": 3}]}, MANIFEST),
        "a digest that is a path": ({**good, "layers": [{**layer, "digest": "sha256:../../../etc/passwd"}]}, MANIFEST),
        "a negative size": ({**good, "layers": [{**layer, "size": -1}]}, MANIFEST),
        "annotations that are none": ({**good, "annotations": [1]}, MANIFEST),
        "another view": ({**good, "layers": good["layers"] * 2}, MANIFEST),
        "a record that was edited": (edited_record(good), MANIFEST),
        "an artifact": (
            {"schemaVersion": 2, "mediaType": MANIFEST, "config": good["config"] | {"mediaType": "x/y"}, "layers": []}
            | {"layers": [layer | {"annotations": {}}], "annotations": {}},
            MANIFEST,
        ),
        "an index of nothing": ({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}, INDEX),
        "an index of other platforms": (
            {
                "schemaVersion": 2,
                "mediaType": INDEX,
                "manifests": [
                    {"mediaType": MANIFEST, "digest": layer["digest"], "size": 3, "platform": {"os": "plan9"}}
                ],
            },
            INDEX,
        ),
        "an index of what is not there": (
            {
                "schemaVersion": 2,
                "mediaType": INDEX,
                "manifests": [{"mediaType": MANIFEST, "digest": "sha256:" + "0" * 64, "size": 3}],
            },
            INDEX,
        ),
        "deeply nested": (b"[" * 100_000, MANIFEST),
    }[how]


def edited_record(good: dict[str, Any]) -> dict[str, Any]:
    edited: dict[str, Any] = json.loads(json.dumps(good))
    said = edited["layers"][0]["annotations"]
    said["dev.instep.record"] = said["dev.instep.record"].replace('"lane":"a"', '"lane":"b"')
    return edited


BROKEN = [
    *("not json", "a list", "a number", "nothing in it", "layers that are none", "a layer without digest"),
    *("a digest that is a path", "a negative size", "annotations that are none", "another view"),
    *("a record that was edited", "an artifact", "an index of nothing", "an index of other platforms"),
    *("an index of what is not there", "deeply nested"),
]


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("where", ["head", "entry"])
def test_a_manifest_that_is_no_image(shared: MemoryWorkspaces, how: str, where: str) -> None:
    value, media_type = broken_manifest(how, shared.manifest("main"))
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    if how == "an artifact":
        empty = {"mediaType": CONFIG, "digest": shared.store.put_blob(b"{}"), "size": 2}
        data = json.dumps({**value, "config": empty}).encode()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    shared.store.manifests[digest] = (data, media_type)
    shared.store.pointers[tag_of(where, shared)] = digest  # type: ignore[assignment]
    (blobs, manifests, pointers), state = shared.frozen("b")
    disk = snapshot(shared.at("b"))
    kind = UnsupportedError if how == "an index of other platforms" else IntegrityError
    refused(kind, None, lambda: shared.pull("c"))
    assert on_disk(shared.at("c")) == {}
    refused(kind, None, lambda: shared.pull("b", force=True))
    assert (dict(shared.store.blobs), dict(shared.store.manifests), dict(shared.store.pointers)) == (
        blobs,
        manifests,
        pointers,
    )
    assert shared.state_of("b") == state
    assert unlike(disk, snapshot(shared.at("b"))) == {}


def tag_of(where: str, shared: MemoryWorkspaces) -> str:
    return "main" if where == "head" else entry_tag("main", "someone", "0" * 64)


def test_a_push_beside_a_broken_head_is_published_once_and_finished_when_head_is_mended(
    shared: MemoryWorkspaces,
) -> None:
    head = shared.store.pointers["main"]
    shared.put("main", {"schemaVersion": 2, "mediaType": MANIFEST, "layers": "none"})
    broken = shared.store.pointers["main"]
    for _ in range(2):
        refused(IntegrityError, "no image manifest", lambda: shared.push("b"))
        assert shared.store.pointers["main"] == broken
        assert len(entries_of(shared.store)) == 2
    shared.store.pointers["main"] = head
    assert shared.push("b").id == shared.log()[0].id
    assert len(entries_of(shared.store)) == 2


@pytest.mark.parametrize("how", ["flip", "truncate", "remove", "swap", "grow"])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_a_layer_that_is_damaged(shared: MemoryWorkspaces, how: str, whole: bool, compression: str) -> None:
    write(shared.at("b"), b"large", noise(300_000, 3))
    report = shared.push("b", compression=compression)
    digest = shared.manifest(str(report.digest))["layers"][-1]["digest"]
    data = shared.store.blobs[digest]
    damaged = {
        "flip": data[:150_000] + bytes([data[150_000] ^ 1]) + data[150_001:],
        "truncate": data[: len(data) // 2],
        "remove": None,
        "swap": next(blob for other, blob in shared.store.blobs.items() if other != digest and len(blob) > 10_000),
        "grow": data + b"more",
    }[how]
    if damaged is None:
        del shared.store.blobs[digest]
    else:
        shared.store.blobs[digest] = damaged
    state = shared.state_of("a")
    error = refused(IntegrityError, None, lambda: shared.pull("a", verify_whole=whole))
    assert error.exit_code == 30
    assert shared.state_of("a")["state"] == state["state"]
    assert "large" not in on_disk(shared.at("a"))
    shared.store.blobs[digest] = data
    shared.pull("a")
    assert unlike(snapshot(shared.at("b")), snapshot(shared.at("a"))) == {}


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_a_table_of_contents_that_is_damaged(shared: MemoryWorkspaces, compression: str) -> None:
    for number in range(200):
        write(shared.at("b"), b"many/%03d" % number, noise(100, number))
    report = shared.push("b", compression=compression)
    layer = shared.manifest(str(report.digest))["layers"][-1]
    assert "dev.instep.toc" not in layer["annotations"]
    place = json.loads(layer["annotations"]["dev.instep.encoding"])
    data = bytearray(shared.store.blobs[layer["digest"]])
    data[place["offset"] + place["length"] // 2] ^= 1
    shared.store.blobs[layer["digest"]] = bytes(data)
    before, disk = shared.frozen("a"), snapshot(shared.at("a"))
    refused(IntegrityError, None, lambda: shared.pull("a"))
    assert shared.frozen("a") == before
    assert unlike(disk, snapshot(shared.at("a"))) == {}


@pytest.mark.parametrize("name", ["../out", "/etc/../../out", "a/../../out", "d/./x/../../../out"])
def test_an_image_that_would_write_elsewhere(memory: MemoryWorkspaces, name: str) -> None:
    put_image(memory.store, "main", [{"fine": b"x", name: b"out"}])
    error = refused(UnsafeArchiveError, None, lambda: memory.pull("a"))
    assert error.exit_code == 31
    assert on_disk(memory.at("a")) == {}
    assert memory.state_of("a") == {}
    assert not (memory.place / "out").exists()


def test_a_directory_that_is_not_empty_and_not_ours(shared: MemoryWorkspaces) -> None:
    write(shared.at("c"), b"mine", b"m")
    before, disk = shared.frozen("c"), snapshot(shared.at("c"))
    refused(DivergedError, "not empty and was not pulled.*--force", lambda: shared.pull("c"))
    assert shared.frozen("c") == before
    assert unlike(disk, snapshot(shared.at("c"))) == {}
    shared.pull("c", force=True)
    assert unlike(snapshot(shared.at("a")), snapshot(shared.at("c"))) == {}


@pytest.mark.parametrize("what", ["file", "link to nothing"])
def test_a_directory_that_is_none(shared: MemoryWorkspaces, what: str) -> None:
    site = shared.site("b")
    place = shared.place / "there"
    if what == "file":
        place.write_text("x")
    else:
        place.symlink_to("nowhere")
    site = site._replace(directory=str(place), state=str(shared.place / ".state-there"))
    refused(WorkspaceError, "not a directory", lambda: push(site, PushOptions(lane="b")))
    if what == "file":
        refused(WorkspaceError, "not a directory", lambda: pull(site, PullOptions()))
        assert place.read_text() == "x"


def test_names_that_no_layer_can_hold_are_refused_before_anything_is_sent(shared: MemoryWorkspaces) -> None:
    write(shared.at("b"), b"d/.wh.gone", b"x")
    write(shared.at("b"), b".wh..wh..opq", b"x")
    before = shared.frozen("b")
    refused(WorkspaceError, r"\.wh\..*rename", lambda: shared.push("b"))
    assert shared.frozen("b") == before
    refused(WorkspaceError, r"\.wh\.", lambda: shared.pull("b"))


class Meddling(threading.Thread):
    """Appends to a file until it is told to stop."""

    def __init__(self, path: bytes) -> None:
        super().__init__(daemon=True)
        self.path, self.stopped = path, threading.Event()

    def run(self) -> None:
        with open(self.path, "ab", buffering=0) as file:
            while not self.stopped.is_set():
                file.write(b"more" * 100)


def test_a_file_that_never_rests_is_tried_three_times_and_nothing_is_published(shared: MemoryWorkspaces) -> None:
    place = write(shared.at("b"), b"log", noise(9 << 20))
    before = shared.frozen("b")
    meddling = Meddling(place)
    meddling.start()
    try:
        error = refused(FileChangedError, "log: .*changed", lambda: shared.push("b"))
    finally:
        meddling.stopped.set()
        meddling.join()
    assert error.exit_code == 40
    assert len(shared.notices) == 2
    assert shared.frozen("b")[0] == before[0]
    assert shared.state_of("b")["state"] == before[1]["state"]
    assert shared.push("b").written == 2
    shared.pull("a")
    assert unlike(snapshot(shared.at("b")), snapshot(shared.at("a"))) == {}


class Once(Progress):
    """Does something at the beginning of the first upload."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.left = [act]
        self.texts: list[str] = []

    def stage(self, name: str, total: int | None = None, unit: str = "paths") -> None:
        if name == "read and upload" and self.left:
            self.left.pop()()

    def advance(self, amount: int) -> None:
        """Nothing to show."""

    def notice(self, text: str) -> None:
        self.texts.append(text)


@pytest.mark.parametrize("what", ["vanishes", "grows", "shrinks", "turns into a link", "turns into a directory"])
def test_what_changes_between_the_scan_and_its_reading_is_looked_at_again(shared: MemoryWorkspaces, what: str) -> None:
    place = write(shared.at("b"), b"restless", noise(2 << 20))

    def act() -> None:
        if what == "grows":
            write(shared.at("b"), b"restless", noise(3 << 20))
            return
        os.unlink(place)
        if what == "shrinks":
            write(shared.at("b"), b"restless", b"x")
        elif what == "turns into a link":
            os.symlink("/etc/passwd", place)
        elif what == "turns into a directory":
            os.mkdir(place)

    progress = Once(act)
    report = push(shared.site("b")._replace(progress=progress), PushOptions(lane="b"))
    assert len(progress.texts) == 1
    assert report.id
    assert len(entries_of(shared.store)) == 2
    shared.pull("a")
    assert unlike(snapshot(shared.at("b")), snapshot(shared.at("a"))) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_a_directory_that_cannot_be_read_is_not_an_empty_one() -> None:
    stranger = Stranger()
    place, target = stranger.place, f"oci:{stranger.place}/layout:ws"
    try:
        write(os.fsencode(place / "a"), b"shut/file", b"x")
        write(os.fsencode(place / "a"), b"secret", b"s")
        stranger.own(place)
        stranger.agent("push", target, place / "a")
        index = (place / "layout" / "index.json").read_bytes()
        (state,) = stranger.state.glob("*/state")
        remembered = state.read_bytes()
        for path in (place / "a" / "shut", place / "a" / "secret"):
            mode = path.stat().st_mode
            path.chmod(0)
            if path.name == "secret":
                os.utime(path)
            for command in ("push", "pull"):
                told = stranger.agent(command, target, place / "a", exits=40).stderr
                assert f"{path.name}: cannot be read: Permission denied; give this user the permission" in told
            assert (place / "layout" / "index.json").read_bytes() == index
            assert state.read_bytes() == remembered
            path.chmod(mode)
        (place / "a").chmod(0)
        for command in ("push", "pull"):
            assert (
                "cannot be opened: Permission denied" in stranger.agent(command, target, place / "a", exits=40).stderr
            )
        (place / "a").chmod(0o755)
        assert " 0 deleted" in stranger.agent("push", target, place / "a").stderr
    finally:
        stranger.close()
