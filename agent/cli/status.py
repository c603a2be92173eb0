"""`agent status`: the changes of a directory since the last pull or push."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agent.cli.invocation import parameters
from agent.cli.invocation.help_example import example
from agent.cli.invocation.session import Session
from agent.cli.terminal.failure import printable
from agent.cli.terminal.report_format import difference_line, short, to_json

if TYPE_CHECKING:
    from agent.sync.commands.directory_status import StatusReport


@click.command("status", epilog=example("agent status work"))
@parameters.directory
@parameters.state
@parameters.session()
def command(session: Session, directory: str, state: str | None) -> None:
    """Show what changed in DIR (default: here) since the last pull or push.

    A added, M changed, D deleted, T only its modification time. The registry is not asked.
    """
    from agent.sync.commands.directory_status import status

    with session.remembered_context(directory, state) as context:
        report = status(context)
    if session.json:
        session.print_json({**to_json(report), **session.remarks()})
        return
    session.print_lines(_lines(report))


def _lines(report: StatusReport) -> list[str]:
    changes = ", ".join(short(change) for change in report.frontier) or "nothing yet"
    lines = [f"{printable(report.target)} at {changes}"]
    if report.sparse:
        lines.append(f"only {' '.join(printable(glob) for glob in report.sparse)}")
    lines += [difference_line(difference) for difference in report.differences]
    return lines if report.differences or report.interrupted else [*lines, "nothing changed"]
