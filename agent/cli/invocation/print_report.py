"""How a pull or a push ends on the terminal: warnings, then one summary line or one object."""

from __future__ import annotations

from agent.cli.invocation.session import Session
from agent.cli.terminal.progress import warn
from agent.cli.terminal.report_format import conflict_line, pull_summary, push_summary, to_json
from agent.sync.operation.report import ConflictReport, PullReport, PushReport


def finish_pull(session: Session, report: PullReport, took: float) -> None:
    """Print what a pull did in so many seconds."""
    if session.json:
        session.print_json({**to_json(report), **session.remarks()})
        return
    _warn_of(report.conflicts)
    session.say(pull_summary(report, took))


def finish_push(session: Session, report: PushReport, took: float) -> None:
    """Print what a push did in so many seconds."""
    if session.json:
        session.print_json({**to_json(report), **session.remarks()})
        return
    _warn_of(report.conflicts)
    session.say(push_summary(report, took))


def _warn_of(conflicts: list[ConflictReport]) -> None:
    for conflict in conflicts:
        warn(conflict_line(conflict))
