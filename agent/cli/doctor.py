"""`agent doctor`: test the features of a registry, and explain the results."""

from __future__ import annotations

import os
import random
import time

import click

from agent.cli.invocation import parameters
from agent.cli.invocation.help_example import example
from agent.cli.invocation.session import Session
from agent.cli.terminal.report_format import doctor_lines, to_json
from agent.core.spelling.reference import Reference


@click.command("doctor", epilog=example("agent doctor reg.example.com/team/ws:main"))
@parameters.target
@click.option(
    "--wait",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=10,
    show_default=True,
    help="How long the list of tags may take to show a new tag.",
)
@parameters.session()
def command(session: Session, target: Reference, wait: float) -> int:
    """Test the registry of TARGET, and say what the results mean for workspaces there.

    A few small images are pushed to TARGET's repository under a tag of their own, and deleted again. TARGET itself is
    only read.
    """
    from agent.sync.commands.probe_store import doctor
    from agent.sync.operation.workspace_context import WorkspaceContext

    with session.stores() as open_store:
        report = doctor(
            WorkspaceContext(
                target=target,
                directory=os.curdir,
                state=os.curdir,
                open_store=open_store,
                progress=session.display(),
                clock=time.time_ns,
                sleep=time.sleep,
                random=random.random,
            ),
            wait,
        )
    if session.json:
        session.print_json({**to_json(report), **session.remarks()})
    else:
        session.print_lines(doctor_lines(report))
    return report.exit_code
