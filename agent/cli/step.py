"""`agent step pull` and `agent step push`: the two steps around a task's own steps (docs/reference/steps.md)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import click

from agent.cli.invocation.help_example import example
from agent.cli.invocation.print_report import print_pull, print_push
from agent.cli.invocation.session import Session, default_lane
from agent.cli.terminal.failure import Failure, describe
from agent.cli.terminal.report_format import to_json
from agent.remedy import Place
from agent.store.network.retrying import PATIENCE_S

if TYPE_CHECKING:
    from agent.core.spelling.reference import Reference
    from agent.store.port import Store
    from agent.sync.task.argument import StepArgument

TERMINATION_LOG: Final = "/dev/termination-log"
"""Kubernetes reads the reason of a container's end from this file by default. Tekton's pods do not have it."""

OpenStore = Callable[["Reference"], "Store"]
StepCommand = Callable[[Session, "StepArgument", OpenStore], None]


EXAMPLE = (
    '{"volume": "/instep", "workspaces": [{"name": "source",',
    '  "directory": "/work", "target": "reg.example.com/ws:main"}]}',
)


@click.group("step", epilog=example(f"agent step pull '{EXAMPLE[0]}", f"{EXAMPLE[1]}'"))
def command() -> None:
    """Pull all workspaces of a task before it, push what it changed after it.

    Both commands take the same JSON object (docs/reference/steps.md). The
    environment is ignored.
    """


def _step(name: str, text: str) -> Callable[[StepCommand], StepCommand]:
    """Return a decorator that makes a function a subcommand, called with the parsed argument and open stores."""

    def decorate(run_step: StepCommand) -> StepCommand:
        @command.command(name, help=text)
        @click.argument("argument", metavar="JSON")
        @wraps(run_step)
        def run(argument: str) -> None:
            with _termination_message():
                _run(argument, run_step)

        return run_step

    return decorate


def _run(text: str, run_step: StepCommand) -> None:
    from agent.sync.task.argument import parse_step
    from agent.sync.task.step_setup import check_places, make_places, step_environment

    argument = parse_step(text)
    check_places(argument)
    # Before any file is written: the other step uses the files in the volume, too, and may run as another user.
    os.umask(0)
    make_places(argument)
    environ = step_environment(dict(os.environ), argument)
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
        run_step(session, argument, open_store)


@_step("pull", "Make each workspace's directory the workspace, before the task; see that it can be pushed.")
def _pull(session: Session, argument: StepArgument, open_store: OpenStore) -> None:
    from agent.sync.pull_steps.pull_directory import pull
    from agent.sync.task.step_setup import check_push, named_in_errors, pull_options, state_of

    for workspace in argument.workspaces:
        # Before the first byte is read: a missing login must not cost the work of a task.
        if not workspace.read_only:
            with named_in_errors(workspace):
                check_push(open_store(workspace.target), workspace.target)
    for workspace in argument.workspaces:
        if workspace.fresh:
            session.say(f"agent: workspace {workspace.name} at {workspace.target} starts empty; a push will be let in")
            continue
        session.restart()
        session.say(f"agent: workspace {workspace.name} at {workspace.target}")
        state = state_of(argument, workspace)
        with (
            named_in_errors(workspace),
            session.shared_context(workspace.target, workspace.directory, state, open_store) as context,
        ):
            report = pull(context, pull_options(argument, workspace))
        print_pull(session, report, session.took)


@_step("push", "Publish what the task changed in each workspace that it may write.")
def _push(session: Session, argument: StepArgument, open_store: OpenStore) -> None:
    from agent.sync.push_steps.push_directory import push
    from agent.sync.task.results import check_results, write_step_result
    from agent.sync.task.step_setup import check_pulled, check_step_result, named_in_errors, push_options, state_of
    from agent.tekton.model.push_result import PushedWorkspace, summarize

    written = [workspace for workspace in argument.workspaces if not workspace.read_only]
    check_step_result(argument)
    if argument.results is not None:
        check_results(argument.results, has_step_result=argument.step_result is not None)
    for workspace in written:
        with named_in_errors(workspace):
            check_pulled(argument, workspace)
    published: list[PushedWorkspace] = []
    with _report_file(argument) as pushed:
        for workspace in written:
            session.restart()
            session.say(f"agent: workspace {workspace.name} at {workspace.target}")
            state = state_of(argument, workspace)
            place = session.shared_context(workspace.target, workspace.directory, state, open_store)
            with named_in_errors(workspace), place as context:
                report = push(context, push_options(argument, workspace, default_lane()))
            pushed.append({"name": workspace.name, "push": to_json(report), "seconds": round(session.took, 3)})
            print_push(session, report, session.took)
            index, paths = argument.workspaces.index(workspace), tuple(conflict.path for conflict in report.conflicts)
            published.append(PushedWorkspace(index, report.target, report.id, paths))
        if argument.step_result is not None:
            write_step_result(argument.step_result, summarize(published))


@contextmanager
def _report_file(argument: StepArgument) -> Iterator[list[dict[str, Any]]]:
    """Write `report.json` into the volume, also if a push fails."""
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
def _termination_message() -> Iterator[None]:
    """Write the reason of a failure to the container's termination message, if the pod has that file."""
    try:
        yield
    except Exception as error:
        write_message(TERMINATION_LOG, describe(error, Place.STEP).text())
        raise


def write_message(path: str, text: str) -> None:
    """Write a line to a file if the file exists and is writable."""
    with suppress(OSError), os.fdopen(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC), "wb") as file:
        file.write(text.encode() + b"\n")
