"""The installed command at a registry that lies: a declared exit code, one line, and no credential for anyone else."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.core.image.manifest import INDEX, MANIFEST
from tests.cli.conftest import Agent
from tests.fakes.contents import noise
from tests.fakes.hostile import CHUNKED, OK, endless, sends
from tests.fakes.proxy import Fault, FaultProxy, Seen
from tests.fakes.secrets import holds_secret, secret
from tests.fakes.token_server import TokenServer

PASSWORD = secret("password")
BIG = noise(3 << 20)


class Limited(Agent):
    """The same with 2 GiB of address space, which bytes without end would fill."""

    @staticmethod
    def _command(words: tuple[str | Path, ...]) -> list[str]:
        return ["prlimit", f"--as={2 << 30}", sys.executable, "-m", "agent", *map(str, words)]


class Scene:
    """A workspace in a real registry, a proxy before it that asks for a login, and another host."""

    def __init__(self, agent: Limited, registry: str, name: str, place: Path) -> None:
        self.agent = agent
        self.place = place
        self.proxy = FaultProxy(registry)
        self.elsewhere = FaultProxy(host="127.0.0.2")
        self.tokens = TokenServer(users={"user": PASSWORD})
        self.target = f"{self.proxy.address}/hostile/{name}:ws"
        self.work = place / "work"
        self.work.mkdir()
        (self.work / "a").write_text("small")
        (self.work / "big").write_bytes(BIG)
        agent("push", f"{registry}/hostile/{name}:ws", self.work)
        (self.work / "a").write_text("changed")
        login = {"auth": base64.b64encode(f"user:{PASSWORD}".encode()).decode()}
        home = place / "home"
        (home / ".docker").mkdir(parents=True)
        (home / ".docker" / "config.json").write_text(json.dumps({"auths": {self.proxy.address: login}}))
        hosts = ("127.0.0.1", "127.0.0.2", "localhost")
        (home / ".netrc").write_text("".join(f"machine {h} login u password {secret('netrc')}\n" for h in hosts))
        (home / ".netrc").chmod(0o600)

    def __call__(self, *words: str | Path, exits: int) -> Any:
        self.proxy.add_rule(self.tokens.gate)
        done = self.agent(*words, exits=exits)
        assert exits == 0 or (done.stderr.count("agent: error: ") == 1 and done.stderr.splitlines()[-1].isprintable())
        assert "Authorization" not in _told(self.elsewhere) and not holds_secret(_told(self.elsewhere))
        assert secret("netrc") not in _told(self.proxy) + _told(self.tokens.http)
        return done

    def close(self) -> None:
        for server in (self.proxy, self.elsewhere, self.tokens):
            server.close()


def _told(web: FaultProxy) -> str:
    return repr([(seen.path, dict(seen.headers), seen.body) for seen in web.seen])


@pytest.fixture
def scene(tmp_path: Path, registry: str) -> Iterator[Scene]:
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit is not installed")
    agent = Limited(tmp_path)
    made = Scene(agent, registry, tmp_path.name.replace("_", "-").lower(), tmp_path)
    yield made
    made.close()
    agent.close()


def authorized(fault: Fault, method: str, part: str) -> Callable[[Seen], Fault | None]:
    """Do `fault` to requests that carry a login, so that there is one which could leak."""

    def rule(seen: Seen) -> Fault | None:
        fits = seen.method == method and part in seen.path and "Authorization" in seen.headers
        return fault if fits else None

    return rule


def both() -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "manifests": [], "layers": [], "config": {}}).encode()


LIES = {
    "another blob": (Fault(200, body=os.urandom(3 << 20)), "/blobs/", 30),
    "a blob that is cut": (Fault(200, body=b"x"), "/blobs/", 30),
    "a blob without end": (sends(OK, CHUNKED, then=endless(b"1000\r\n" + bytes(4096) + b"\r\n")), "/blobs/", 30),
    "a blob that is gone": (Fault(404), "/blobs/", 30),
    "a manifest without end": (
        sends(OK, b"Content-Type: %b\r\n\r\n" % MANIFEST.encode(), then=endless(b" ")),
        "/mani",
        30,
    ),
    "two manifests in one": (Fault(200, {"Content-Type": MANIFEST}, both()), "/manifests/", 30),
    "an index that is an image": (Fault(200, {"Content-Type": INDEX}, b'{"layers":[],"config":{}}'), "/manifests/", 30),
    "another kind": (Fault(200, {"Content-Type": "x/y"}, b'{"layers":[],"mediaType":"x/y"}'), "/manifests/", 30),
    "redirects in circles": (Fault(307, {"Location": "/v2/manifests/again"}), "/manifests/", 21),
    "machine credentials": (Fault(307, {"Location": "http://169.254.169.254/latest/"}), "/manifests/", 21),
    "a header that is none": (
        sends(OK, b"\x00\x01no header\r\nX: y\r\nContent-Length: 2\r\n\r\n{}"),
        "/manifests/",
        30,
    ),
    "no HTTP": (sends(b"\x16\x03\x01SSH-2.0\r\n"), "/manifests/", 21),
}


@pytest.mark.sweep(2)
@pytest.mark.parametrize("lie", LIES)
def test_a_pull_ends_with_the_declared_code_and_leaves_the_directory_alone(scene: Scene, lie: str) -> None:
    fault, part, code = LIES[lie]
    scene.proxy.add_rule(authorized(fault, "GET", part))
    there = scene.place / "there"
    scene("pull", scene.target, there, exits=code)
    assert not there.exists() or os.listdir(there) == []
    assert holds_secret(_told(scene.tokens.http)), "there was a login that could have leaked"


def test_a_range_with_another_content_is_not_shown(scene: Scene) -> None:
    def swapped(seen: Seen) -> Fault | None:
        if "Range" not in seen.headers or "Authorization" not in seen.headers:
            return None
        start, end = map(int, seen.headers["Range"].removeprefix("bytes=").split("-"))
        return Fault(206, {"Content-Range": f"bytes {start}-{end}/{end + 1}"}, os.urandom(end + 1 - start))

    scene.proxy.add_rule(swapped)
    assert scene("cat", scene.target, "a", exits=30).stdout == ""


def test_a_manifest_asked_for_by_digest_is_that_one(scene: Scene) -> None:
    scene.proxy.add_rule(authorized(Fault(200, {"Content-Type": MANIFEST}, b"{}"), "GET", "/manifests/sha256"))
    pinned = scene.target.removesuffix(":ws") + "@sha256:" + "0" * 64
    scene("pull", f"oci:{scene.place}/layout:ws", scene.place / "there", "--base", pinned, exits=30)


def test_blobs_kept_on_another_host_are_read_from_there_without_a_login(scene: Scene) -> None:
    scene.elsewhere.upstream = scene.proxy.upstream

    def moved(seen: Seen) -> Fault | None:
        there = {"Location": f"http://{scene.elsewhere.address}{seen.path}"}
        return Fault(307, there) if "/blobs/" in seen.path and "Authorization" in seen.headers else None

    scene.proxy.add_rule(moved)
    scene("pull", scene.target, scene.place / "there", exits=0)
    assert (scene.place / "there" / "big").read_bytes() == BIG
    assert scene.elsewhere.count("GET", "/blobs/")


@pytest.mark.parametrize("asks", ['Basic realm="x"', 'Bearer realm="http://{0}/token",service="registry.test"'])
def test_an_upload_sent_to_another_host_takes_no_login_along(scene: Scene, asks: str) -> None:
    scene("pull", scene.target, scene.place / "there", exits=0)
    (scene.place / "there" / "a").write_text("changed")
    there = {"Location": f"http://{scene.elsewhere.address}/up"}
    scene.proxy._rules.insert(0, authorized(Fault(202, there), "POST", "/uploads/"))
    scene.elsewhere.on("*", "", Fault(401, {"WWW-Authenticate": asks.format(scene.elsewhere.address)}))
    scene.elsewhere.add_rule(lambda seen: Fault(418))
    scene("push", scene.target, scene.place / "there", exits=21)
    assert scene.elsewhere.count("*", "/up") and scene.elsewhere.count("*", "/token") == 0


def test_what_a_registry_repeats_of_a_login_is_not_shown(scene: Scene) -> None:
    def repeat(seen: Seen) -> Fault | None:
        login = seen.headers.get("Authorization", "")
        return Fault(403, body=f"no {login} {PASSWORD}".encode()) if login else None

    scene.proxy.add_rule(repeat)
    scene.tokens.http._rules.insert(
        0, lambda seen: Fault(503, body=f"not {seen.headers}".encode()) if seen.number == 1 else None
    )
    done = scene("pull", scene.target, scene.place / "there", exits=20)
    assert "***" in done.stderr
    shown = subprocess.run(
        [sys.executable, "-m", "agent", "--debug", "pull", scene.target, scene.place / "there"],
        env=scene.agent.environ,
        capture_output=True,
        text=True,
    )
    assert "Traceback" in shown.stderr and "***" in shown.stderr


def test_small_layers_that_are_read_ahead_are_not_read_without_end(scene: Scene) -> None:
    behind = scene.target.replace(scene.proxy.address, str(scene.proxy.upstream)).replace(":ws", ":small")
    for name in ("one", "two"):
        (scene.place / "small").mkdir(exist_ok=True)
        (scene.place / "small" / name).write_bytes(noise(50_000))
        scene.agent("push", behind, scene.place / "small")
    fault, part, code = LIES["a blob without end"]
    scene.proxy.add_rule(authorized(fault, "GET", part))
    scene("pull", scene.target.replace(":ws", ":small"), scene.place / "there", exits=code)
    assert scene.proxy.raw_sent < 32 << 20
