"""`agent push`: publish what changed in a directory."""

from __future__ import annotations

import click

from agent.cli.invocation import parameters
from agent.cli.invocation.example import example
from agent.cli.invocation.finish import finish_push
from agent.cli.invocation.wiring import Session, default_lane
from agent.core.spelling.reference import Reference
from agent.sync.operation.options import Compression, OnConflict


@click.command("push", epilog=example('agent push -m "compile" reg.example.com/team/ws:main work'))
@parameters.target
@parameters.directory
@parameters.publishing
@parameters.writer
@click.option("--dry-run", is_flag=True, help="Say what would be published, and publish nothing.")
@click.option("--allow-empty", is_flag=True, help="Publish even though everything in DIR is gone.")
@parameters.state
@parameters.session(quiet=True, limits=True)
def command(
    session: Session,
    target: Reference,
    directory: str,
    message: str,
    on_conflict: OnConflict,
    compression: Compression,
    annotations: tuple[str, ...],
    lane: str | None,
    attempt: int | None,
    pod_uid: str | None,
    dry_run: bool,
    allow_empty: bool,
    state: str | None,
) -> None:
    """Publish what changed in DIR (default: here) as one new layer of TARGET.

    Files that did not change since the last pull or push are neither read nor sent. Where nothing changed, nothing is
    published.
    """
    from agent.sync.operation.options import PushOptions
    from agent.sync.push_steps.push_directory import push

    wanted = PushOptions(
        lane=lane or default_lane(),
        attempt=attempt,
        pod=parameters.pod_of(pod_uid, attempt),
        message=message,
        annotations=parameters.annotation_pairs(annotations),
        on_conflict=on_conflict,
        compression=compression,
        allow_empty=allow_empty,
        dry_run=dry_run,
    )
    with session.site(target, directory, state) as site:
        report = push(site, wanted)
    finish_push(session, report, session.took)
