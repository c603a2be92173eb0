"""`agent prune`: delete the entries of a workspace that a checkpoint covers, or all of it."""

from __future__ import annotations

import click

from agent.cli.invocation import parameters
from agent.cli.invocation.help_example import example
from agent.cli.invocation.parameter_types import DURATION
from agent.cli.invocation.session import Session
from agent.cli.terminal.report_format import prune_summary, to_json
from agent.core.spelling.reference import Reference


@click.command("prune", epilog=example("agent prune --older-than 2h reg.example.com/team/ws:main"))
@parameters.target
@click.option(
    "--older-than",
    metavar="DURATION",
    default="1h",
    type=DURATION,
    show_default=True,
    help="How old the checkpoint must be: 90s, 30m, 1h, 2d; choose more than the delay of the registry's list of tags.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@click.option("--all", "everything", is_flag=True, help="Delete the whole workspace, whatever its age.")
@parameters.session(quiet=True, limits=True)
def command(session: Session, target: Reference, older_than: int, dry_run: bool, everything: bool) -> None:
    """Delete the entries of the workspace at TARGET that a checkpoint covers.

    A checkpoint is an image that holds the whole workspace. The image of a push is deleted if every change in it is in
    a checkpoint that an earlier prune published long enough ago. Then a new checkpoint is published for the next prune.
    The workspace stays as it is. The registry frees the space when it next collects garbage.
    """
    from agent.sync.commands.prune_target import PruneOptions, prune

    with session.target_context(target) as context:
        report = prune(context, PruneOptions(older_than, dry_run, everything))
    if session.json:
        session.print_json({**to_json(report), **session.remarks()})
    session.say(prune_summary(report, session.took))
    report.check()
