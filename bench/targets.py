"""What is to be reached: the table of targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bench.measure import Result
from bench.scale import FEW, MANY
from bench.start import PYTHON, REQUESTS, VERSION
from bench.traffic import ROUND_TRIP, WRITERS


class Verdict(NamedTuple):
    """What a row shows: the agent's figure, the other's, what that makes, and whether it is good enough."""

    own: str
    other: str
    reached: str
    limit: str
    good: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of a result, and how it is printed."""

    of: Callable[[Result], float]
    form: str


SECONDS = Figure(lambda result: result.seconds, "{:.3f} s")
MEMORY = Figure(lambda result: result.rss / (1 << 20), "{:.0f} MiB")
COUNT = Figure(lambda result: float(result.requests or 0), "{:.0f}")
RECEIVED = Figure(lambda result: (result.received or 0) / (1 << 20), "{:.2f} MiB")
SENT = Figure(lambda result: (result.sent or 0) / (1 << 20), "{:.2f} MiB")


@dataclass(frozen=True, slots=True)
class Target:
    """One row. `own` and `other` are labels of results.

    Attributes:
        unit: if 0, own over other is to stay below the limit; else own less other, in so many seconds.
        start: a result whose seconds are taken from own, and from the other if it is the agent's, too.
        form: how what is reached and its limit are printed.
    """

    work: str
    beside: str
    own: str
    other: str | None
    limit: float
    figure: Figure = SECONDS
    unit: float = 0.0
    start: str | None = None
    form: str = "{:.2f}"

    def judge(self, found: Mapping[str, Result]) -> Verdict | None:
        """Return what was reached, None if something of it was not measured."""
        if any(label is not None and label not in found for label in (self.own, self.other, self.start)):
            return None
        show = self.figure.form.format
        own = self._figure(found, self.own)
        if self.other is None:
            other, reached = None, own
        else:
            other = self._figure(found, self.other)
            reached = (own - other) / self.unit if self.unit else own / other
        return Verdict(
            show(own),
            "" if other is None else show(other),
            self.form.format(reached),
            f"≤ {self.form.format(self.limit)}",
            reached <= self.limit,
        )

    def _figure(self, found: Mapping[str, Result], label: str) -> float:
        start = found[self.start].seconds if self.start and label.startswith("agent ") else 0.0
        return self.figure.of(found[label]) - start


_MIB, _MS, _TRIPS = "{:.0f} MiB", "{:.0f} ms", "{:.1f} round trips"


def _ratio(work: str, beside: str, own: str, other: str, limit: float, figure: Figure = SECONDS) -> Target:
    form = "{:.2f}" if figure is SECONDS else "{:.3f}"
    return Target(work, beside, f"agent {own}", other, limit, figure, form=form)


def _memory(work: str) -> Target:
    return Target(f"peak memory of {work}", "", f"agent {work}", None, 250, MEMORY, form=_MIB)


def _count(work: str, own: str, limit: int) -> Target:
    return Target(f"requests of {work}", "", f"agent {own}", None, limit, COUNT, form="{:.0f}")


def _trips(work: str, limit: int) -> Target:
    own = f"agent {work}, one small change"
    row = f"{work} of one small change at {ROUND_TRIP * 1000:.0f} ms a round trip"
    return Target(row, "the same at none", f"{own}, far", f"{own}, near", limit, unit=ROUND_TRIP, form=_TRIPS)


TARGETS = (
    _ratio("full push", r"`tar \| zstd -1 -T2` to a file", "push, full", "tar, zstd -1 -T2", 1.6),
    _ratio("full push", "`umoci repack`, `skopeo copy`", "push, full", "umoci repack, skopeo copy", 0.3),
    _ratio("full push", "`restic backup`, first", "push, full", "restic backup, first", 0.5),
    Target(
        "push after no change, less the start of Python",
        "`find -printf` of the tree",
        "agent push, nothing",
        "find -printf",
        3,
        start=PYTHON,
    ),
    _ratio("push after 1 % of files changed", "`restic backup`, second", "push, 1 %", "restic backup, 1 %", 0.35),
    _ratio("bytes uploaded for that 1 %", r"`tar \| zstd` of those files", "push, 1 %", "tar, zstd, 1 %", 1.1, SENT),
    _ratio("full pull", r"`zstd -d \| tar -x`", "pull, full", "zstd -d, tar -x", 1.3),
    _ratio(
        "pull after 50 pushes that rewrote the same tenth",
        "pull of the same tree as one layer",
        "pull, 51 layers",
        "agent pull, one layer",
        1.25,
    ),
    _ratio("pull of 1 % into an up-to-date directory", "full pull", "pull, 1 %", "agent pull, full", 0.2),
    _ratio("sparse pull of a directory, 1 % of the bytes", "full pull", "pull, part", "agent pull, full", 0.15),
    _ratio("bytes moved for that part", "full pull", "pull, part", "agent pull, full", 0.05, RECEIVED),
    Target("`agent --version`", "`python -c pass`", VERSION, PYTHON, 100, unit=1e-3, form=_MS + " more"),
    Target(
        "`agent pull` of an unchanged workspace",
        "`python -c 'import requests'`",
        "agent pull, nothing",
        REQUESTS,
        150,
        unit=1e-3,
        form=_MS + " more",
    ),
    _memory(f"push, {MANY:,} files"),
    _memory(f"push, nothing, {MANY:,} files"),
    _memory(f"push, one changed, {MANY:,} files"),
    _memory(f"pull, {MANY:,} files"),
    _memory("push, 10 GiB"),
    _memory("pull, 10 GiB"),
    *(
        Target(
            f"scan, diff and state at {MANY:,} files: push of {work}",
            f"the same at {FEW:,}",
            f"agent push, {label}, {MANY:,} files",
            f"agent push, {label}, {FEW:,} files",
            11,
            start=start,
        )
        # What asks no target starts without an HTTP client.
        for work, label, start in (("nothing", "nothing", VERSION), ("one changed file", "one changed", REQUESTS))
    ),
    _count("a pull of an unchanged workspace", "pull, nothing, small, near", 3),
    _count("a push of one small change", "push, one small change, near", 14),
    _count(f"{WRITERS} parallel writers, the median", f"push, {WRITERS} at once, the median", 25),
    _trips("pull", 8),
    _trips("push", 14),
)
