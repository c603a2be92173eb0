"""What `make audit` makes of what pip-audit tells. A stand-in tells it here, since no advisory can be counted on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KNOWN = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"], "aliases": []}]}
FINE = {"name": "b", "version": "1", "vulns": []}
SKIPPED = {"name": "c", "skip_reason": "not found"}


def audit(place: Path, script: str) -> subprocess.CompletedProcess[str]:
    (place / "pip_audit.py").write_text(script)
    environ = {**os.environ, "PYTHONPATH": str(place)}
    return subprocess.run([sys.executable, ".ci/audit"], cwd=ROOT, env=environ, capture_output=True, text=True)


def says(*packages: dict[str, Any]) -> str:
    return f"print({json.dumps(json.dumps({'dependencies': packages, 'fixes': []}))})"


@pytest.mark.parametrize("packages", [(KNOWN,), (FINE, SKIPPED, KNOWN)])
def test_a_known_vulnerability_fails_the_audit(tmp_path: Path, packages: tuple[dict[str, Any], ...]) -> None:
    done = audit(tmp_path, says(*packages) + "\nraise SystemExit(1)")
    assert done.returncode == 1
    assert "VULNERABLE: a 1: CVE-1, mended in 2" in done.stderr


def test_nothing_known_is_well(tmp_path: Path) -> None:
    done = audit(tmp_path, says(FINE))
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "audit: 0 known vulnerabilities, 0 not audited\n")


@pytest.mark.parametrize(
    "script",
    [
        says(FINE, SKIPPED),
        "import sys; print('ERROR: could not connect', file=sys.stderr); sys.exit(1)",
        "raise ConnectionError('away')",
    ],
    ids=["one is not known", "no answer", "it breaks"],
)
def test_what_nothing_is_known_of_is_said_loudly_and_does_not_fail(tmp_path: Path, script: str) -> None:
    done = audit(tmp_path, script)
    assert done.returncode == 0
    assert "NOT AUDITED: NOTHING IS KNOWN of" in done.stderr and ", 0 not audited" not in done.stdout


def test_every_lock_is_audited(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    audit(tmp_path, f"import sys; open({str(asked)!r}, 'a').write(' '.join(sys.argv) + '\\n'); " + says(FINE))
    locks = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/**/*.lock")} | {".ci/dev.lock"}
    assert all(lock in asked.read_text() for lock in locks if not lock.startswith(".venv"))
