"""`agent exec`: pull, run a command, push, in one process."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import click

from agent.cli.invocation import parameters
from agent.cli.invocation.help_example import example
from agent.cli.invocation.parameter_types import TARGET
from agent.cli.invocation.print_report import print_pull, print_push
from agent.cli.invocation.session import Session
from agent.cli.terminal import command_exit_codes
from agent.cli.terminal.child_process import run_command
from agent.cli.terminal.failure import describe, place_of
from agent.cli.terminal.progress import warn
from agent.cli.terminal.report_format import to_json
from agent.core.spelling.reference import Reference
from agent.errors import AgentError
from agent.sync.operation.options import PullOptions, PushOptions
from agent.sync.operation.report import PullReport, PushReport
from agent.sync.operation.workspace_context import WorkspaceContext, check_outside

_COMMAND = "agent.exec.command"


class CommandAfterDashes(click.Command):
    """A command that takes all words after the first `--` as the command to run, also words that look like options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split at `--`."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_COMMAND] = args[at + 1 :]
        rest = super().parse_args(ctx, args[:at])
        if not ctx.meta[_COMMAND] and not ctx.resilient_parsing:
            raise click.UsageError("missing the command to run, after --", ctx)
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Add the command to the usage line."""
        return [*super().collect_usage_pieces(ctx), "-- CMD [ARG]..."]


@dataclass(slots=True)
class Outcome:
    """The results of the pull, the command and the push.

    Attributes:
        pulled: the pull.
        exit_code: the command's.
        pushed: the push, None if the command failed.
        pushed_elsewhere: the push of a failed command's files to another target, None if there was none.
    """

    pulled: PullReport
    exit_code: int = command_exit_codes.DONE
    pushed: PushReport | None = None
    pushed_elsewhere: PushReport | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "pull": to_json(self.pulled),
            "exit_code": self.exit_code,
            "push": self.pushed and to_json(self.pushed),
            "kept": self.pushed_elsewhere and to_json(self.pushed_elsewhere),
        }


@click.command(
    "exec",
    cls=CommandAfterDashes,
    epilog=example(
        "agent exec --base reg.example.com/tools/go:1 \\", "  reg.example.com/team/ws:main work -- make test"
    ),
)
@parameters.target
@parameters.directory
@parameters.base
@parameters.create
@parameters.force
@parameters.after
@parameters.publishing
@parameters.writer
@click.option(
    "--push-on-failure",
    metavar="TARGET",
    type=TARGET,
    help="Push DIR to this new target if CMD fails.",
)
@parameters.state
@parameters.session(quiet=True, limits=True)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    session: Session,
    target: Reference,
    directory: str,
    base: Reference | None,
    base_path: str | None,
    create: bool,
    force: bool,
    after: tuple[str, ...],
    lane: str | None,
    attempt: int | None,
    pod_uid: str | None,
    push_on_failure: Reference | None,
    state: str | None,
    **publishing: Any,
) -> int:
    """Pull TARGET into DIR (default: here), run CMD in it, and push if CMD succeeded.

    A TARGET that holds nothing is an error, unless --create or --base is given; a DIR with local changes, such as those
    of a CMD that failed, is left alone, unless --force is.

    The exit code is CMD's; 128 + n if signal n ended it. Signals are passed on to CMD, its environment, standard
    input and output are those of this command.
    """
    from_path = parameters.base_path_checked(base_path, base)
    pushing = parameters.push_options(lane=lane, attempt=attempt, pod_uid=pod_uid, **publishing)
    pulling = PullOptions(
        base=base,
        create=create,
        base_path=from_path,
        after=after,
        lane=lane,
        attempt=attempt,
        pod=pushing.pod,
        force=force,
    )
    if push_on_failure is not None:
        check_outside(push_on_failure, directory)
    run = Run(session, target, directory, state)
    outcome = Outcome(_pull(run, pulling))
    outcome.exit_code = run_command(ctx.meta[_COMMAND], directory)
    _publish(run, outcome, pushing, push_on_failure)
    if session.json:
        session.print_json({**outcome.to_json(), **session.remarks()})
    return outcome.exit_code


class Run(NamedTuple):
    """One run of `agent exec`. Pull and push each open connections: CMD may run longer than connections and tokens."""

    session: Session
    target: Reference
    directory: str
    state: str | None

    def open(self, retry: str) -> AbstractContextManager[WorkspaceContext]:
        """Open the context; `retry` as for `Session.context`."""
        return self.session.context(self.target, self.directory, self.state, retry=retry)

    @property
    def push_command(self) -> str:
        """The command line that publishes the directory as it is."""
        return shlex.join(["agent", "push", str(self.target), self.directory])


def _pull(run: Run, options: PullOptions) -> PullReport:
    from agent.sync.pull_steps.pull_directory import pull
    from agent.sync.task.step_setup import check_push

    with run.open("run it again") as context:
        check_push(context.store, context.target)
        report = pull(context, options)
    if not run.session.json:
        print_pull(run.session, report, run.session.took)
    return report


def _publish(run: Run, outcome: Outcome, options: PushOptions, push_on_failure: Reference | None) -> None:
    """Push the directory if the command succeeded. If it failed, push it elsewhere on demand, and say what to do."""
    if outcome.exit_code == command_exit_codes.DONE:
        outcome.pushed = _push(run, options)
        return
    if push_on_failure is not None:
        outcome.pushed_elsewhere = _push_elsewhere(run, options, push_on_failure)
    run.session.say(
        f"agent: CMD ended with {outcome.exit_code}, so that nothing was pushed to {run.target}; what it left can be "
        f"pushed ({run.push_command}), or discarded (agent exec --force)"
    )


def _push(run: Run, options: PushOptions) -> PushReport:
    from agent.sync.push_steps.push_directory import push

    began = run.session.took
    with run.open(f"CMD is done; go on with: {run.push_command}") as context:
        report = push(context, options)
    if not run.session.json:
        print_push(run.session, report, run.session.took - began)
    return report


def _push_elsewhere(run: Run, options: PushOptions, target: Reference) -> PushReport | None:
    """Push a failed command's files to another target. An error is only a warning: CMD's exit code counts.

    The directory's state must keep describing the first target, so the push works on a copy of the state.
    """
    try:
        with run.open("CMD failed and is done") as context:
            home = context.state
        # The copy is next to the state itself: in a container no other directory may be writable.
        with tempfile.TemporaryDirectory(dir=home) as copy:
            for name in os.listdir(home):
                if os.path.isfile(os.path.join(home, name)):
                    shutil.copy2(os.path.join(home, name), copy)
            report = _push(run._replace(target=target, state=copy), options)
    except (AgentError, OSError) as error:
        failure = describe(error, place_of(["exec"], os.environ))
        warn(f"the failed command's files were not pushed: {failure.text()}")
        return None
    run.session.say(f"agent: the failed command's files are at {target}")
    return report
