"""The installed command, measured from outside."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.measure import Result, run

COMMAND = str(Path(sys.executable).with_name("agent"))


class Agent:
    """Runs it with its states in `place`, beside the trees, so on the same file system."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def push(self, target: str, tree: Path, *words: str, state: str = "state") -> Result:
        """Push a tree as it is remembered in `state`."""
        return self._measured(state, "push", target, str(tree), *words)

    def pull(self, target: str, tree: Path, *words: str, state: str = "state") -> Result:
        """Make a directory what the target has."""
        return self._measured(state, "pull", target, str(tree), *words)

    def _measured(self, state: str, *words: str) -> Result:
        environ = {**os.environ, "INSTEP_STATE": str(self._place / state)}
        result = run([COMMAND, *words, "--json"], environ, str(self._place), keep=True)
        moved: dict[str, Any] = json.loads(result.output)["traffic"]
        return replace(result, requests=moved["requests"], received=moved["received"], sent=moved["sent"])
