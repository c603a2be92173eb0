"""Fixtures that several areas share."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# `from tests.fakes… import …` works however pytest was started.
sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.fakes.docker_registry import BINARY, DockerRegistry

pytest_plugins = ["tests.leaks"]

# The same examples every time; HYPOTHESIS_PROFILE=random looks for new ones.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

# Whoever started this in the background may ignore these, and every agent that a test starts would, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`127.0.0.1:PORT` of a real registry, one for each test process; use repository names of your own."""
    if shutil.which(BINARY) is None:
        pytest.skip(f"{BINARY} is not installed")
    running = DockerRegistry(tmp_path_factory.mktemp("registry"))
    yield running.address
    running.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """An empty directory, in memory where there is some: hundreds of pushes wait for the disk most of the time."""
    shared = "/dev/shm"
    if not os.access(shared, os.W_OK | os.X_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="instep-", dir=shared) as made:
        yield Path(made)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail, with INSTEP_REQUIRE_TOOLS set as in `.ci/run`, a test that is skipped as something "is not installed"."""
    report = yield
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    if report.skipped and "is not installed" in reason and os.environ.get("INSTEP_REQUIRE_TOOLS"):
        report.outcome = "failed"
        report.longrepr = f"{reason}, and INSTEP_REQUIRE_TOOLS is set"
    return report
