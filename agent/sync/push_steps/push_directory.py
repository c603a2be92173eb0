"""Publish what changed in a directory as one new layer (design, "Push").

The steps, in order: `push_start`, `directory_scan.scan_directory`, then, if anything changed, `publish_change`.
"""

from __future__ import annotations

from agent.core.model.entry import Delete, Touch, Write
from agent.errors import DivergedError, FileChangedError, ForgottenError, UsageError
from agent.remedy import ALL_GONE, OLDER_STATE
from agent.sync.directory_scan.scan_directory import DirectoryDiff, scan_directory
from agent.sync.local.open_directory import BEHIND, open_directory
from agent.sync.operation.options import PushOptions
from agent.sync.operation.report import PushReport
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.push_steps.push_start import Push, Start, start
from agent.sync.push_steps.vanished_target import start_over, target_has
from agent.sync.remote.resolved_image import this_platform
from agent.sync.remote.retry_vanished import retry_vanished
from agent.sync.remote.target import Target

TRIES = 3


def push(context: WorkspaceContext, options: PushOptions) -> PushReport:
    """Publish what changed in the directory since it was pulled or pushed.

    Raises:
        UsageError: the target is a digest.
        DivergedError: the directory is not the one that was pulled, or everything in it is gone.
        ConflictError: another change disagrees and `on_conflict` is `fail`, or head is an image of someone else.
        WorkspaceError, AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    with open_directory(context) as directory:
        target = Target(context.open_store, context.target, this_platform(None), context.sleep, context.limits)
        if target.digest:
            raise UsageError("a digest never changes", subject=target.name, remedy="name a tag to push to")
        run = Push(context, directory, target, options)
        started = retry_vanished(target, lambda: start(run))
        try:
            report = _push_unchanging(run, started)
        except ForgottenError:
            state = start_over(context, directory, target, started.state, dry_run=options.dry_run)
            report = _push_unchanging(run, Start(state))
        report.traffic = target.traffic
        return report


def _push_unchanging(push: Push, started: Start) -> PushReport:
    """Push, and scan the directory again if a file changed meanwhile.

    Raises:
        ForgottenError: the target no longer holds what the directory was pulled from or pushed to.
    """
    for _ in range(TRIES - 1):
        try:
            return _push(push, started)
        except FileChangedError as error:
            push.context.progress.notice(f"{error}")
    return _push(push, started)


def _push(push: Push, started: Start) -> PushReport:
    """Scan the directory, and publish the differences if there are any."""
    context, directory, target, options = push
    state = started.state
    diff = scan_directory(context, directory.root, state.rows, state.clean_before, options.below)
    report = _report(target, diff, options)
    _refuse_emptiness(context, diff, options)
    moves = state.target != target.name
    if diff.entries and directory.is_behind and not moves:
        raise DivergedError(
            f"{BEHIND}, and what came with that would be pushed as made here",
            subject=context.directory,
            remedy=OLDER_STATE,
        )
    is_nothing = not diff.entries and (started.done or options.attempt is None) and not moves
    if is_nothing and not started.done and not target_has(context, target, state.union, dry_run=options.dry_run):
        raise ForgottenError("it is gone", subject=target.name, remedy="push the directory to a new target")
    if options.dry_run:
        return report
    if is_nothing:
        return _unchanged(push, started, diff, report)
    # Packs, uploads and merges: a push of nothing need not load it.
    from agent.sync.push_steps.publish_change import publish

    publish(push, state, diff, report)
    return report


def _unchanged(push: Push, started: Start, diff: DirectoryDiff, report: PushReport) -> PushReport:
    """Return the report of a push that publishes nothing, or of an earlier push that it ended."""
    if diff.is_refreshed:
        push.directory.save(diff.after(started.state))
    push.directory.forget_intent()
    if started.done is not None:
        started.done.paths = report.paths
    return started.done or report


def _report(target: Target, diff: DirectoryDiff, options: PushOptions) -> PushReport:
    return PushReport(
        target=target.name,
        id=None,
        digest=None,
        dry_run=options.dry_run,
        paths=diff.scan_join.total,
        written=diff.entries.count(Write),
        deleted=diff.entries.count(Delete),
        touched=diff.entries.count(Touch),
    )


def _refuse_emptiness(context: WorkspaceContext, diff: DirectoryDiff, options: PushOptions) -> None:
    """Raise DivergedError if everything in the directory is gone, unless `allow_empty` is set."""
    if diff.scan_join.gone and not diff.scan_join.total and not options.allow_empty:
        raise DivergedError(
            "everything in the directory is gone",
            subject=context.directory,
            remedy=ALL_GONE,
        )
