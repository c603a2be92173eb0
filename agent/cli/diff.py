"""`agent diff`: the differences between two changes of a workspace."""

from __future__ import annotations

import click

from agent.cli.invocation import parameters
from agent.cli.invocation.help_example import example
from agent.cli.invocation.session import Session
from agent.cli.terminal.report_format import difference_line, to_json
from agent.core.spelling.reference import Reference


@click.command("diff", epilog=example("agent diff reg.example.com/team/ws:main 3f2a9c0d 77aa01b2"))
@parameters.target
@click.argument("old", metavar="[OLD", required=False)
@click.argument("new", metavar="[NEW]]", required=False)
@parameters.session(limits=True)
def command(session: Session, target: Reference, old: str | None, new: str | None) -> None:
    """Show what differs between two changes of the workspace at TARGET.

    OLD and NEW are ids as `agent log` shows them, or the start of one. Without NEW: since OLD, up to now. Without
    both: what the newest change did. Only tables of contents are read. `agent status` compares a directory.
    """
    from agent.sync.commands.read_target import diff

    with session.stores() as open_store:
        differences = diff(open_store(target), target, old, new, session.limits)
    if session.json:
        listed = [to_json(difference) for difference in differences]
        session.print_json({"target": str(target), "old": old, "new": new, "differences": listed, **session.remarks()})
        return
    session.print_lines([difference_line(difference) for difference in differences])
