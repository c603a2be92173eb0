"""Reports as text for people and as JSON values for machines (docs/reference/json.md). It does no I/O."""

from __future__ import annotations

import stat
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from agent.cli.terminal.failure import printable
from agent.core.model.entry import FILE_TYPES, Kind
from agent.core.spelling.canonical import name_to_json
from agent.core.spelling.path import show

if TYPE_CHECKING:
    from agent.sync.commands.directory_status import Difference, StatusReport
    from agent.sync.commands.doctor_report import DoctorReport
    from agent.sync.commands.prune_target import PruneReport
    from agent.sync.commands.read_target import ListedPath, Log, LogEntry
    from agent.sync.commands.squash_command import SquashReport
    from agent.sync.operation.report import ConflictReport, PullReport, PushReport

ID_DIGITS = 12
_MARKS = {"added": "A", "changed": "M", "deleted": "D", "touched": "T"}


def short(change: str) -> str:
    """Return the first digits of a change's id (or a base's digest), which are enough for people."""
    return change.removeprefix("sha256:")[:ID_DIGITS]


def size(count: int) -> str:
    """Return a number of bytes with a unit."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def amount(count: int, unit: str) -> str:
    """Return a number of bytes or of other units."""
    return size(count) if unit == "bytes" else counted(count, unit.removesuffix("s"))


def counted(count: int, noun: str) -> str:
    """Return a number and a noun, in the plural if needed."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def seconds(value: float) -> str:
    """Return a duration in seconds."""
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def moment(ns: int) -> str:
    """Return a time (ns since 1970) in the local time zone, with the offset from UTC; `-` for 0, the time of a base."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(ns // 10**9)) if ns else "-"


def pull_summary(report: PullReport, took: float) -> str:
    """Return the last line of a pull."""
    parts = [f"{counted(report.paths, 'path')} ({report.written:,} written, {report.removed:,} removed)"]
    if report.unselected:
        parts.append(f"{report.unselected:,} not selected (--path '**' selects all)")
    parts.append(f"{counted(report.layers_fetched, 'layer')} fetched, {report.layers_skipped:,} skipped")
    parts.append(_moved("received", report.traffic.received, report.traffic.requests))
    return f"agent: pulled {', '.join(parts)}, {seconds(took)}"


def push_summary(report: PushReport, took: float) -> str:
    """Return the last line of a push."""
    counts = f"{report.written:,} written, {report.deleted:,} deleted, {report.touched:,} touched"
    paths = counted(report.paths, "path")
    if report.dry_run:
        return f"agent: would push {counts} of {paths}, {seconds(took)}"
    if report.id is None:
        return f"agent: nothing to push: {paths} as they were, {seconds(took)}"
    moved = _moved("sent in all", report.traffic.sent, report.traffic.requests)
    return (
        f"agent: pushed {short(report.id)}: {counts} of {paths}; a layer of {size(report.layer_size)}, {moved}, "
        f"{seconds(took)}"
    )


def squash_summary(report: SquashReport, took: float) -> str:
    """Return the last line of a squash."""
    if report.id is None:
        moved = ", the image at the target's tag shows that now" if report.head_moved else ""
        return f"agent: nothing to squash: {counted(report.layers, 'layer')}{moved}, {seconds(took)}"
    became = f"{counted(report.layers_before, 'layer')} became {report.layers:,}"
    if not report.head_moved:
        became = "the image at the target's tag keeps its layers"
    return (
        f"agent: squashed {counted(report.covered, 'change')} into one layer of {size(report.layer_size)}; "
        f"{became}, {seconds(took)}"
    )


def prune_summary(report: PruneReport, took: float) -> str:
    """Return the last line of a prune."""
    done = "would delete" if report.dry_run else "deleted"
    plural = "entry" if report.entries == 1 else "entries"
    parts = [f"{done} {report.entries:,} {plural} and {counted(report.checkpoints, 'checkpoint')}"]
    if report.head:
        parts.append("and head")
    if report.refused:
        parts.append(f"{report.refused:,} refused by the registry")
    parts.append(f"{report.kept:,} kept" + (f" for a prune after {moment(report.due)}" if report.due else ""))
    return f"agent: {', '.join(parts)}, {seconds(took)}"


def _moved(verb: str, count: int, requests: int) -> str:
    return f"{size(count)} {verb}" + (f" in {counted(requests, 'request')}" if requests else "")


def conflict_line(conflict: ConflictReport) -> str:
    """Return the warning about one conflict."""
    between = " and ".join(f"{short(one)} ({lane})" for one, lane in zip(conflict.ids, conflict.lanes, strict=False))
    won = f"; {short(conflict.won)} wins" if conflict.won else ""
    return f"{conflict.kind} conflict at {conflict.path} between {between}{won}"


def difference_line(difference: Difference) -> str:
    """Return one path that differs, as `git status --short` would."""
    slash = "/" if difference.kind == Kind.DIR else ""
    details = f"  ({', '.join(difference.details)})" if difference.details else ""
    return f"{_MARKS[difference.mark]}  {show(difference.path)}{slash}{details}"


def log_lines(log: Log) -> list[str]:
    """Return one line for each change, in columns, and one for each conflict."""
    rows = [_log_row(entry) for entry in log.changes]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(5)]
    changes = [
        f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:<{widths[2]}}  {row[3]:<{widths[3]}}  "
        f"{row[4]:>{widths[4]}}  {row[5]}".rstrip()
        for row in rows
    ]
    more = log.conflict_count - len(log.conflicts)
    rest = [f"and {counted(more, 'conflict')} more"] if more else []
    return [*changes, *map(conflict_line, log.conflicts), *rest]


def _log_row(entry: LogEntry) -> tuple[str, str, str, str, str, str]:
    lane = printable(entry.lane) + ("" if entry.attempt is None else f" #{entry.attempt}")
    lane += " (superseded)" if entry.superseded else ""
    counts = f"+{entry.written} -{entry.deleted}" + (f" ~{entry.touched}" if entry.touched else "")
    if entry.squash is not None:
        counts = "(squashed)"
    message = printable(entry.message.split("\n", 1)[0])
    return short(entry.id), moment(entry.stamp), lane, counts, "-" if entry.squash else size(entry.size), message


def listed_line(listed: ListedPath, *, long: bool) -> str:
    """Return one path of an image; `long` as `ls -l` with numeric owners and the change that wrote it."""
    name = show(listed.path) + ("/" if listed.kind == Kind.DIR and not long else "")
    if not long:
        return name
    mode = stat.filemode(FILE_TYPES[Kind(listed.kind)] | listed.mode)
    change = short(listed.change) if listed.change else "-"
    arrow = f" -> {show(listed.target)}" if listed.kind == Kind.LINK else ""
    owner = f"{listed.uid:>5} {listed.gid:>5}"
    return f"{mode} {owner} {listed.size:>12} {moment(listed.mtime)} {change:<{ID_DIGITS}} {name}{arrow}"


def doctor_lines(report: DoctorReport) -> list[str]:
    """Return one line for each check, in columns, then one for each object that could not be deleted."""
    width = max(len(check.name) for check in report.checks)
    lines = [
        f"{check.verdict:<7}  {check.name:<{width}}  {printable(check.found)}; {check.means}" for check in report.checks
    ]
    return [*lines, *(f"left: {printable(left)}" for left in report.left)]


def to_json(
    report: DoctorReport
    | PullReport
    | PushReport
    | SquashReport
    | PruneReport
    | Log
    | Difference
    | ListedPath
    | StatusReport,
) -> dict[str, Any]:
    """Return a report's fields as JSON values; names are strings, or `{"b64": …}` where they are not UTF-8."""
    return {key: _as_json(value) for key, value in asdict(report).items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return name_to_json(value)
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, list) else value
