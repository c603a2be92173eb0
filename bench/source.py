"""The work on a tree of source code, beside the peers: full, of nothing, of 1 %, of a tenth fifty times, of a part."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.agent import Agent
from bench.measure import Result, best, in_turn
from bench.peers import Restic, Tar, Umoci, installed
from bench.place import kind
from bench.results import Results
from bench.tree import Tree, add_a_line, make_tree

ROUNDS = 4
SLOW_ROUNDS = 2  # of what takes ten times as long
STEPS = 3
PUSHES = 50


def _seconds(result: Result) -> float:
    return result.seconds


def measure_source(place: Path, registry: str, results: Results) -> None:
    """Measure everything there is to do with a tree of source code."""
    tree = make_tree(place / "tree")
    results.notes.append(
        f"Tree: {', '.join(tree.packages)}, as their wheels unpack: {len(tree.files):,} files, "
        f"{tree.size / (1 << 20):.0f} MiB, on {kind(place)}."
    )
    _Source(place, registry, tree, results).measure()


class _Source:
    """Measures in the order in which each step needs the one before."""

    def __init__(self, place: Path, registry: str, tree: Tree, results: Results) -> None:
        self._place = place
        self._registry = registry
        self._tree = tree
        self._results = results
        self._agent = Agent(place)
        self._tar = Tar(place, tree.root)
        self._restic = Restic(place, tree.root)
        self._checked: set[str] = set()

    def measure(self) -> None:
        """Measure all of it."""
        self._full()
        self._nothing()
        self._part()
        self._some()
        self._history()

    def _full(self) -> None:
        if installed("umoci", "skopeo"):
            umoci = Umoci(self._place, self._tree.root, self._registry)
            self._turns(SLOW_ROUNDS, {"umoci repack, skopeo copy": umoci.push})
            self._turns(1, {"skopeo copy, umoci unpack": umoci.pull})
            umoci.forget()
        if installed("restic"):
            self._turns(SLOW_ROUNDS, {"restic backup, first": self._restic.first})
            self._turns(1, {"restic restore": self._restic.restore})
        self._turns(ROUNDS, {"tar, zstd -1 -T2": self._tar.pack, "agent push, full": self._push_anew})
        self._turns(ROUNDS, {"zstd -d, tar -x": self._tar.unpack, "agent pull, full": self._pull_anew})

    def _nothing(self) -> None:
        # What the rest goes on from: a directory that is pushed, and one that is pulled.
        self._agent.push(self._target("work"), self._tree.root)
        self._agent.pull(self._target("work"), self._place / "copy", state="state-copy")
        self._check(self._place / "copy")
        self._turns(
            ROUNDS,
            {
                "find -printf": self._tar.find,
                "agent push, nothing": lambda _: self._agent.push(self._target("work"), self._tree.root),
                "agent pull, nothing": self._pull_on,
            },
        )

    def _some(self) -> None:
        done: dict[str, list[Result]] = {}
        for step in range(STEPS):
            changed = self._tree.one_in(100, step)
            add_a_line(changed, step)
            if installed("restic"):
                done.setdefault("restic backup, 1 %", []).append(self._restic.again(step))
            done.setdefault("tar, zstd, 1 %", []).append(self._tar.pack_some(changed))
            pushed = self._agent.push(self._target("work"), self._tree.root)
            done.setdefault("agent push, 1 %", []).append(pushed)
            done.setdefault("agent pull, 1 %", []).append(self._pull_on(step))
        self._check(self._place / "copy")
        shutil.rmtree(self._place / "copy")
        self._restic.forget()
        for label, results in done.items():
            # Each step changes other files: the bytes are compared for all of them, not for the fastest of each tool.
            sent = [result.sent for result in results if result.sent is not None]
            self._results.add(label, replace(best(results), sent=sum(sent) // len(sent) if sent else None))

    def _part(self) -> None:
        part, size = self._tree.directory_of(0.01)
        self._results.notes.append(f"The part is {part}, {size / self._tree.size:.1%} of the bytes.")
        self._turns(ROUNDS, {"agent pull, part": lambda _: self._pull(self._target("full-0"), "part", part)})

    def _history(self) -> None:
        rewritten = [(path, path.read_bytes()) for path in self._tree.one_in(10)]
        self._agent.push(self._target("history"), self._tree.root, state="state-history")
        steps = []
        for step in range(PUSHES):
            for path, content in rewritten:
                path.write_bytes(b"%s# rewritten in step %d\n" % (content, step))
            steps.append(self._agent.push(self._target("history"), self._tree.root, state="state-history"))
        self._results.add(f"agent push, a tenth, the fastest of {PUSHES}", min(steps, key=_seconds))
        self._results.add("agent push, a tenth, the slowest", max(steps, key=_seconds))
        self._agent.push(self._target("one"), self._tree.root, state="state-one")
        self._turns(
            SLOW_ROUNDS,
            {
                "agent pull, one layer": lambda _: self._pull(self._target("one"), "one"),
                "agent pull, 51 layers": lambda _: self._pull(self._target("history"), "history"),
            },
        )

    def _push_anew(self, number: int) -> Result:
        return self._agent.push(self._target(f"full-{number}"), self._tree.root, state=f"state-full-{number}")

    def _pull_anew(self, _: int) -> Result:
        return self._pull(self._target("full-0"), "full")

    def _pull_on(self, _: int) -> Result:
        return self._agent.pull(self._target("work"), self._place / "copy", state="state-copy")

    def _pull(self, target: str, name: str, part: str = "") -> Result:
        """Pull all or a part into a new directory, check it the first time, and take it away."""
        directory, state = self._place / name, f"state-pulled-{name}"
        result = self._agent.pull(target, directory, *(["--path", part] if part else []), state=state)
        if name not in self._checked:
            self._check(directory, part)
            self._checked.add(name)
        shutil.rmtree(directory)
        shutil.rmtree(self._place / state)
        return result

    def _check(self, directory: Path, part: str = "") -> None:
        for path in self._tree.files:
            if path.is_relative_to(self._tree.root / part):
                other = directory / path.relative_to(self._tree.root)
                if not filecmp.cmp(path, other, shallow=False):
                    raise RuntimeError(f"{other} is not what was pushed")

    def _turns(self, count: int, measured: dict[str, Callable[[int], Result]]) -> None:
        for label, result in in_turn(count, measured).items():
            self._results.add(label, result)

    def _target(self, repository: str) -> str:
        return f"{self._registry}/bench/{repository}:main"
