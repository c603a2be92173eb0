"""What it takes to start: Python, and the command."""

from __future__ import annotations

import sys
from functools import partial

from bench.agent import COMMAND
from bench.measure import Result, in_turn, run
from bench.results import Results

ROUNDS = 20
PYTHON = "python -c pass"
REQUESTS = "python -c 'import requests'"
VERSION = "agent --version"


def measure_start(results: Results) -> None:
    """Measure what other figures are less of, or beside."""
    started = {
        PYTHON: [sys.executable, "-c", "pass"],
        REQUESTS: [sys.executable, "-c", "import requests"],
        VERSION: [COMMAND, "--version"],
    }
    for label, result in in_turn(ROUNDS, {label: partial(_start, words) for label, words in started.items()}).items():
        results.add(label, result)


def _start(words: list[str], _: int) -> Result:
    return run(words)
