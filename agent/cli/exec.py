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
from agent.cli.invocation.example import example
from agent.cli.invocation.finish import finish_pull, finish_push
from agent.cli.invocation.wiring import Session, default_lane
from agent.cli.terminal import command_exit_codes
from agent.cli.terminal.child import run_command
from agent.cli.terminal.failure import describe, place_of
from agent.cli.terminal.present import to_json
from agent.cli.terminal.progress import warn
from agent.core.spelling.reference import Reference
from agent.errors import AgentError
from agent.sync.operation.options import Compression, OnConflict, PullOptions, PushOptions
from agent.sync.operation.report import PullReport, PushReport
from agent.sync.operation.workspace_context import WorkspaceContext, check_outside

_COMMAND = "agent.exec.command"


class CommandAfterDashes(click.Command):
    """Takes everything after the first `--` as the command to run, whatever it looks like."""

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
    """What happened so far. `kept` is the push of a failed command's tree."""

    pulled: PullReport
    exit_code: int = command_exit_codes.DONE
    pushed: PushReport | None = None
    kept: PushReport | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        pushes = {name: report and to_json(report) for name, report in (("push", self.pushed), ("kept", self.kept))}
        return {"pull": to_json(self.pulled), "exit_code": self.exit_code, **pushes}


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
    type=parameters.TARGET,
    help="Push DIR to this new target if CMD fails.",
)
@parameters.state
@parameters.session(quiet=True, limits=True)
@click.pass_context
def command(
    ctx: click.Context,
    session: Session,
    target: Reference,
    directory: str,
    base: Reference | None,
    base_path: str | None,
    create: bool,
    force: bool,
    after: tuple[str, ...],
    message: str,
    on_conflict: OnConflict,
    compression: Compression,
    annotations: tuple[str, ...],
    lane: str | None,
    attempt: int | None,
    push_on_failure: Reference | None,
    pod_uid: str | None,
    state: str | None,
) -> int:
    """Pull TARGET into DIR (default: here), run CMD in it, and push if CMD succeeded.

    A TARGET that holds nothing is an error, unless --create or --base is given; a DIR with local changes, such as those
    of a CMD that failed, is left alone, unless --force is.

    The exit code is CMD's; 128 + n if signal n ended it. Signals are passed on to CMD, its environment, standard
    input and output are those of this command.
    """
    from_path = parameters.base_path_checked(base_path, base)
    pod = parameters.pod_of(pod_uid, attempt)
    pulling = PullOptions(
        base=base, create=create, base_path=from_path, after=after, lane=lane, attempt=attempt, pod=pod, force=force
    )
    pushing = PushOptions(
        lane=lane or default_lane(),
        attempt=attempt,
        pod=pod,
        message=message,
        annotations=parameters.annotation_pairs(annotations),
        on_conflict=on_conflict,
        compression=compression,
    )
    if push_on_failure is not None:
        check_outside(push_on_failure, directory)
    place = Place(session, target, directory, state)
    outcome = Outcome(_pull(place, pulling))
    outcome.exit_code = run_command(ctx.meta[_COMMAND], directory)
    if outcome.exit_code == command_exit_codes.DONE:
        outcome.pushed = _push(place, pushing)
    else:
        if push_on_failure is not None:
            outcome.kept = _keep(place, pushing, push_on_failure)
        session.say(
            f"agent: CMD ended with {outcome.exit_code}, so that nothing was pushed to {target}; what it left can be "
            f"pushed ({place.push_command}), or discarded (agent exec --force)"
        )
    if session.json:
        session.print_json({**outcome.to_json(), **session.remarks()})
    return outcome.exit_code


class Place(NamedTuple):
    """Where it all happens. Pull and push open it each for itself: CMD may run longer than connections and tokens."""

    session: Session
    target: Reference
    directory: str
    state: str | None

    def open(self, retry: str) -> AbstractContextManager[WorkspaceContext]:
        """Open the site; `retry` as for `Session.site`."""
        return self.session.site(self.target, self.directory, self.state, retry=retry)

    @property
    def push_command(self) -> str:
        """What publishes the directory as it is."""
        return shlex.join(["agent", "push", str(self.target), self.directory])


def _pull(place: Place, wanted: PullOptions) -> PullReport:
    from agent.sync.pull_steps.pull_directory import pull
    from agent.sync.task.step_setup import check_push

    with place.open("run it again") as site:
        check_push(site.store, site.target)
        report = pull(site, wanted)
    if not place.session.json:
        finish_pull(place.session, report, place.session.took)
    return report


def _push(place: Place, wanted: PushOptions) -> PushReport:
    from agent.sync.push_steps.push_directory import push

    began = place.session.took
    with place.open(f"CMD is done; go on with: {place.push_command}") as site:
        report = push(site, wanted)
    if not place.session.json:
        finish_push(place.session, report, place.session.took - began)
    return report


def _keep(place: Place, wanted: PushOptions, refuge: Reference) -> PushReport | None:
    """Push a failed command's tree elsewhere. Whatever that meets, the command's exit code is what counts.

    What is remembered of the directory must go on speaking of the target, so the push works on a copy of it.
    """
    try:
        with place.open("CMD failed and is done") as site:
            home = site.state
        # Beside the state itself: in a container nothing else need be writable.
        with tempfile.TemporaryDirectory(dir=home) as copy:
            for name in os.listdir(home):
                if os.path.isfile(os.path.join(home, name)):
                    shutil.copy2(os.path.join(home, name), copy)
            report = _push(place._replace(target=refuge, state=copy), wanted)
    except (AgentError, OSError) as error:
        failure = describe(error, place_of(["exec"], os.environ))
        warn(f"the failed command's files were not kept: {failure.text()}")
        return None
    place.session.say(f"agent: the failed command's files are at {refuge}")
    return report
