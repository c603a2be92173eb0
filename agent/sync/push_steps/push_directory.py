"""Publish what changed in a directory as one new layer (design, "Push").

The steps, in order: `push_start`, `scan.scan_directory`, then, if anything changed, `publish_change`.
"""

from __future__ import annotations

from agent.core.model.entry import Delete, Touch, Write
from agent.errors import DivergedError, FileChangedError, ForgottenError, UsageError
from agent.remedy import ALL_GONE, OLDER_STATE
from agent.sync.local.open_directory import BEHIND, open_directory
from agent.sync.operation.options import PushOptions
from agent.sync.operation.report import PushReport
from agent.sync.operation.workspace_context import Site
from agent.sync.push_steps.push_start import Push, Start, start
from agent.sync.push_steps.vanished_target import begin_again, is_held
from agent.sync.remote.resolved_image import this_platform
from agent.sync.remote.retry_vanished import begin_anew
from agent.sync.remote.target import Target
from agent.sync.scan.scan_directory import Survey, survey

TRIES = 3


def push(site: Site, options: PushOptions) -> PushReport:
    """Publish what changed in the directory since it was pulled or pushed.

    Raises:
        UsageError: the target is a digest.
        DivergedError: the directory is not the one that was pulled, or everything in it is gone.
        ConflictError: another change disagrees and `on_conflict` is `fail`, or head is an image of someone else.
        WorkspaceError, AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    with open_directory(site) as directory:
        target = Target(site.open_store, site.target, this_platform(None), site.sleep, site.limits)
        if target.digest:
            raise UsageError("a digest never changes", subject=target.name, remedy="name a tag to push to")
        run = Push(site, directory, target, options)
        begun = begin_anew(target, lambda: start(run))
        try:
            report = _push_at_rest(run, begun)
        except ForgottenError:
            memory = begin_again(site, directory, target, begun.memory, dry_run=options.dry_run)
            report = _push_at_rest(run, Start(memory))
        report.traffic = target.traffic
        return report


def _push_at_rest(push: Push, begun: Start) -> PushReport:
    """Push, and scan the directory again if a file changed meanwhile.

    Raises:
        ForgottenError: the target no longer holds what the directory was pulled from or pushed to.
    """
    for _ in range(TRIES - 1):
        try:
            return _push(push, begun)
        except FileChangedError as error:
            push.site.progress.notice(f"{error}")
    return _push(push, begun)


def _push(push: Push, begun: Start) -> PushReport:
    """Scan the directory, and publish the differences if there are any."""
    site, directory, target, options = push
    memory = begun.memory
    look = survey(site, directory.root, memory.known, memory.clean_before, options.below)
    report = _report(target, look, options)
    _refuse_emptiness(site, look, options)
    moves = memory.target != target.name
    if look.entries and directory.is_behind and not moves:
        raise DivergedError(
            f"{BEHIND}, and what came with that would be pushed as made here",
            subject=site.directory,
            remedy=OLDER_STATE,
        )
    is_nothing = not look.entries and (begun.done or options.attempt is None) and not moves
    if is_nothing and not begun.done and not is_held(site, target, memory.union, dry_run=options.dry_run):
        raise ForgottenError("it is gone", subject=target.name, remedy="push the directory to a new target")
    if options.dry_run:
        return report
    if is_nothing:
        return _unchanged(push, begun, look, report)
    # Packs, uploads and merges: a push of nothing need not load it.
    from agent.sync.push_steps.publish_change import publish

    publish(push, memory, look, report)
    return report


def _unchanged(push: Push, begun: Start, look: Survey, report: PushReport) -> PushReport:
    """Return the report of a push that publishes nothing: of an earlier one, if this ended that."""
    if look.is_refreshed:
        push.directory.remember(look.after(begun.memory))
    push.directory.forget_intent()
    if begun.done is not None:
        begun.done.paths = report.paths
    return begun.done or report


def _report(target: Target, look: Survey, options: PushOptions) -> PushReport:
    return PushReport(
        target=target.name,
        id=None,
        digest=None,
        dry_run=options.dry_run,
        paths=look.sifted.total,
        written=look.entries.count(Write),
        deleted=look.entries.count(Delete),
        touched=look.entries.count(Touch),
    )


def _refuse_emptiness(site: Site, look: Survey, options: PushOptions) -> None:
    """Raise DivergedError if everything in the directory is gone and nobody expects that."""
    if look.sifted.gone and not look.sifted.total and not options.allow_empty:
        raise DivergedError(
            "everything in the directory is gone",
            subject=site.directory,
            remedy=ALL_GONE,
        )
