"""Results as a table in Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.measure import Result

ORDER = (
    "full push",
    "push of nothing",
    "push of 1 %",
    "full pull",
    "pull of nothing",
    "pull of 1 %",
    "full pull, 20 layers",
)


@dataclass(frozen=True, slots=True)
class Row:
    """How long `tool` took for `work`."""

    work: str
    tool: str
    result: Result


def table(rows: Iterable[Row]) -> str:
    """Return the rows, the agent's first for each work; the ratio is the agent's time over the tool's."""
    found = sorted(rows, key=lambda row: (ORDER.index(row.work), not row.tool.startswith("agent ")))
    own = {row.work: row.result.seconds for row in found if row.tool.startswith("agent ")}
    lines = ["| work | tool | seconds | agent / tool | peak memory |", "|---|---|---:|---:|---:|"]
    for row in found:
        ratio = "" if row.tool.startswith("agent ") else f"{own[row.work] / row.result.seconds:.2f}"
        lines.append(
            f"| {row.work} | {row.tool} | {row.result.seconds:.2f} | {ratio} | {row.result.rss / (1 << 20):.0f} MiB |"
        )
    return "\n".join(lines) + "\n"
