"""Trying schedules: all of them, or some at random; and making one that shows a violation short."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.model.laws import Laws, ViolationError
from tests.model.scene import Run, Scene, Stage

Branch = tuple[list[str], frozenset[str]]
"""A schedule, and the words that need not be tried after it."""
SHORTENING = 20.0
"""Seconds that a schedule is made shorter for."""


@dataclass
class Result:
    """What a search has done.

    Attributes:
        runs: schedules that were run.
        states: different states that something was chosen in (an exhaustive search).
        complete: whether nothing is left to try.
        requests: of each push that returned.
    """

    runs: int = 0
    states: int = 0
    complete: bool = False
    requests: list[int] = field(default_factory=list)


class Search:
    """Runs one scene.

    Args:
        place: an empty directory, best in memory.
    """

    def __init__(self, place: Path, scene: Scene) -> None:
        self._stage = Stage(place, scene)
        self.scene = scene
        self.laws = Laws(place)

    def explore(self, seconds: float) -> Result:
        """Run every schedule; of two that lead to one state (see `World.key`) only one goes on.

        Raises:
            AssertionError: a law is violated; its text has the shortest schedule that was found.
        """
        result, seen = Result(), dict[object, frozenset[str]]()
        todo: list[Branch] = [([], frozenset())]
        deadline = time.monotonic() + seconds
        while todo and time.monotonic() < deadline:
            run = self._begin()
            result.runs += 1
            try:
                run.world.start()
                schedule, asleep = todo.pop()
                for word in schedule:
                    run.world.take(word)
                self._extend(run, asleep, todo, seen)
            except ViolationError as violation:
                run.world.abandon()  # before others work in the same directories
                self._fail(violation, run.world.schedule)
            finally:
                run.world.abandon()
        result.states, result.complete = len(seen), not todo
        return result

    def sample(self, seed: int, seconds: float, most: int | None = None) -> Result:
        """Run one random schedule for `seed` and for each number after it, `most` or as many as there is time for.

        Raises:
            AssertionError: as `explore`; its text has the seed, too.
        """
        result = Result()
        deadline = time.monotonic() + seconds
        for number in count(seed):
            if time.monotonic() > deadline or result.runs == most:
                break
            run = self._begin()
            result.runs += 1
            try:
                run.world.start()
                self._wander(run, random.Random(number))
                self.laws.check(run)
                result.requests += [push.requests for hand in run.hands.values() for push in hand.pushed]
            except ViolationError as violation:
                run.world.abandon()  # before others work in the same directories
                self._fail(violation, run.world.schedule, f"seed {number}")
            finally:
                run.world.abandon()
        return result

    def replay(self, schedule: Sequence[str]) -> Run:
        """Run one schedule; words that make no sense where they come are passed over, whoever is left goes on.

        Raises:
            ViolationError: a law is violated.
        """
        run = self._begin()
        try:
            run.world.start()
            for word in schedule:
                if word in run.world.choices():
                    run.world.take(word)
            while words := run.world.choices():
                run.world.take(words[0])
            self.laws.check(run)
        finally:
            run.world.abandon()
        return run

    def _begin(self) -> Run:
        run = self._stage.begin()
        self.laws.watch(run)
        return run

    def _extend(self, run: Run, asleep: frozenset[str], todo: list[Branch], seen: dict[object, frozenset[str]]) -> None:
        """Go on to an end, leaving what else could be done in `todo`.

        Words that are asleep were tried from an earlier state already, and what came since does not touch them
        (Godefroid, "Partial-Order Methods", 1996: sleep sets with state matching).
        """
        world = run.world
        while words := world.choices():
            key = world.key()
            if key in seen:
                words = [word for word in words if word in seen[key] and word not in asleep]
                asleep = seen[key] = seen[key] & asleep
            else:
                words = [word for word in words if word not in asleep]
                seen[key] = asleep
            if not words:
                return
            branches = []
            for word in words:
                left = frozenset(other for other in asleep if world.is_independent(other, word))
                branches.append(([*world.schedule, word], left))
                asleep |= {word}
            todo.extend(branches[1:])
            asleep = branches[0][1]
            world.take(words[0])
        self.laws.check(run)

    def _wander(self, run: Run, chance: random.Random) -> None:
        """Go on at random: in bursts, so that one actor gets far while others rest; mostly without faults."""
        favourite = ""
        while words := run.world.choices():
            plain = [word for word in words if word in run.world.actors]
            if plain and chance.random() > 0.1:
                words = plain
            if favourite in words and chance.random() < 0.5:
                word = favourite
            else:
                word = favourite = chance.choice(words)
            run.world.take(word)

    def _fail(self, violation: ViolationError, schedule: Sequence[str], about: str = "") -> None:
        found = self._shorten(list(schedule), violation.law)
        raise AssertionError(
            f"{violation} ({self.scene.name}{', ' if about else ''}{about})\nschedule = {' '.join(found)!r}"
        ) from violation

    def _shorten(self, schedule: list[str], law: str) -> list[str]:
        """Leave out words for as long as the law stays violated."""
        deadline = time.monotonic() + SHORTENING
        size = max(1, len(schedule) // 2)
        while time.monotonic() < deadline:
            at, before = 0, len(schedule)
            while at < len(schedule) and time.monotonic() < deadline:
                fewer = schedule[:at] + schedule[at + size :]
                if self._violates(fewer, law):
                    schedule = fewer
                else:
                    at += size
            if size == 1 and len(schedule) == before:
                break
            size = max(1, size // 2)
        return schedule

    def _violates(self, schedule: list[str], law: str) -> bool:
        try:
            self.replay(schedule)
        except ViolationError as violation:
            return violation.law == law
        return False
