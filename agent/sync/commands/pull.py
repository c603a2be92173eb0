"""Make a directory the workspace that a target holds (design, "Pull")."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from agent.archive.stream.limits import ArchiveLimits, excessive
from agent.core.directory.fingerprint_table import FingerprintTable
from agent.core.directory.pull_plan import PullPlan, plan_pull
from agent.core.directory.select import Select, is_whole, selection
from agent.core.directory.state_as_squash import StateAsSquash, StateSquashEntries
from agent.core.image.change_set import ChangeSet, unite
from agent.core.image.foreign_layers import is_unpublished
from agent.core.merge.conflict import Conflict
from agent.core.model.ancestry import Writer
from agent.core.spelling.path import show
from agent.core.spelling.reference import parse_reference
from agent.errors import UsageError, VanishedError
from agent.remedy import START
from agent.sync.local.directory_state import Memory
from agent.sync.local.open_directory import Directory, open_directory
from agent.sync.local.overwrite_check import begin_to_look, beside_others, check_strangers, rebuilt, trusted
from agent.sync.local.scan_directory import Survey, is_empty
from agent.sync.operation.options import PullOptions
from agent.sync.operation.report import PullReport, conflict_reports
from agent.sync.operation.workspace_context import Site
from agent.sync.remote.located_image import this_platform
from agent.sync.remote.missing_target import check_used, existing, missing, silent_lanes
from agent.sync.remote.retry_vanished import begin_anew
from agent.sync.remote.target import Seen, Target, resolve
from agent.workspace.state.row_buffer import Spill

if TYPE_CHECKING:
    from agent.sync.remote.layers import Layers


class Goal(NamedTuple):
    """What the directory shall be.

    Attributes:
        base: the reference that the base's layers can be read from, None where the target has them.
        digest: of head's manifest, None if there is no head.
        sparse: the globs of a sparse pull; empty for everything.
    """

    union: ChangeSet
    base: str | None
    digest: str | None
    sparse: tuple[bytes, ...] = ()


def pull(site: Site, options: PullOptions) -> PullReport:
    """Make the directory the workspace.

    Raises:
        DivergedError: the directory is not empty and not ours, is another one than was pulled into, or has
            local changes.
        MissingTargetError: the target holds nothing, and no start is asked for, or the directory holds something.
        UsageError: there is no such change, or nothing is selected by what `options` selects.
        WorkspaceError, AuthError, UnavailableError, IntegrityError, UnsafeArchiveError: see `agent.errors`.
    """
    with open_directory(site, create=True) as directory:
        target = Target(site.open_store, site.target, this_platform(options.platform), site.sleep, site.limits)
        report = begin_anew(target, lambda: _pull(site, directory, target, options))
        report.traffic = target.traffic
        return report


def _pull(site: Site, directory: Directory, target: Target, options: PullOptions) -> PullReport:
    """Make the directory what the target holds now.

    Raises:
        VanishedError: something vanished since it was seen; look again.
    """
    with ExitStack() as kept:
        early = kept.enter_context(ExitStack())
        begun = begin_to_look(site, directory, options, early)
        seen = _look(target, directory, options)
        _warn(site, target, seen)
        writer = _writer(options, directory.memory, seen)
        goal = _goal(site, target, seen, options, _sparse(directory, options), writer)
        if options.repair:
            from agent.sync.publish.head import repair

            repair(site, target, seen)
        memory = directory.memory
        keep = options.keep and memory is None
        is_same = memory is not None and _same(memory, target, goal)
        if not is_same:
            # The target may have taken its time to answer: what may be overwritten is looked at after that.
            early.close()
            begun = None
            directory.keep_rows()
        known, look = (beside_others(site, directory), None) if keep else trusted(site, directory, options, begun)
        if memory and look and is_same:
            return _unchanged(target, goal, directory, memory, seen, look, writer)
        # What merges, fetches and writes files, none of which a pull of nothing does.
        from agent.sync.local.apply_plan import carry_out, take_back
        from agent.workspace.write.materialise import TreeWriter

        layers = _layers(site, target, goal, options, _stand_in(memory, look))
        merged = layers.merged(goal.union)
        if known is None:
            known = rebuilt(site, directory, merged)
        rows = kept.enter_context(Spill(site.state))
        selected = selection(goal.sparse)
        steps = plan_pull(known, merged, selected, toc_layers=layers.told, rows=rows)
        _check_selected(site, target, selected, options)
        _check_amount(target, steps, site.limits)
        if not options.force:
            check_strangers(site, directory, goal.union.ids, goal.sparse, steps)
        report = _report(target, goal, steps, merged.conflicts)
        if not steps.changes_nothing or (memory and not memory.union.ids <= goal.union.ids):
            starts = not goal.union.records
            directory.begin_pull(target.name, goal.union.ids, goal.sparse, starts=starts)
        prints = FingerprintTable(len(steps.rows), steps.fingerprints)
        try:
            carry_out(site, layers, steps, TreeWriter(directory.root, keep=keep), prints)
        except VanishedError:
            if keep:
                # A second try could not tell what the first one wrote from what others did.
                take_back(directory.root, prints.applied_to(steps.rows))
                directory.end_pull()
            raise
        directory.remember(
            Memory(
                target=target.name,
                root=directory.root.identity,
                clean_before=site.clock() - directory.root.tick(),
                union=goal.union,
                base=goal.base,
                sparse=goal.sparse,
                finished=seen.finished,
                published=memory and memory.published,
                pod=writer and writer.pod,
                known=prints.applied_to(steps.rows),
            )
        )
        directory.end_pull()
        report.layers_fetched, report.layers_skipped = layers.fetched, layers.skipped
        return report


def _look(target: Target, directory: Directory, options: PullOptions) -> Seen:
    """Look at the target. One that holds nothing starts a workspace if that is asked for, and never ends one.

    Raises:
        MissingTargetError: it holds nothing, and no start is asked for, or the directory holds something.
    """
    if options.at is not None or not (options.create or options.base):
        return existing(target, options.after, START)
    seen = target.look(options.after)
    if seen.holds_nothing and not _may_start(directory, options):
        raise missing(
            target,
            f"push {show(directory.root.path)} to start it with what is there, or name an empty directory",
            ", and the directory is not empty: it is left alone",
        )
    return seen


def _may_start(directory: Directory, options: PullOptions) -> bool:
    """Say whether a directory may become the beginning of a workspace: nobody's work can be lost.

    Not even by force: where nothing can be pulled, what stands there may be the only copy.
    """
    if is_empty(directory.root):
        return True
    begun = directory.interrupted is not None and directory.interrupted.starts
    if directory.memory is None:
        return options.keep or begun
    # An earlier start that nothing was pushed from: what it was made of, the base, is no one's work.
    return not directory.memory.union.records and (begun or directory.interrupted is None)


def _sparse(directory: Directory, options: PullOptions) -> tuple[bytes, ...]:
    """Return the globs to pull: those that are asked for, else those that the directory was pulled with, if any."""
    if options.paths:
        return () if is_whole(options.paths) else options.paths
    if directory.interrupted:
        return directory.interrupted.sparse
    return directory.memory.sparse if directory.memory else ()


def _check_selected(site: Site, target: Target, selected: Select, options: PullOptions) -> None:
    """Raise UsageError if a glob that is asked for selects nothing.

    A warning will do where a workspace may be about to begin, and for what the directory was pulled with before.
    """
    try:
        check_used(target.name, selected)
    except UsageError as error:
        if options.paths and not (options.create or options.keep):
            raise
        site.progress.notice(f"{error.subject}: {error.what}")


def _layers(site: Site, target: Target, goal: Goal, options: PullOptions, stand_in: StateAsSquash | None) -> Layers:
    from agent.sync.remote.layers import Layers

    base_store = site.open_store(parse_reference(goal.base)) if goal.base else None
    return Layers(
        target.store, goal.union, base_store, whole=options.verify_whole, stand_in=stand_in, limits=site.limits
    )


def _stand_in(memory: Memory | None, look: Survey | None) -> StateAsSquash | None:
    """Return what may stand for layers: a directory that was found to be the whole tree that is remembered."""
    if memory is None or look is None or memory.sparse:
        return None
    return StateAsSquash(memory.union, StateSquashEntries(memory.known, bool(look.sifted.group_paths)))


def _check_amount(target: Target, steps: PullPlan, limits: ArchiveLimits) -> None:
    """Raise UnsafeArchiveError if the whole is more than each of its layers may be."""
    if len(steps.rows) > limits.entries:
        raise excessive(f"it holds more than {limits.entries} entries", target.name, limit="entries")
    if sum(files.bytes for files in steps.fetch.values()) > limits.expanded:
        raise excessive(f"its files hold more than {limits.expanded} bytes", target.name, limit="bytes")


def _same(memory: Memory, target: Target, goal: Goal) -> bool:
    """Say whether a directory without local changes is what it shall be already."""
    return (memory.target, memory.union.ids, memory.sparse) == (target.name, goal.union.ids, goal.sparse)


def _unchanged(
    target: Target,
    goal: Goal,
    directory: Directory,
    memory: Memory,
    seen: Seen,
    look: Survey,
    writer: Writer | None,
) -> PullReport:
    report = _report(target, goal, PullPlan(), ())
    if memory.sparse:
        report.unselected = sum(row.fingerprint is None for row in memory.known)
    report.paths = directory.rows - report.unselected
    report.layers_skipped = len(goal.union.order)
    # Nothing is merged for a directory that is up to date: what disagrees is what head says of itself.
    if seen.head and seen.is_ours and seen.head_ids == goal.union.ids:
        report.conflicts = conflict_reports(seen.head.image.conflicts.first)
    pod = writer.pod if writer and writer.pod else memory.pod
    if look.is_refreshed or (memory.finished, memory.pod) != (seen.finished, pod) or directory.is_behind:
        # What had to be read to know it need not be the next time; and the state is the newest again.
        later = look.after(memory) if look.is_refreshed else memory
        directory.remember(later.now(finished=seen.finished, pod=pod))
    return report


def _writer(options: PullOptions, memory: Memory | None, seen: Seen) -> Writer | None:
    """Return who pulls. Its pod started after all that is seen, whatever this machine's clock says."""
    writer = options.writer
    if writer is None or writer.pod is None:
        return writer
    began = memory.began_as(writer) if memory else writer
    return began if began is not writer else writer._replace(pod=writer.pod.after(seen.union.newest_stamp))


def _goal(
    site: Site,
    target: Target,
    seen: Seen,
    options: PullOptions,
    sparse: tuple[bytes, ...],
    writer: Writer | None,
) -> Goal:
    """Return what the directory shall be: what was seen, less what the caller must not see, or the base."""
    union = seen.union
    digest = str(seen.head.digest) if seen.head else None
    if options.at is not None:
        union = target.as_of(union, [resolve(union, options.at, target.name)])
    elif writer is not None:
        union = union.before(writer)
    union = target.complete(union)
    if seen.head and not union.order and union.bases:
        return Goal(union, str(site.target._replace(tag=None, digest=seen.head.digest)), digest, sparse)
    if union.ids:
        return Goal(union, None, digest, sparse)
    if options.base is None:
        site.progress.notice(f"{target.name}: nothing there yet, the workspace starts empty")
        return Goal(ChangeSet(), None, None, sparse)
    from agent.sync.remote.base_image import find_base

    image, place = find_base(site, options.base, options.base_path, this_platform(options.platform))
    return Goal(unite([image]), str(place), None, sparse)


def _warn(site: Site, target: Target, seen: Seen) -> None:
    """Say what a user would not expect of what was seen."""
    for warning in silent_lanes(target, seen):
        site.progress.notice(warning)
    if seen.is_encoded_anew:
        site.progress.notice(
            f"{target.name}: another tool encoded the image's layers anew; the workspace is whole, its history is lost"
        )
    if seen.head is None or seen.is_ours:
        return
    known = seen.known_head
    if known is not None:
        count = sum(map(is_unpublished, unite([known, *seen.others]).changes.values()))
        if count:
            layers = "a layer" if count == 1 else f"{count} layers"
            site.progress.notice(
                f"{target.name}: someone else put {layers} on top; taken as a change, which the next push will publish"
            )
    elif seen.others and str(seen.head.digest) not in seen.union.bases:
        site.progress.notice(
            f"{target.name}@{seen.head.digest}: an image that someone else put there; its layers are left out, "
            "what was pushed to the target is merged without it"
        )


def _report(target: Target, goal: Goal, steps: PullPlan, conflicts: tuple[Conflict, ...]) -> PullReport:
    return PullReport(
        target=target.name,
        digest=goal.digest,
        frontier=list(goal.union.frontier),
        paths=len(steps.rows) - steps.unselected,
        written=sum(map(len, steps.fetch.values())) + len(steps.make) + len(steps.link),
        removed=len(steps.remove),
        unselected=steps.unselected,
        bytes=sum(files.bytes for files in steps.fetch.values()),
        conflicts=conflict_reports(conflicts),
    )
