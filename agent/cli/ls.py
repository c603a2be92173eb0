"""`agent ls`: list the paths of a workspace without pulling it."""

from __future__ import annotations

import os

import click

from agent.cli.invocation import parameters
from agent.cli.invocation.help_example import example
from agent.cli.invocation.session import Session
from agent.cli.terminal.report_format import listed_line, to_json
from agent.core.spelling.reference import Reference


@click.command("ls", epilog=example("agent ls --long reg.example.com/team/ws:main src"))
@parameters.target
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--at", metavar="ID", help="The workspace as this change left it, for its writer.")
@click.option("--long", "-l", "long", is_flag=True, help="Mode, owner, group, size, time and change of each, too.")
@parameters.session(limits=True)
def command(session: Session, target: Reference, paths: tuple[str, ...], at: str | None, long: bool) -> None:
    """List the workspace at TARGET: all of it, or each PATH with everything below.

    Only tables of contents are read.
    """
    from agent.sync.commands.read_target import ls

    names = tuple(os.fsencode(path).strip(b"/") for path in paths)
    with session.stores() as open_store:
        listed = ls(open_store(target), target, names, at=at, limits=session.limits)
        if session.json:
            rows = [to_json(row) for row in listed]
            session.print_json({"target": str(target), "at": at, "paths": rows, **session.remarks()})
        else:
            session.print_lines(listed_line(row, long=long) for row in listed)
