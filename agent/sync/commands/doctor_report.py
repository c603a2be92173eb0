"""What the doctor says of a store: one verdict for each thing that was tried."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from agent.errors import UnavailableError
from agent.store.port import Traffic

Verdict = Literal["ok", "weak", "missing", "unknown"]
"""`weak`: a guarantee holds with a restriction that `means` names; `missing`: one does not hold."""


@dataclass(slots=True)
class Check:
    """One thing that was tried: what was found, and what it means for whoever keeps workspaces there."""

    name: str
    verdict: Verdict
    found: str
    means: str


@dataclass(slots=True)
class DoctorReport:
    """What a target's store can do. `left` names what could not be cleaned up; `exit_code` is the command's."""

    target: str
    exit_code: int = 0
    checks: list[Check] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)

    def add(self, name: str, verdict: Verdict, found: str, means: str) -> None:
        """Note a check; one that is missing makes the report's exit code that of a registry that refuses."""
        self.checks.append(Check(name, verdict, found, means))
        if verdict == "missing":
            self.exit_code = self.exit_code or UnavailableError.exit_code
