"""What the agent is measured at."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.measure import Result, best, run
from bench.table import Row
from bench.tree import change_some

LAYERS = 20


class Agent:
    """The installed command, with a state of its own in `place`."""

    def __init__(self, place: Path, registry: str, tree: Path, repeat: int) -> None:
        self._place = place
        self._registry = registry
        self._tree = tree
        self._repeat = repeat
        self._command = str(Path(sys.executable).with_name("agent"))

    def rows(self) -> Iterator[Row]:
        """Measure everything, in the order in which each step needs the one before."""
        yield Row("full push", "agent push", best(self._repeat, self._full_push))
        target, tree = self._target("full-0"), self._tree
        yield Row("push of nothing", "agent push", best(self._repeat, lambda _: self._push("full-0", tree)))
        yield Row("full pull", "agent pull", best(self._repeat, lambda number: self._pull(target, f"pull-{number}")))
        yield Row("pull of nothing", "agent pull", best(self._repeat, lambda _: self._run("pull", target, "pull-0")))
        yield Row("push of 1 %", "agent push", best(self._repeat, self._push_some))
        yield Row("pull of 1 %", "agent pull", self._run("pull", target, "pull-0"))
        for step in range(self._repeat, LAYERS - 1):
            self._push_some(step)
        yield Row(
            f"full pull, {LAYERS} layers",
            "agent pull",
            best(self._repeat, lambda number: self._pull(target, f"layers-{number}")),
        )

    def _full_push(self, number: int) -> Result:
        return self._push(f"full-{number}", self._tree, state=f"fresh-{number}" if number else "state")

    def _push_some(self, step: int) -> Result:
        change_some(self._tree, 100, step)
        return self._push("full-0", self._tree)

    def _pull(self, target: str, name: str) -> Result:
        shutil.rmtree(self._place / name, ignore_errors=True)
        result = self._run("pull", target, name)
        if name not in ("pull-0",):
            shutil.rmtree(self._place / name)
        return result

    def _push(self, repository: str, tree: Path, state: str = "state") -> Result:
        return self._run("push", self._target(repository), str(tree), state=state)

    def _run(self, *words: str, state: str = "state") -> Result:
        environ = {**os.environ, "INSTEP_STATE": str(self._place / state)}
        return run([self._command, *words], environ, str(self._place))

    def _target(self, repository: str) -> str:
        return f"{self._registry}/bench/{repository}:main"
