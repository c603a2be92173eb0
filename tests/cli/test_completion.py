"""Completion as a person meets it: keys pressed at the prompt of a real shell."""

from __future__ import annotations

import os
import pty
import select
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.cli.conftest import Agent

END = "ready-for-the-next-line"


class Shell:
    """A bash at a terminal of its own, with the completion script evaluated as the help says."""

    def __init__(self, agent: Agent) -> None:
        bash = shutil.which("bash")
        if bash is None:
            pytest.skip("bash is not installed")
        command = agent.place / "bin" / "agent"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m agent "$@"\n')
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
        path = f"{command.parent}:{agent.environ['PATH']}"
        environ = {**agent.environ, "PATH": path, "PS1": f"{END}\n", "TERM": "dumb", "INPUTRC": "/dev/null"}
        self._screen, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [bash, "--norc", "--noprofile", "-i"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=agent.place,
            env=environ,
            start_new_session=True,
        )
        os.close(theirs)
        self.read()
        self.line("bind 'set enable-bracketed-paste off'")
        self.line('eval "$(agent completion bash)"')

    def line(self, keys: str) -> str:
        """Press keys, then Enter; return what the screen shows until the next prompt."""
        os.write(self._screen, keys.encode() + b"\n")
        return self.read()

    def read(self) -> str:
        """Return the screen up to the next prompt."""
        shown = b""
        while END.encode() not in shown.rpartition(b"\n")[0]:
            ready, _, _ = select.select([self._screen], [], [], 60)
            assert ready, shown
            shown += os.read(self._screen, 65536)
        return shown.decode(errors="replace")

    def completed(self, keys: str) -> str:
        """Return what a line has become when its keys were pressed: it is printed in place of being run."""
        home, end = "\x01", "\x05"
        shown = self.line(f'{keys}{home}echo "{end}"').replace("\r", "")
        return shown.splitlines()[-2].rstrip()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._screen)


@pytest.fixture
def shell(agent: Agent) -> Iterator[Shell]:
    running = Shell(agent)
    yield running
    running.close()


@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("agent pu\t", "agent pu"),
        ("agent wat\t", "agent watch "),
        ("agent push reg.io/x:t --dry\t", "agent push reg.io/x:t --dry-run "),
        ("agent push localhost:5000/x:t --allow\t", "agent push localhost:5000/x:t --allow-empty "),
        ("agent push reg.io/x:t wo\t", "agent push reg.io/x:t work/"),
        ("agent pull oci:/tmp/x:t wo\t", "agent pull oci:/tmp/x:t work/"),
        ("agent push reg.io/x:t --on-conflict fa\t", "agent push reg.io/x:t --on-conflict fail "),
        ("agent push 'reg.io/x:t' --dry\t", "agent push 'reg.io/x:t' --dry-run "),
    ],
)
def test_what_is_behind_a_target_is_completed(agent: Agent, shell: Shell, typed: str, becomes: str) -> None:
    (agent.place / "work").mkdir()
    (agent.place / "word.txt").write_text("no directory")
    assert shell.completed(typed) == becomes.rstrip()
