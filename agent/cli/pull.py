"""`agent pull`: make a directory the workspace."""

from __future__ import annotations

import click

from agent.cli import options
from agent.cli.context import Session
from agent.cli.example import example
from agent.cli.finish import finish_pull
from agent.core.reference import Reference


@click.command("pull", epilog=example("agent pull --base reg.example.com/alpine:3 reg.example.com/team/ws:main"))
@options.target
@options.directory
@options.base
@options.create
@options.after
@options.writer
@options.paths
@click.option("--at", metavar="ID", help="The workspace as this change left it, for its writer.")
@options.force
@click.option("--repair", is_flag=True, help="Move the target's image forward if it lacks a change.")
@options.verify_whole
@options.platform
@options.state
@options.session(quiet=True, limits=True)
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
    """Make DIR (default: here) the workspace that is kept at TARGET.

    A TARGET that holds nothing is an error, unless --create or --base is given. Only what differs from the last pull is
    fetched. A directory with local changes is left alone, unless --force is
    given.
    """
    from agent.sync.options import PullOptions
    from agent.sync.pull import pull

    wanted = PullOptions(
        base=base,
        create=create,
        base_path=options.base_path_checked(base_path, base),
        after=after,
        lane=lane,
        attempt=attempt,
        pod=options.pod_of(pod_uid, attempt),
        paths=options.globs_as_bytes(globs),
        at=at,
        force=force,
        repair=repair,
        verify_whole=verify_whole,
        platform=options.platform_checked(platform),
    )
    with session.site(target, directory, state) as site:
        report = pull(site, wanted)
    finish_pull(session, report, session.took)
