"""`agent cat`: print a file of a workspace without pulling it."""

from __future__ import annotations

import os

import click

from agent.cli.invocation import parameters
from agent.cli.invocation.help_example import example
from agent.cli.invocation.session import Session
from agent.cli.terminal.output import write
from agent.core.spelling.canonical import name_to_json
from agent.core.spelling.path import check_path, show
from agent.core.spelling.reference import Reference
from agent.errors import UnsafeArchiveError, UsageError


@click.command("cat", epilog=example("agent cat reg.example.com/team/ws:main src/main.c"))
@parameters.target
@click.argument("path")
@click.option("--at", metavar="ID", help="The workspace as this change left it, for its writer.")
@parameters.session(limits=True)
def command(session: Session, target: Reference, path: str, at: str | None) -> None:
    """Print the file PATH of the workspace at TARGET.

    Only the part of the layer that holds it is read.
    """
    from agent.sync.commands.read_target import cat

    name = _name(path)
    with session.stores() as open_store:
        chunks = cat(open_store(target), target, name, at=at, limits=session.limits)
        if session.json:
            content = b"".join(chunks)
            described = {"target": str(target), "path": name_to_json(name), "at": at, "size": len(content)}
            session.print_json({**described, "content": name_to_json(content), **session.remarks()})
        else:
            for chunk in chunks:
                write(chunk)


def _name(path: str) -> bytes:
    name = os.fsencode(path).strip(b"/")
    try:
        return check_path(name)
    except UnsafeArchiveError as error:
        raise UsageError(
            error.what, subject=show(name) or "PATH", remedy="name a file as `agent ls` shows it"
        ) from error
