"""`agent squash`: replace many layers by one."""

from __future__ import annotations

import click

from agent.cli.invocation import parameters
from agent.cli.invocation.help_example import example
from agent.cli.invocation.session import Session
from agent.cli.terminal.report_format import squash_summary, to_json
from agent.core.spelling.reference import Reference
from agent.sync.operation.options import Compression


@click.command("squash", epilog=example("agent squash --after run-7/build reg.example.com/team/ws:main"))
@parameters.target
@parameters.after_finished
@parameters.compression
@parameters.session(quiet=True, limits=True)
def command(session: Session, target: Reference, after: tuple[str, ...], compression: Compression) -> None:
    """Put one layer in place of all layers of the workspace at TARGET that no retry can take back.

    The base stays as it is, and so does the history: `agent log` still shows every change. A push does the same by
    itself when the image has more than 24 layers.
    """
    from agent.sync.commands.squash_command import SquashOptions, squash_target

    with session.target_context(target) as context:
        report = squash_target(context, SquashOptions(after, compression))
    if session.json:
        session.print_json({**to_json(report), **session.remarks()})
        return
    session.say(squash_summary(report, session.took))
