"""What pull and push say to the registry: how often, over how long a wire, and among many."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.agent import Agent
from bench.delay import Wire
from bench.measure import Result, best
from bench.results import Results
from tests.fakes.workspaces import Workspaces

ROUND_TRIP = 0.05
ROUNDS = 5
FILES = 200
WRITERS = 64
_TOP = Path(__file__).parent.parent


def measure_traffic(place: Path, registry: str, results: Results) -> None:
    """Measure all of it."""
    traffic = _Traffic(place, registry, results)
    with Wire(registry) as wire:
        traffic.follow(wire)
    traffic.crowd()


class _Traffic:
    """A small workspace: two directories that follow each other, then many that are pushed at one moment."""

    def __init__(self, place: Path, registry: str, results: Results) -> None:
        self._place = place
        self._registry = registry
        self._results = results
        self._agent = Agent(place)

    def follow(self, wire: Wire) -> None:
        """Push small changes from one directory and pull them into another, over a short wire and a long one."""
        target, mine, yours = f"{wire.address}/traffic/two:main", self._place / "mine", self._place / "yours"
        _write(mine)
        self._agent.push(target, mine)
        self._agent.pull(target, yours)
        done: dict[str, list[Result]] = {}
        for step in range(ROUNDS):
            for round_trip, where in ((0.0, "near"), (ROUND_TRIP, "far")):
                wire.round_trip = round_trip
                (mine / "10" / "file-3").write_text(f"changed in step {step}, {where}\n")
                for what, work in (
                    ("push, one small change", lambda: self._agent.push(target, mine)),
                    ("pull, one small change", lambda: self._agent.pull(target, yours)),
                    ("pull, nothing, small", lambda: self._agent.pull(target, yours)),
                ):
                    done.setdefault(f"agent {what}, {where}", []).append(_watched(wire, work))
        for label, results in done.items():
            self._results.add(label, best(results))

    def crowd(self) -> None:
        """Let the writers loose; the processes are those of the test that checks that all arrives."""
        many = Workspaces(self._place, f"{self._registry}/traffic/many:main")
        _write(self._place / "first")
        many.push("first")
        listed = []
        for number in range(WRITERS):
            name = f"writer-{number}"
            many.pull(name)
            (self._place / name / f"by-{number}").write_text(f"{number}\n")
            words = ["push", many.target, str(self._place / name), "--state", str(self._place / f".state-{name}")]
            words += ["--lane", f"task-{number}", "--attempt", "0", "--json"]
            listed.append({"words": words, "output": str(self._place / f"output-{number}"), "dies": False})
        many.close()
        (self._place / "writers").write_text(json.dumps(listed))
        began = time.perf_counter()
        command = [sys.executable, "-m", "tests.model.crowd", str(self._place / "writers"), "0", "0"]
        done = subprocess.run(command, cwd=_TOP, capture_output=True, check=True)
        seconds = time.perf_counter() - began
        if any(json.loads(done.stdout)):
            raise RuntimeError(f"of {WRITERS} writers some failed: {done.stdout.decode()}")
        pushed = [json.loads((self._place / f"output-{number}").read_text()) for number in range(WRITERS)]
        requests = [each["traffic"]["requests"] for each in pushed]
        median = int(statistics.median(requests))
        self._results.add(f"agent push, {WRITERS} at once, the median", Result(seconds, requests=median))
        self._results.add(f"agent push, {WRITERS} at once, the largest", Result(seconds, requests=max(requests)))


def _watched(wire: Wire, work: Callable[[], Result]) -> Result:
    """Return what the work took, counted on the wire and not by the agent."""
    wire.forget()
    return replace(work(), requests=wire.requests, connections=wire.connections, sent=wire.sent, received=wire.received)


def _write(directory: Path) -> None:
    for number in range(FILES):
        path = directory / str(number % 20) / f"file-{number // 20}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file {number}\n" * 50)
