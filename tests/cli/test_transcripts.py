"""The commands of README, tutorials and how-to pages do what the pages show.

All of them are run, in the page's order, against a real registry, except those in blocks marked ```console WORD. WORD
says what they need that a test has not: a cluster, the network, a builder of images.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.pages import ROOT, RUN, differs, run, shown
from tests.fakes.docker_registry import BINARY, DockerRegistry

WITH_COMMANDS = [page for page in RUN if any(not found.needs for found in shown(page))]
NEEDS = {"cluster", "network", "builder"}
TOOLS = {"kubectl", "skopeo"}


def _with_a_login(place: Path) -> dict[str, Any]:
    done = subprocess.run(["htpasswd", "-nbB", "me", "secret"], capture_output=True, text=True, check=True)
    (place / "users").write_text(done.stdout)
    return {"auth": {"htpasswd": {"realm": "test", "path": str(place / "users")}}}


def _with_a_private_authority(place: Path) -> dict[str, Any]:
    """Serve TLS; `ca.crt` beside the page's commands has the authority."""
    key, certificate = place / "tls.key", place / "ca.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=test"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], capture_output=True, check=True)
    return {"http": {"tls": {"key": str(key), "certificate": str(certificate)}}}


REGISTRIES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "credentials": _with_a_login,
    "private-ca": _with_a_private_authority,
}


@pytest.fixture
def registries(tmp_path: Path) -> Iterator[Callable[[Path], str]]:
    """Starts the registry that a page is about."""
    with ExitStack() as running:

        def start(page: Path) -> str:
            if shutil.which(BINARY) is None:
                pytest.skip(f"{BINARY} is not installed")
            place = tmp_path / "registry"
            place.mkdir()
            configure = REGISTRIES.get(page.stem, lambda _: {})
            registry = DockerRegistry(place, **configure(place))
            running.callback(registry.close)
            return registry.address

        yield start


@pytest.mark.timeout(900)  # some pages have two dozen commands, each a process
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.stem)
def test_the_commands_of_a_page_do_what_it_shows(page: Path, registries: Callable[[Path], str], tmp_path: Path) -> None:
    commands = [found for found in shown(page) if not found.needs]
    for tool in {"htpasswd", "openssl"} | TOOLS & {word for found in commands for word in found.command.split()}:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    place = tmp_path / "place"
    place.mkdir()
    address = registries(page)
    if (tmp_path / "registry" / "ca.crt").exists():
        shutil.copy(tmp_path / "registry" / "ca.crt", place)
    wrong = []
    for found, ran in zip(commands, run([found.command for found in commands], place, address), strict=True):
        fails = any(line.startswith("agent: error: ") for line in found.output)
        if (ran.exit_code != 0) != fails or differs(found.output, ran.output):
            wrong.append("\n".join([f"$ {found.command}", *ran.output, f"exit code {ran.exit_code}"]))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_a_block_that_is_not_run_says_why(page: Path) -> None:
    assert {found.needs for found in shown(page) if found.needs} <= NEEDS


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_files_of_the_project_that_commands_for_a_cluster_name_exist(page: Path) -> None:
    for found in shown(page):
        for word in found.command.split():
            if word.startswith(("examples/", "config/")) and "*" not in word:
                assert (ROOT / word).exists(), found.command


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_objects_of_a_page_are_yaml(page: Path) -> None:
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        assert yaml.safe_load(block)


def test_output_that_is_not_as_shown_is_found() -> None:
    assert differs(("pushed 0123456789ab: 1 written",), ["pushed ba9876543210: 2 written"])
    assert not differs(("pushed 0123456789ab: 1 written",), ["pushed ba9876543210: 1  written"])
    assert not differs(("first", "…", "last"), ["first", "second", "third", "last"])
    assert differs(("first", "…"), ["second"])
