"""What was measured, by the words that name it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from bench.measure import Result


@dataclass
class Results:
    """Results in the order in which they came, why others did not, and what must be known of them."""

    found: dict[str, Result] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, label: str, result: Result) -> None:
        """Keep a result, and show it."""
        self.found[label] = result
        self.say(f"{label}: {result.seconds:.3f} s, {result.cpu:.3f} s of CPU, {result.rss / (1 << 20):.0f} MiB")

    def lack(self, reason: str) -> None:
        """Keep why something was not measured."""
        self.missing.append(reason)
        self.say(reason)

    def say(self, text: str) -> None:
        """Tell who waits."""
        print(text, file=sys.stderr, flush=True)
