"""The agent's image, as a restricted pod runs it: a random user, a read-only root, no capability, no home, no shell."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Agent
from tests.fakes.docker_registry import DockerRegistry
from tests.fakes.proxy import Fault, FaultProxy
from tests.fakes.secrets import secret
from tests.fakes.trees import snapshot, unlike
from tests.images.container import USER, Container, Images, eventually
from tests.store.conftest import make_certificate

pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).parents[2]
MIB = 1 << 20
STATE = ("--state", "/volume/state")
CHANGE = """
import json, os
os.makedirs("/volume/a/new/deep")
open("/volume/a/new/deep/file", "w").write("from the container")
open("/volume/a/README", "a").write("more\\n")
os.unlink("/volume/a/src/main.c")
print(json.dumps(sorted(os.listdir("/volume/a"))))
"""
ABOUT = """
import json, os, pwd
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
names = "CapPrm", "CapEff", "CapInh", "CapAmb", "NoNewPrivs"
about = {name: status[name] for name in names}
about |= {"uid": os.getuid(), "pid": os.getpid(), "home": os.environ.get("HOME")}
about["named"] = any(row.pw_uid == os.getuid() for row in pwd.getpwall())
about["shells"] = [path for path in ("/bin/sh", "/bin/bash") if os.path.exists(path)]
try:
    os.mkdir("/tmp/x")
except OSError as error:
    about["write"] = error.strerror
print(json.dumps(about))
"""
# What every start imports that has no compiled form where Python looks for it.
UNCOMPILED = """
import json, os, sys
import agent.cli.main
import agent.cli.pull
import agent.cli.push
import agent.sync.pull_steps.pull_directory
import agent.sync.push_steps.push_directory
import agent.store.registry.registry_store
import agent.sync.apply.apply_plan
import agent.sync.push_steps.publish_change
import agent.sync.contents.layer_contents
import agent.workspace.write.tree_writer
import rich.progress, requests, click, zstandard
modules = [module.__spec__ for module in sys.modules.values() if getattr(module, "__spec__", None)]
print(json.dumps([spec.name for spec in modules if spec.cached and not os.path.exists(spec.cached)]))
"""
PASSWORD = secret("password")
HELPER = """#!/opt/agent/bin/python3 -I
import json
print(json.dumps({"Username": "user", "Secret": "%s"}))
"""
INSTALLED = """
import json
from importlib.metadata import distributions
print(json.dumps(sorted([d.metadata["Name"].lower().replace("_", "-"), d.version] for d in distributions())))
"""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """The agent of this checkout, outside of the container."""
    running = Agent(tmp_path)
    yield running
    running.close()


@pytest.fixture
def target(registry: str, tmp_path: Path) -> str:
    return f"{registry}/images/{tmp_path.name.replace('_', '-').lower()}:ws"


@pytest.fixture
def filled(agent: Agent, target: str, tmp_path: Path) -> str:
    """A target with a small workspace at it."""
    (tmp_path / "outside/src").mkdir(parents=True)
    (tmp_path / "outside/src/main.c").write_text("int main;\n")
    (tmp_path / "outside/README").write_text("read me\n")
    agent("push", target, tmp_path / "outside")
    return target


def test_the_container_is_as_restricted_as_these_tests_say(container: Container) -> None:
    capabilities = dict.fromkeys(("CapPrm", "CapEff", "CapInh", "CapAmb"), "0" * 16)
    user = {"uid": USER, "named": False, "home": None, "NoNewPrivs": "1"}
    rest = {"pid": 1, "shells": [], "write": "Read-only file system"}
    assert container.python(ABOUT) == {**capabilities, **user, **rest}


def test_it_pulls_pushes_and_what_comes_back_is_the_same(
    container: Container, agent: Agent, filled: str, tmp_path: Path
) -> None:
    container("pull", *STATE, filled, "/volume/a")
    assert container.python(CHANGE) == ["README", "new", "src"]
    container("push", *STATE, "-m", "from within", filled, "/volume/a")
    container("pull", "--state", "/volume/other", filled, "/volume/b")
    pushed = snapshot(container.volume / "a")
    assert unlike(pushed, snapshot(container.volume / "b")) == {}
    agent("pull", filled, tmp_path / "back")
    assert unlike(snapshot(container.volume / "a", owners=False), snapshot(tmp_path / "back", owners=False)) == {}
    changes = agent.json("log", filled)["changes"]
    assert (changes[0]["message"], changes[0]["lane"].partition("@")[0]) == ("from within", f"uid-{USER}")


def test_it_remembers_in_the_volume_that_it_is_told_of(container: Container, filled: str) -> None:
    told = {"INSTEP_STATE": "/volume/state", "HOME": "/nonexistent"}
    container("pull", filled, "/volume/a", env=told)
    assert "nothing changed" in container("status", "/volume/a", env=told).stdout
    assert (container.volume / "state").stat().st_uid == USER


def test_nothing_that_the_environment_says_to_python_is_heard(container: Container, filled: str) -> None:
    evil = container.volume / "evil"
    evil.mkdir()
    for name in ("click", "sitecustomize", "usercustomize", "zstandard", "agent"):
        (evil / f"{name}.py").write_text("raise SystemExit('imported from the environment')\n")
    path = {"PYTHONPATH": "/volume/evil"}
    everything = {
        **path,
        "PYTHONHOME": "/nowhere",
        "PYTHONINSPECT": "1",
        "PYTHONVERBOSE": "1",
        "PYTHONWARNINGS": "error",
    }
    heard = container.run("/opt/agent/bin/python3", "-c", "import click", env=path, exits=1)
    assert "imported from the environment" in heard.stderr
    container("pull", *STATE, filled, "/volume/a", env=everything)
    assert "nothing changed" in container("status", *STATE, "/volume/a", env=everything).stdout


def test_sigterm_ends_a_push_that_can_be_repeated(
    container: Container, agent: Agent, registry: str, filled: str
) -> None:
    with FaultProxy(registry) as proxy:
        proxy.on("POST", "/blobs/uploads", Fault(delay=60))
        there = filled.replace(registry, proxy.address)
        container("pull", *STATE, there, "/volume/a")
        container.python(CHANGE)
        push = container.start("/usr/local/bin/agent", "push", *STATE, there, "/volume/a")
        eventually(lambda: proxy.count("POST", "/blobs/uploads"))
        container.signal(push, signal.SIGTERM)
        err = push.communicate(timeout=20)[1]
        assert (push.returncode, "Traceback" in err) == (143, False)
        assert len(agent.json("log", filled)["changes"]) == 1
        container("push", *STATE, there, "/volume/a")
    assert len(agent.json("log", filled)["changes"]) == 2


def test_exec_passes_signals_and_exit_codes_on(container: Container, filled: str) -> None:
    python = ("--", "/opt/agent/bin/python3", "-c")
    container("exec", *STATE, filled, "/volume/a", *python, "raise SystemExit(7)", exits=7)
    waiting = "import time; open('ready', 'w').close(); time.sleep(60)"
    running = container.start(
        "/usr/local/bin/agent", "exec", "--state", "/volume/2", filled, "/volume/b", *python, waiting
    )
    eventually((container.volume / "b/ready").exists)
    container.signal(running, signal.SIGTERM)
    running.communicate(timeout=20)
    assert running.returncode == 143


@pytest.fixture
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DockerRegistry, str]]:
    """A registry that asks who is there, and the certificate it shows for `registry.test`."""
    place = tmp_path_factory.mktemp("closed")
    certificate, key = make_certificate(place, "DNS:registry.test")
    hashed = subprocess.run(["htpasswd", "-nbB", "user", PASSWORD], capture_output=True, text=True, check=True).stdout
    (place / "htpasswd").write_text(hashed)
    running = DockerRegistry(
        place,
        http={"tls": {"certificate": certificate, "key": key}},
        auth={"htpasswd": {"realm": "test", "path": str(place / "htpasswd")}},
    )
    yield running, certificate
    running.close()


def test_a_credential_helper_and_an_authority_of_ones_own(
    container: Container, closed: tuple[DockerRegistry, str]
) -> None:
    running, certificate = closed
    (container.root / "etc/hosts").write_text("127.0.0.1 registry.test\n")
    helper = container.root / "usr/local/bin/docker-credential-test"
    helper.write_text(HELPER % PASSWORD)
    helper.chmod(0o755)
    (container.volume / "config.json").write_text('{"credsStore": "test"}')
    (container.volume / "ca.crt").write_bytes(Path(certificate).read_bytes())
    (container.volume / "a").mkdir()
    (container.volume / "a/file").write_text("x")
    login = {"DOCKER_CONFIG": "/volume"}
    push = ("push", *STATE, f"registry.test:{running.address.partition(':')[2]}/team/ws:main", "/volume/a")
    assert "certificate" in container(*push, env=login, exits=21).stderr
    container(*push, "--ca-file", "/volume/ca.crt", exits=20)
    container(*push, "--ca-file", "/volume/ca.crt", env=login)
    container(*push, env={**login, "SSL_CERT_FILE": "/volume/ca.crt"})


def test_nothing_is_compiled_at_the_start(container: Container) -> None:
    assert container.python(UNCOMPILED) == []


def test_what_is_installed_is_what_the_lock_and_the_bill_of_materials_say(container: Container) -> None:
    installed = dict(container.python(INSTALLED))
    version = installed.pop("instep")
    lock = (ROOT / "images/agent/requirements.lock").read_text()
    assert installed == dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.MULTILINE))
    bill = json.loads((container.root / "opt/agent/sbom.cdx.json").read_text())
    assert {entry["name"]: entry["version"] for entry in bill["components"]} == installed
    assert (bill["metadata"]["component"]["name"], bill["metadata"]["component"]["version"]) == ("instep", version)
    refs = {entry["bom-ref"] for entry in [*bill["components"], bill["metadata"]["component"]]}
    assert {entry["ref"] for entry in bill["dependencies"]} == refs
    assert {need for entry in bill["dependencies"] for need in entry["dependsOn"]} < refs


def test_the_labels_say_what_it_is(images: Images) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name in ("agent", "base"):
        labels = images.config(name)["Labels"]
        said = {key: labels[f"org.opencontainers.image.{key}"] for key in ("version", "licenses")}
        assert said == {"version": project["version"], "licenses": "Apache-2.0"}
        assert {"org.opencontainers.image.title", "org.opencontainers.image.description"} <= labels.keys()


def test_our_layers_are_at_most_60_mib(images: Images, tmp_path: Path) -> None:
    sizes: dict[str, dict[str, int]] = {}
    for name in ("python", "agent"):
        images.push(name, f"dir:{tmp_path / name}")
        manifest: dict[str, Any] = json.loads((tmp_path / name / "manifest.json").read_text())
        sizes[name] = {layer["digest"]: layer["size"] for layer in manifest["layers"]}
    assert sizes["python"].keys() < sizes["agent"].keys()
    ours = sum(size for digest, size in sizes["agent"].items() if digest not in sizes["python"])
    assert ours <= 60 * MIB
    print(f"our layers: {ours / MIB:.1f} MiB")
