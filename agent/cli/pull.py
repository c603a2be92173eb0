"""`agent pull`: make a directory equal to the workspace."""

from __future__ import annotations

import click

from agent.cli.invocation import parameters
from agent.cli.invocation.help_example import example
from agent.cli.invocation.print_report import print_pull
from agent.cli.invocation.session import Session
from agent.core.spelling.reference import Reference


@click.command("pull", epilog=example("agent pull --base reg.example.com/alpine:3 reg.example.com/team/ws:main"))
@parameters.target
@parameters.directory
@parameters.base
@parameters.create
@parameters.after
@parameters.writer
@parameters.paths
@click.option("--at", metavar="ID", help="The workspace as this change left it, for its writer.")
@parameters.force
@click.option("--repair", is_flag=True, help="Move the target's image forward if it lacks a change.")
@parameters.verify_whole
@parameters.platform
@parameters.state
@parameters.session(quiet=True, limits=True)
def command(
    session: Session,
    target: Reference,
    directory: str,
    base: Reference | None,
    base_path: str | None,
    create: bool,
    after: tuple[str, ...],
    lane: str | None,
    attempt: int | None,
    pod_uid: str | None,
    globs: tuple[str, ...],
    at: str | None,
    force: bool,
    repair: bool,
    verify_whole: bool,
    platform: str | None,
    state: str | None,
) -> None:
    """Make DIR (default: here) equal to the workspace at TARGET.

    A TARGET that holds nothing is an error, unless --create or --base is given. Only the
    difference to the last pull is fetched. A directory with local changes is left alone, unless --force is given.
    """
    from agent.sync.operation.options import PullOptions
    from agent.sync.pull_steps.pull_directory import pull

    options = PullOptions(
        base=base,
        create=create,
        base_path=parameters.base_path_checked(base_path, base),
        after=after,
        lane=lane,
        attempt=attempt,
        pod=parameters.pod_of(pod_uid, attempt),
        paths=parameters.globs_as_bytes(globs),
        at=at,
        force=force,
        repair=repair,
        verify_whole=verify_whole,
        platform=parameters.platform_checked(platform),
    )
    with session.context(target, directory, state) as context:
        report = pull(context, options)
    print_pull(session, report, session.took)
