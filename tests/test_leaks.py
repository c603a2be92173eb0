"""The search for secrets finds them: a suite in which they come out fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LEAKING = """
import base64, logging, os, subprocess, sys
from pathlib import Path

from agent.errors import AuthError
from tests.fakes.secrets import secret
from tests.leaks import look_below

BASIC = base64.b64encode(f"user:{secret('password')}".encode()).decode()

def test_printed(): print(secret("a"))
def test_printed_as_base64(): print("Authorization: Basic", BASIC)
def test_printed_by_the_fixture(capsys):
    print(secret("a"))
    capsys.readouterr()
def test_logged(): logging.getLogger("x").warning("with %s", secret("a"))
def test_error(): AuthError("no", subject="x", remedy=secret("a"))
def test_child():
    subprocess.run([sys.executable, "-c", f"print('{BASIC}')"], capture_output=True)
def test_childs_errors():
    script = f"import sys; print('{secret('a')}', file=sys.stderr)"
    subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
def test_child_that_prints_here():
    subprocess.run([sys.executable, "-c", f"print('{secret('a')}')"])
def test_file(tmp_path):
    (tmp_path / "state").write_text(secret("a"))
    look_below(tmp_path)
"""
CLEAN = """
import subprocess
from pathlib import Path

from agent.errors import AuthError
from tests.fakes.secrets import secret

def test_kept_to_itself(tmp_path):
    (tmp_path / "config").write_text(secret("a"))
    print(AuthError("no", subject="x", remedy="log in"))
def test_credential_helper(tmp_path):
    helper = tmp_path / "docker-credential-x"
    helper.write_text(f"#!/bin/sh\\necho {secret('a')}")
    helper.chmod(0o755)
    assert subprocess.run([helper], capture_output=True).stdout
"""


@pytest.mark.parametrize(("suite", "fails"), [(LEAKING, True), (CLEAN, False)], ids=["leaking", "clean"])
def test_a_secret_that_comes_out_fails_its_test(tmp_path: Path, suite: str, fails: bool) -> None:
    (tmp_path / "test_suite.py").write_text(suite)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.leaks", "-p", "no:kmock", "--rootdir", "."]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    # Not as text: this test prints nothing of it, or it would fail itself.
    done = subprocess.Popen([*command, "test_suite.py"], cwd=tmp_path, env=here, stdout=subprocess.PIPE)
    assert done.stdout is not None
    said = done.stdout.read().decode()
    done.stdout.close()
    count = suite.count("def test_")
    assert done.wait() == (1 if fails else 0)
    assert f"{count} {'failed' if fails else 'passed'}" in said.splitlines()[-1], "see the tests' names: not all failed"
