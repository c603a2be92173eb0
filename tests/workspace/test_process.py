"""When a container began, as its first process tells."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import agent.workspace.filesystem.container_start
from agent.workspace.filesystem.container_start import container_started

TOP = Path(__file__).parent.parent.parent


def test_a_container_started_before_now() -> None:
    assert 0 < container_started() <= time.time_ns()


@pytest.mark.parametrize("stat", [b"", b"1 (sh) S 0", b"1 (a) b) S " + b"x " * 30])
def test_where_that_cannot_be_read_it_is_now(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stat: bytes) -> None:
    (tmp_path / "stat").write_bytes(stat)
    for path in (str(tmp_path / "stat"), str(tmp_path / "none")):
        monkeypatch.setattr(agent.workspace.filesystem.container_start, "_STAT", path)
        before = time.time_ns()
        assert before <= container_started() <= time.time_ns()


def test_a_name_with_brackets_and_spaces_is_no_field(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fields = [b"S", *[b"0"] * 18, b"%d" % (5 * os.sysconf("SC_CLK_TCK")), b"0"]
    (tmp_path / "stat").write_bytes(b"1 (a) b ) " + b" ".join(fields))
    monkeypatch.setattr(agent.workspace.filesystem.container_start, "_STAT", str(tmp_path / "stat"))
    booted = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert abs(container_started() - booted - 5 * 10**9) < 10**9


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to have processes of its own")
def test_in_a_container_it_is_when_its_first_process_began() -> None:
    code = "from agent.workspace.filesystem.container_start import container_started; print(container_started())"
    command = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", 'sleep 1; "$@"; true', "sh"]
    before = time.time_ns()
    done = subprocess.run([*command, sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, timeout=60)
    assert int(done.stdout) < time.time_ns() - 10**9, done.stderr
    assert int(done.stdout) > before - 10**8
