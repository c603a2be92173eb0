"""The installed command, run as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.leaks import look_below


class Agent:
    """Runs `python -m agent` with a home and a state of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(place / "home"),
            "INSTEP_STATE": str(place / "state"),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            # The package under test, where it is not the installed one.
            **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
        }
        self.started: list[subprocess.Popen[str]] = []

    def __call__(self, *words: str | Path, exits: int = 0, env: dict[str, str] | None = None) -> Any:
        """Run a command and return what it did; its exit code must be `exits`."""
        done = subprocess.run(
            self._command(words),
            cwd=self.place,
            env={**self.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == exits, f"{words} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def json(self, *words: str | Path, exits: int = 0) -> dict[str, Any]:
        """Run a command with `--json` and return the object it printed, which must be all it printed."""
        done = self(*words, "--json", exits=exits)
        assert done.stderr == ""
        value = json.loads(done.stdout)
        assert isinstance(value, dict)
        return value

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """Start a command; the test's end ends it."""
        process = subprocess.Popen(
            self._command(words),
            cwd=self.place,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.communicate()
        look_below(self.place / "state")

    @staticmethod
    def _command(words: tuple[str | Path, ...]) -> list[str]:
        return [sys.executable, "-m", "agent", *map(str, words)]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    running = Agent(tmp_path)
    yield running
    running.close()


@pytest.fixture(params=[pytest.param(kind, marks=pytest.mark.sweep(2)) for kind in ("layout", "registry")])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A target that does not exist yet, on each kind of store; in a plain run on one of them."""
    if request.param == "layout":
        return f"oci:{tmp_path}/layout:ws"
    address = request.getfixturevalue("registry")
    return f"{address}/cli/{tmp_path.name.replace('_', '-').lower()}:ws"


@pytest.fixture
def layout(tmp_path: Path) -> str:
    """A target in a layout, that does not exist yet."""
    return f"oci:{tmp_path}/layout:ws"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A directory with a few paths in it."""
    root = tmp_path / "work"
    (root / "src").mkdir(parents=True)
    (root / "src" / "main.c").write_text("int main;\n")
    (root / "README").write_text("read me\n")
    (root / "link").symlink_to("README")
    return root


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Wait, at most 20 seconds, until something is true, and return it."""

    def wait(condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError("it did not become true in time")

    return wait
