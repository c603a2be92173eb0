"""The report of the doctor: one verdict for each ability of a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from agent.errors import UnavailableError
from agent.store.port import Traffic

Verdict = Literal["ok", "weak", "missing", "unknown"]
"""`weak`: a guarantee holds with a restriction that `means` names; `missing`: one does not hold."""


@dataclass(slots=True)
class Check:
    """One ability: the finding, and its meaning for workspaces there."""

    name: str
    verdict: Verdict
    found: str
    means: str


@dataclass(slots=True)
class DoctorReport:
    """The abilities of a target's store. `left` names the tags and blobs that stay; `exit_code` is the command's."""

    target: str
    exit_code: int = 0
    checks: list[Check] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)

    def add(self, name: str, verdict: Verdict, found: str, means: str) -> None:
        """Add a check; a missing ability sets the exit code to that of `UnavailableError`."""
        self.checks.append(Check(name, verdict, found, means))
        if verdict == "missing":
            self.exit_code = self.exit_code or UnavailableError.exit_code
