"""`agent log`: the changes of a workspace, with writer, time and counts."""

from __future__ import annotations

import click

from agent.cli.invocation import parameters
from agent.cli.invocation.help_example import example
from agent.cli.invocation.session import Session
from agent.cli.terminal.report_format import log_lines, to_json
from agent.core.spelling.reference import Reference


@click.command("log", epilog=example("agent log reg.example.com/team/ws:main"))
@parameters.target
@parameters.session(limits=True)
def command(session: Session, target: Reference) -> None:
    """Show the changes of the workspace at TARGET, newest first.

    Each line: id, time, lane, paths written (+), deleted (-) and touched (~), size of the layer, message. The last is
    the base, if there is one. Then, where parallel changes disagree, one line for each path.
    """
    from agent.sync.commands.read_target import log

    with session.stores() as open_store:
        found = log(open_store(target), target, session.limits)
    if session.json:
        session.print_json({"target": str(target), **to_json(found), **session.remarks()})
        return
    session.print_lines(log_lines(found))
