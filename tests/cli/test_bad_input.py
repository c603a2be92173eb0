"""Bad input: one clear line, the table's exit code, and nothing lost (issue 2, item 8)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.workspace.state.state_file import write_state
from agent.workspace.state.state_home import state_home
from tests.cli.conftest import Agent
from tests.fakes.docker_registry import BINARY, DockerRegistry
from tests.fakes.secrets import holds_secret, secret

AS_ROOT = os.geteuid() == 0


def _error(done: Any) -> str:
    lines = [line for line in done.stderr.splitlines() if line.startswith("agent: error: ")]
    assert len(lines) == 1
    assert ";" in lines[0]  # what to do
    return str(lines[0])


def _tree(root: Path) -> dict[str, Any]:
    """Every path below `root` with its content and times."""
    found = {}
    for path in sorted(root.rglob("*")):
        about = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = (about.st_mode, about.st_mtime_ns, content)
    return found


@contextmanager
def _unchanged(*roots: Path) -> Iterator[None]:
    before = [_tree(root) for root in roots]
    yield
    assert [_tree(root) for root in roots] == before


def test_a_target_that_is_no_reference(agent: Agent, work: Path) -> None:
    assert "no registry" in _error(agent("push", "workspace", work, exits=2))


def test_errors_are_objects_for_machines(agent: Agent, work: Path) -> None:
    done = agent("push", "workspace", work, "--json", exits=2)
    error = json.loads(done.stderr)["error"]
    assert done.stdout == ""
    assert error.keys() == {"kind", "subject", "what", "remedy", "exit_code"}
    assert error["exit_code"] == 2


def test_a_registry_that_is_not_there(agent: Agent, work: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{unused.getsockname()[1]}/x/y:z"
        with _unchanged(work):
            _error(agent("push", "--patience", "1s", target, work, exits=21))
    agent("status", work, exits=11)


def test_a_wrong_password(agent: Agent, work: Path, tmp_path: Path) -> None:
    if shutil.which(BINARY) is None or shutil.which("htpasswd") is None:
        pytest.skip(f"{BINARY} or htpasswd is not installed")
    users = tmp_path / "users"
    subprocess.run(["htpasswd", "-Bbc", users, "me", secret("right")], check=True, capture_output=True)
    (tmp_path / "registry").mkdir()
    running = DockerRegistry(tmp_path / "registry", auth={"htpasswd": {"realm": "r", "path": str(users)}})
    try:
        config = tmp_path / "docker"
        config.mkdir()
        login = base64.b64encode(f"me:{secret('wrong')}".encode()).decode()
        (config / "config.json").write_text(json.dumps({"auths": {running.address: {"auth": login}}}))
        done = agent("push", f"{running.address}/x:y", work, exits=20, env={"DOCKER_CONFIG": str(config)})
        assert not holds_secret(done.stderr)
        _error(done)
    finally:
        running.close()


def test_a_manifest_that_is_no_image(agent: Agent, work: Path, tmp_path: Path) -> None:
    target = f"oci:{tmp_path}/layout:ws"
    agent("push", target, work)
    _replace_manifest(tmp_path / "layout", b'{"schemaVersion":2,"layers":"none"}')
    (work / "README").write_text("changed\n")
    before = _head(tmp_path / "layout")
    _error(agent("pull", target, tmp_path / "other", exits=30))
    _error(agent("push", target, work, exits=30))
    assert _head(tmp_path / "layout") == before


@pytest.mark.sweep(2)
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
@pytest.mark.parametrize("words", [[], ["--verify-whole"]])
def test_a_layer_that_is_damaged(agent: Agent, work: Path, tmp_path: Path, damage: str, words: list[str]) -> None:
    target = f"oci:{tmp_path}/layout:ws"
    (work / "big").write_bytes(hashlib.shake_256(b"x").digest(100_000))
    agent("push", target, work)
    layer = max((tmp_path / "layout" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    layer.chmod(0o644)
    data = bytearray(layer.read_bytes())
    if damage == "remove":
        layer.unlink()
    else:
        data[50_000] ^= 1
        layer.write_bytes(data if damage == "flip" else data[:50_000])
    other = tmp_path / "other"
    _error(agent("pull", target, other, *words, exits=30))
    _error(agent("push", target, other, exits=11))  # what is damaged or half there is never published


def test_a_directory_that_is_not_empty_and_not_ours(agent: Agent, layout: str, work: Path, tmp_path: Path) -> None:
    agent("push", layout, work)
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine").write_text("mine\n")
    with _unchanged(other, tmp_path / "layout"):
        _error(agent("pull", layout, other, exits=11))
        _error(agent("push", layout, other, exits=11))
    agent("pull", layout, other, "--force")
    assert sorted(os.listdir(other)) == ["README", "link", "src"]


def test_another_directory_than_the_one_that_was_pulled(agent: Agent, layout: str, work: Path, tmp_path: Path) -> None:
    agent("push", layout, work)
    work.rename(tmp_path / "moved")
    work.mkdir()
    (work / "README").write_text("other\n")
    with _unchanged(work, tmp_path / "layout"):
        _error(agent("push", layout, work, exits=11))
        _error(agent("status", work, exits=11))
        _error(agent("pull", layout, work, exits=11))


def test_a_workspace_with_local_changes(agent: Agent, layout: str, work: Path, tmp_path: Path) -> None:
    agent("push", layout, work)
    (work / "README").write_text("local\n")
    with _unchanged(work):
        assert "README" in _error(agent("pull", layout, work, exits=11))
    agent("pull", layout, work, "--force")
    assert (work / "README").read_text() == "read me\n"


def test_a_directory_where_everything_is_gone(agent: Agent, layout: str, work: Path, tmp_path: Path) -> None:
    agent("push", layout, work)
    shutil.rmtree(work / "src")
    (work / "README").unlink()
    (work / "link").unlink()
    with _unchanged(tmp_path / "layout"):
        assert "--allow-empty" in _error(agent("push", layout, work, exits=11))
    assert agent.json("push", layout, work, "--allow-empty")["deleted"] == 4


def test_a_name_that_no_layer_can_hold(agent: Agent, layout: str, work: Path, tmp_path: Path) -> None:
    (work / "src" / ".wh.x").touch()
    assert "src/.wh.x" in _error(agent("push", layout, work, exits=40))
    assert not list((tmp_path / "layout").rglob("sha256/*"))


@pytest.mark.skipif(AS_ROOT and shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_a_directory_that_cannot_be_read_is_not_an_empty_one(
    agent: Agent, layout: str, work: Path, tmp_path: Path
) -> None:
    # As another user than root, who may read everything.
    def run(*words: str | Path, exits: int) -> Any:
        prefix = ["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups"] if AS_ROOT else []
        command = [*prefix, sys.executable, "-m", "agent", *map(str, words)]
        done = subprocess.run(command, cwd=place, env=environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == exits, done.stderr
        return done

    place = _place_for(4242 if AS_ROOT else os.geteuid())
    environ = {**agent.environ, "HOME": str(place), "INSTEP_STATE": str(place / "state"), "PYTHONPATH": os.getcwd()}
    try:
        (place / "work" / "shut").mkdir(parents=True)
        (place / "work" / "shut" / "file").touch()
        (place / "work" / "shut").chmod(0o755)
        _give(place, 4242)
        if run("--version", exits=0).stdout and run("push", "oci:lay:ws", "work", exits=0):
            (place / "work" / "shut").chmod(0)
            _error(run("push", "oci:lay:ws", "work", exits=40))
            (place / "work" / "shut").chmod(0o755)
            assert "nothing to push" in run("push", "oci:lay:ws", "work", exits=0).stderr
    finally:
        shutil.rmtree(place)


def test_a_full_output_is_told(agent: Agent, layout: str, work: Path) -> None:
    (work / "big").write_bytes(b"x" * 1_000_000)
    agent("push", layout, work)
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "agent", "cat", layout, "big"]
        done = subprocess.run(command, env=agent.environ, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 40
    assert done.stderr.startswith("agent: error: standard output: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_goes_away_is_no_error(agent: Agent, layout: str, work: Path) -> None:
    (work / "big").write_bytes(b"x" * 1_000_000)
    agent("push", layout, work)
    process = agent.start("cat", layout, "big")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(20) == 141


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_push_that_is_ended_leaves_target_and_state_as_they_were(
    agent: Agent, layout: str, work: Path, tmp_path: Path, signum: int, code: int
) -> None:
    agent("push", layout, work)
    head = agent.json("log", layout)["changes"]
    (work / "big").write_bytes(os.urandom(60_000_000))
    process = agent.start("push", layout, work)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("agent: scan: ")  # so the upload has begun
    process.send_signal(signum)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in said
    assert agent.json("log", layout)["changes"] == head
    assert [row["path"] for row in agent.json("status", work)["differences"]] == ["big"]
    assert agent.json("push", layout, work)["written"] == 1
    assert not list((tmp_path / "layout").rglob("*.part"))


def _replace_manifest(layout: Path, data: bytes) -> None:
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(data)
    index = json.loads((layout / "index.json").read_text())
    for manifest in index["manifests"]:
        manifest.update(digest=f"sha256:{digest}", size=len(data))
    (layout / "index.json").write_text(json.dumps(index))


def _head(layout: Path) -> list[str]:
    index = json.loads((layout / "index.json").read_text())
    name = "org.opencontainers.image.ref.name"
    return [found["digest"] for found in index["manifests"] if found["annotations"][name] == "ws"]


def _place_for(uid: int) -> Path:
    place = Path(f"/tmp/instep-test-{os.getpid()}-{uid}")
    place.mkdir(mode=0o700)
    return place


def _give(place: Path, uid: int) -> None:
    if AS_ROOT:
        for path in (place, *place.rglob("*")):
            os.chown(path, uid, uid)


def test_a_state_of_a_newer_agent(agent: Agent, layout: str, work: Path) -> None:
    agent("push", layout, work)
    path = os.path.join(state_home(agent.environ, str(work)), "state")
    write_state(path, {"version": 99, "where": layout}, [])
    error = agent("status", work, exits=40).stderr
    assert "the state has a header that makes no sense; pull again" in error
    agent("pull", layout, work)
    assert "nothing changed" in agent("status", work).stdout
