"""Fixtures that several areas share."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# `from tests.fakes… import …` works however pytest was started.
sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.fakes.docker_registry import BINARY, DockerRegistry


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`127.0.0.1:PORT` of a real registry, one for each test process; use repository names of your own."""
    if shutil.which(BINARY) is None:
        pytest.skip(f"{BINARY} is not installed")
    running = DockerRegistry(tmp_path_factory.mktemp("registry"))
    yield running.address
    running.close()
