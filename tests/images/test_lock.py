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


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_that_is_asked_for_is_pinned_with_hashes(lock: str) -> None:
    text = (ROOT / lock).read_text()
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE))
    lines = [line for line in text.splitlines() if line and line.lstrip()[0] != "#"]
    assert {line.partition("==")[0] for line in lines if not line.startswith("    --hash=")} == pins.keys()
    for requirement in map(Requirement, asked(lock)):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_no_index_is_named(lock: str) -> None:
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted", (ROOT / lock).read_text())
