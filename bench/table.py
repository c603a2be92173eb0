"""Results as tables in Markdown: what is to be reached and what was, and what everything took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bench.measure import Result
from bench.results import Results
from bench.targets import COUNT, RECEIVED, SENT, Figure, Target


def targets_table(targets: Iterable[Target], results: Results) -> str:
    """Return each target with what was reached, missed ones in bold, and how many there are of each."""
    rows, counts = [], {"reached": 0, "missed": 0, "not measured": 0}
    for target in targets:
        verdict = target.judge(results.found)
        word = "not measured" if verdict is None else "reached" if verdict.good else "missed"
        counts[word] += 1
        mark = f"**{word}**" if word == "missed" else word
        rows.append([target.work, target.beside, *(verdict[:4] if verdict else [""] * 4), mark])
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"{said}.\n\n" + _table(("work", "beside", "agent", "beside", "reached", "target", ""), "llrrrrl", rows)


def commands_table(results: Results) -> str:
    """Return what each command took."""
    head = ("command", "seconds", "CPU", "peak memory", "requests", "connections", "received", "sent")
    return _table(head, "lrrrrrrr", _commands(results))


def _commands(results: Results) -> Iterator[Sequence[str]]:
    for label, result in results.found.items():
        yield (
            label,
            f"{result.seconds:.3f}",
            f"{result.cpu:.3f}" if result.cpu else "",
            f"{result.rss / (1 << 20):.0f} MiB" if result.rss else "",
            _counted(result, result.requests, COUNT),
            "" if result.connections is None else str(result.connections),
            _counted(result, result.received, RECEIVED),
            _counted(result, result.sent, SENT),
        )


def _counted(result: Result, count: int | None, figure: Figure) -> str:
    return "" if count is None else figure.form.format(figure.of(result))


def _table(head: Sequence[str], align: str, rows: Iterable[Sequence[str]]) -> str:
    marks = ["---:" if side == "r" else "---" for side in align]
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], f"|{'|'.join(marks)}|", *lines[1:]]) + "\n"
