"""Fixtures that several areas share."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import settings

# `from tests.fakes… import …` works however pytest was started.
sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.fakes.docker_registry import BINARY, DockerRegistry
from tests.fakes.soaking import FULL

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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out of a plain run what is `slow`, and of each `sweep` all but every n-th case."""
    if FULL:
        return
    left_out = {item for item in items if item.get_closest_marker("slow")}
    sweeps: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sweep"):
            sweeps.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for name, cases in sweeps.items():
        every = cases[0].get_closest_marker("sweep").args[0]
        # Each begins elsewhere, so that not all of a module's tests take the same fixtures.
        first = crc32(name.encode()) % min(every, len(cases))
        left_out.update(set(cases) - set(cases[first::every]))
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=list(left_out))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what kind of run this was."""
    if not FULL:
        terminalreporter.write_line(
            "A plain run tries a fixed share of the long searches; INSTEP_FULL=1 make test runs all."
        )


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
