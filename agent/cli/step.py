"""`agent step pull` and `agent step push`: what a task runs around its own steps (docs/reference/steps.md)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import click

from agent.cli.invocation.example import example
from agent.cli.invocation.finish import finish_pull, finish_push
from agent.cli.invocation.wiring import Session, default_lane
from agent.cli.terminal.failure import Failure, describe
from agent.cli.terminal.present import to_json
from agent.remedy import Place
from agent.store.network.retrying import PATIENCE_S

if TYPE_CHECKING:
    from agent.core.spelling.reference import Reference
    from agent.store.port import Store
    from agent.sync.task.argument import StepArgument

TERMINATION_LOG: Final = "/dev/termination-log"
"""Where Kubernetes reads why a container ended, unless the pod says otherwise; in Tekton's pods it is not there."""

Opener = Callable[["Reference"], "Store"]
Work = Callable[[Session, "StepArgument", Opener], None]


EXAMPLE = (
    '{"volume": "/instep", "workspaces": [{"name": "source",',
    '  "directory": "/work", "target": "reg.example.com/ws:main"}]}',
)


@click.group("step", epilog=example(f"agent step pull '{EXAMPLE[0]}", f"{EXAMPLE[1]}'"))
def command() -> None:
    """Pull all workspaces of a task before it, push what it changed after it.

    Both commands take the same JSON object, which says everything
    (docs/reference/steps.md): the environment has no say.
    """


def _step(name: str, text: str) -> Callable[[Work], Work]:
    """Make a subcommand of what is to be done once the argument is understood and everything is in its place."""

    def decorate(work: Work) -> Work:
        @command.command(name, help=text)
        @click.argument("argument", metavar="JSON")
        @wraps(work)
        def run(argument: str) -> None:
            with _told_to_kubernetes():
                _run(argument, work)

        return work

    return decorate


def _run(text: str, work: Work) -> None:
    from agent.sync.task.argument import parse_step
    from agent.sync.task.step import check_places, make_places, settled

    argument = parse_step(text)
    check_places(argument)
    # Before anything reads them. What lies in the volume is the partner's, too, whatever user that runs as.
    os.umask(0)
    make_places(argument)
    environ = settled(dict(os.environ), argument)
    os.environ.clear()
    os.environ.update(environ)
    tempfile.tempdir = None
    session = Session(
        plain_http=argument.plain_http,
        ca_file=argument.ca_file,
        patience=argument.patience or PATIENCE_S,
        limits=argument.limits,
    )
    with session.stores() as open_store:
        for workspace in argument.workspaces:
            open_store(workspace.target)  # sends nothing, but reads certificates
            if workspace.base is not None:
                open_store(workspace.base)
        work(session, argument, open_store)


@_step("pull", "Make each workspace's directory the workspace, before the task; see that it can be pushed.")
def _pull(session: Session, argument: StepArgument, open_store: Opener) -> None:
    from agent.sync.commands.pull import pull
    from agent.sync.task.step import check_push, naming, pull_options, state_of

    for workspace in argument.workspaces:
        # Before the first byte is read: a missing login must not cost the work of a task.
        if not workspace.read_only:
            with naming(workspace):
                check_push(open_store(workspace.target), workspace.target)
    for workspace in argument.workspaces:
        if workspace.fresh:
            session.say(f"agent: workspace {workspace.name} at {workspace.target} starts empty; a push will be let in")
            continue
        session.restart()
        session.say(f"agent: workspace {workspace.name} at {workspace.target}")
        state = state_of(argument, workspace)
        with naming(workspace), session.shared_site(workspace.target, workspace.directory, state, open_store) as site:
            report = pull(site, pull_options(argument, workspace))
        finish_pull(session, report, session.took)


@_step("push", "Publish what the task changed in each workspace that it may write.")
def _push(session: Session, argument: StepArgument, open_store: Opener) -> None:
    from agent.sync.commands.push import push
    from agent.sync.task.results import check_results, write_step_result
    from agent.sync.task.step import check_pulled, check_step_result, naming, push_options, state_of
    from agent.tekton.model.push_result import PushedWorkspace, summarize

    written = [workspace for workspace in argument.workspaces if not workspace.read_only]
    check_step_result(argument)
    if argument.results is not None:
        check_results(argument.results, has_step_result=argument.step_result is not None)
    for workspace in written:
        with naming(workspace):
            check_pulled(argument, workspace)
    published: list[PushedWorkspace] = []
    with _reported(argument) as pushed:
        for workspace in written:
            session.restart()
            session.say(f"agent: workspace {workspace.name} at {workspace.target}")
            state = state_of(argument, workspace)
            place = session.shared_site(workspace.target, workspace.directory, state, open_store)
            with naming(workspace), place as site:
                report = push(site, push_options(argument, workspace, default_lane()))
            pushed.append({"name": workspace.name, "push": to_json(report), "seconds": round(session.took, 3)})
            finish_push(session, report, session.took)
            index, paths = argument.workspaces.index(workspace), tuple(conflict.path for conflict in report.conflicts)
            published.append(PushedWorkspace(index, report.target, report.id, paths))
        if argument.step_result is not None:
            write_step_result(argument.step_result, summarize(published))


@contextmanager
def _reported(argument: StepArgument) -> Iterator[list[dict[str, Any]]]:
    """Leave `report.json` in the volume, however the pushes end."""
    from agent.workspace.filesystem.durable_files import write_json

    pushed: list[dict[str, Any]] = []
    failure: Failure | None = None
    try:
        yield pushed
    except Exception as error:
        failure = describe(error, Place.STEP)
        raise
    finally:
        report = {"attempt": argument.attempt, "workspaces": pushed, "error": failure and failure.to_json()}
        write_json(os.path.join(argument.volume, "report.json"), report)


@contextmanager
def _told_to_kubernetes() -> Iterator[None]:
    """Leave the reason of a failure where Kubernetes looks for it, if this is a pod that has such a place."""
    try:
        yield
    except Exception as error:
        leave_message(TERMINATION_LOG, describe(error, Place.STEP).text())
        raise


def leave_message(path: str, text: str) -> None:
    """Write a line to a file if it is there and may be written; that it is not is fine."""
    with suppress(OSError), os.fdopen(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC), "wb") as file:
        file.write(text.encode() + b"\n")
