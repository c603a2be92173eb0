"""Publish what changed in a directory as one new layer (design, "Push")."""

from __future__ import annotations

from agent.core.image.change_set import ChangeSet
from agent.core.model.ancestry import Writer
from agent.core.model.entry import Delete, Touch, Write
from agent.errors import DivergedError, FileChangedError, ForgottenError, UsageError
from agent.remedy import ALL_GONE, OLDER_STATE
from agent.sync.local.directory_state import Memory
from agent.sync.local.open_directory import Directory, open_directory
from agent.sync.local.overwrite_check import BEHIND, OTHER
from agent.sync.local.scan_directory import Survey, survey
from agent.sync.operation.options import PushOptions
from agent.sync.operation.report import PushReport
from agent.sync.operation.workspace_context import Site
from agent.sync.publish.vanished_target import begin_again, is_held
from agent.sync.remote.located_image import this_platform
from agent.sync.remote.retry_vanished import begin_anew
from agent.sync.remote.target import Target

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
        memory, done = begin_anew(target, lambda: _start(site, directory, target, options))
        try:
            report = _push_at_rest(site, directory, target, memory, options, done)
        except ForgottenError:
            memory = begin_again(site, directory, target, memory, dry_run=options.dry_run)
            report = _push_at_rest(site, directory, target, memory, options, None)
        report.traffic = target.traffic
        return report


def _start(site: Site, directory: Directory, target: Target, options: PushOptions) -> tuple[Memory, PushReport | None]:
    """Return what is remembered of the directory, and what an earlier push of it, which was killed, has done by now.

    Nothing is remembered of a directory that starts a new target.

    Raises:
        DivergedError: the target holds a workspace that this directory was never pulled from.
    """
    if directory.interrupted:
        raise directory.interrupted.error(site.directory)
    published = directory.published(target)
    if published is not None:
        adopted = directory.adopted(target, *published)
        if options.dry_run:
            return adopted, None
        directory.remember(adopted)
        assert directory.memory is not None
        from agent.sync.publish.publish_change import finish

        done, record = finish(site, directory, target, *published, options), published[0]
        mine = options.attempt is None or _is_by(record.writer, options.writer)
        return directory.memory, done if mine else None
    memory = directory.memory
    if directory.other and options.pulled:
        raise DivergedError(OTHER, subject=site.directory, remedy="mount the one that was pulled into")
    if memory is None and options.fresh and directory.damage is None:
        return Memory(target.name, directory.root.identity, 0, ChangeSet()), None
    if memory is None or memory.target != target.name:
        _refuse_stranger(site, directory, target)
    return memory or Memory(target.name, directory.root.identity, 0, ChangeSet()), None


def _is_by(writer: Writer, other: Writer) -> bool:
    """Say whether two writers are one, but for when its pod started."""
    uids = [each.pod and each.pod.uid for each in (writer, other)]
    return writer[:2] == other[:2] and uids[0] == uids[1]


def _refuse_stranger(site: Site, directory: Directory, target: Target) -> None:
    seen = target.look()
    if not (seen.head or seen.entries):
        return
    if directory.damage is not None:
        raise DivergedError(
            f"{directory.damage.what}, so that it cannot be told what changed",
            subject=site.directory,
            remedy="pull, which rebuilds it if the directory is as the target; else copy what you need out of it",
        )
    why = f"is {OTHER}" if directory.other else "was not pulled from it"
    raise DivergedError(
        f"the target already holds a workspace, and {site.directory} {why}",
        subject=target.name,
        remedy="pull it into an empty directory, or push to another tag",
    )


def _push_at_rest(
    site: Site, directory: Directory, target: Target, memory: Memory, options: PushOptions, done: PushReport | None
) -> PushReport:
    """Push, and look at the directory again where a file changed meanwhile.

    Raises:
        ForgottenError: the target no longer holds what the directory was pulled from or pushed to.
    """
    for _ in range(TRIES - 1):
        try:
            return _push(site, directory, target, memory, options, done)
        except FileChangedError as error:
            site.progress.notice(f"{error}")
    return _push(site, directory, target, memory, options, done)


def _push(
    site: Site, directory: Directory, target: Target, memory: Memory, options: PushOptions, done: PushReport | None
) -> PushReport:
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
    is_nothing = not look.entries and (done or options.attempt is None) and not moves
    if is_nothing and not done and not is_held(site, target, memory.union, dry_run=options.dry_run):
        raise ForgottenError("it is gone", subject=target.name, remedy="push the directory to a new target")
    if options.dry_run:
        return report
    if is_nothing:
        if look.is_refreshed:
            directory.remember(look.after(memory))
        directory.forget_intent()
        if done is not None:
            done.paths = report.paths
        return done or report
    from agent.sync.publish.publish_change import (
        publish,  # what packs, uploads and merges: a push of nothing needs none of it
    )

    publish(site, directory, target, memory, options, look, report)
    return report


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
    if look.sifted.gone and not look.sifted.total and not options.allow_empty:
        raise DivergedError(
            "everything in the directory is gone",
            subject=site.directory,
            remedy=ALL_GONE,
        )
