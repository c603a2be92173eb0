"""What the images and .ci/run install is pinned, and is all that the agent asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
BUILD = "images/agent/build.lock"
LOCKS = {
    "images/agent/requirements.lock": (),
    "images/agent/controller.lock": ("controller",),
    ".ci/dev.lock": ("controller", "dev"),
    BUILD: (),
}


def asked(lock: str) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    if lock == BUILD:
        return list(project["build-system"]["requires"])
    extras = [line for name in LOCKS[lock] for line in project["project"]["optional-dependencies"][name]]
    return project["project"]["dependencies"] + extras


def pins(lock: Path) -> dict[str, str]:
    """Return the version of each package that a lock pins with a hash."""
    found = re.findall(r"^([a-z0-9-]+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}", lock.read_text(), re.MULTILINE)
    return dict(found)


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_that_is_asked_for_is_pinned_with_hashes(lock: str) -> None:
    text = (ROOT / lock).read_text()
    pinned = pins(ROOT / lock)
    lines = [line for line in text.splitlines() if line and line.lstrip()[0] != "#"]
    assert {line.partition("==")[0] for line in lines if not line.startswith("    --hash=")} == pinned.keys()
    for requirement in map(Requirement, asked(lock)):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_no_index_is_named(lock: str) -> None:
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted", (ROOT / lock).read_text())


def test_the_licence_of_everything_that_the_images_install_is_written_down() -> None:
    pinned = {name for lock in ("requirements", "controller") for name in pins(ROOT / f"images/agent/{lock}.lock")}
    table = (ROOT / "docs/decisions/licenses.md").read_text()
    assert set(re.findall(r"^\| ([a-z0-9-]+) \| [^|]+ \| [A-Z][^|]+ \|$", table, re.MULTILINE)) == pinned
