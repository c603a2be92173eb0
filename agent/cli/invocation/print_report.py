"""Printing the report of a pull or a push: warnings and one summary line, or one JSON object."""

from __future__ import annotations

from agent.cli.invocation.session import Session
from agent.cli.terminal.progress import warn
from agent.cli.terminal.report_format import conflict_line, pull_summary, push_summary, to_json
from agent.sync.operation.report import PullReport, PushReport


def print_pull(session: Session, report: PullReport, took: float) -> None:
    """Print the report of a pull.

    Args:
        took: its duration in seconds.
    """
    _print(session, report, pull_summary(report, took))


def print_push(session: Session, report: PushReport, took: float) -> None:
    """Print the report of a push.

    Args:
        took: its duration in seconds.
    """
    _print(session, report, push_summary(report, took))


def _print(session: Session, report: PullReport | PushReport, summary: str) -> None:
    if session.json:
        session.print_json({**to_json(report), **session.remarks()})
        return
    for conflict in report.conflicts:
        warn(conflict_line(conflict))
    session.say(summary)
