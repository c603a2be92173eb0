"""`agent watch`: push a directory each time that its changes have settled."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from agent.cli.invocation import parameters
from agent.cli.invocation.help_example import example
from agent.cli.invocation.print_report import print_push
from agent.cli.invocation.session import Session
from agent.cli.terminal.failure import Failure, describe, place_of
from agent.cli.terminal.progress import warn
from agent.core.spelling.reference import Reference
from agent.errors import AgentError

if TYPE_CHECKING:
    from agent.workspace.scan.watcher import Watcher


@click.command("watch", epilog=example("agent watch reg.example.com/team/ws:main work"))
@parameters.target
@parameters.directory
@click.option(
    "--settle", metavar="SECONDS", type=click.FloatRange(min=0), default=2.0, help="How long DIR must be quiet. [2]"
)
@parameters.publishing
@parameters.writer
@parameters.state
@parameters.session(quiet=True, limits=True)
def command(
    session: Session,
    target: Reference,
    directory: str,
    settle: float,
    state: str | None,
    **publishing: Any,
) -> None:
    """Push DIR (default: here) to TARGET now, and again whenever it has come to rest after changes.

    Goes on while the registry is away, and tries again at the next rest. Ctrl-C or SIGTERM ends it, after the push
    that is under way; a second one ends it at once. With --json it prints one object for each push.
    """
    from agent.sync.commands.watch_directory import watch
    from agent.workspace.scan.watcher import Watcher

    options = parameters.push_options(**publishing)
    with session.context(target, directory, state) as context, Watcher(directory) as watcher:
        _stop_on_signals(watcher)
        for outcome in watch(context, options, watcher, settle):
            session.pause(context)
            if isinstance(outcome, AgentError):
                _print_failure(session, describe(outcome, place_of(["watch"], os.environ)))
            else:
                print_push(session, outcome, session.took)
            session.restart()


def _stop_on_signals(watcher: Watcher) -> None:
    """Let the first signal end the watch, and restore the previous handlers for the next signal."""
    previous = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}

    def stop(signum: int, frame: FrameType | None) -> None:
        for each, handler in previous.items():
            signal.signal(each, handler)
        watcher.stop()

    for signum in previous:
        signal.signal(signum, stop)


def _print_failure(session: Session, failure: Failure) -> None:
    if session.json:
        session.print_json({"error": failure.to_json()})
    else:
        warn(f"{failure.subject}: {failure.what}; trying again when the directory has changed")
