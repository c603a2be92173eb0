"""`agent push`: publish the changes of a directory."""

from __future__ import annotations

from typing import Any

import click

from agent.cli.invocation import parameters
from agent.cli.invocation.help_example import example
from agent.cli.invocation.print_report import print_push
from agent.cli.invocation.session import Session
from agent.core.spelling.reference import Reference


@click.command("push", epilog=example('agent push -m "compile" reg.example.com/team/ws:main work'))
@parameters.target
@parameters.directory
@parameters.publishing
@parameters.writer
@click.option("--dry-run", is_flag=True, help="Say what would be published, and publish nothing.")
@click.option("--allow-empty", is_flag=True, help="Publish even though everything in DIR is gone.")
@parameters.state
@parameters.session(quiet=True, limits=True)
def command(
    session: Session,
    target: Reference,
    directory: str,
    dry_run: bool,
    allow_empty: bool,
    state: str | None,
    **publishing: Any,
) -> None:
    """Publish what changed in DIR (default: here) as one new layer of TARGET.

    Files that did not change since the last pull or push are neither read nor sent. Where nothing changed, nothing is
    published.
    """
    from agent.sync.push_steps.push_directory import push

    options = parameters.push_options(**publishing)._replace(allow_empty=allow_empty, dry_run=dry_run)
    with session.context(target, directory, state) as context:
        report = push(context, options)
    print_push(session, report, session.took)
