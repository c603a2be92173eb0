"""Make a directory the workspace that a target holds (design section 6, pull)."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from agent.archive.limits import Limits, excessive
from agent.core.advance import unexamined
from agent.core.ancestry import Writer
from agent.core.conflict import Conflict
from agent.core.entry import TreeEntry
from agent.core.foreign import is_unpublished
from agent.core.known import Known
from agent.core.path import show
from agent.core.plan import Plan, plan
from agent.core.reference import parse_reference
from agent.core.select import selection
from agent.core.stand_in import Rows, StandIn
from agent.core.union import Union, unite
from agent.errors import DivergedError
from agent.sync.directory import Directory, open_directory
from agent.sync.distrust import distrusted
from agent.sync.located import this_platform
from agent.sync.memory import Memory
from agent.sync.options import PullOptions
from agent.sync.report import PullReport, conflict_reports
from agent.sync.site import Site
from agent.sync.survey import Survey, Surveying, is_empty, survey
from agent.sync.target import Seen, Target, resolve
from agent.workspace.spill import Spill

if TYPE_CHECKING:
    from agent.sync.layers import Layers

SHOWN = 5


class Goal(NamedTuple):
    """What the directory shall be.

    Attributes:
        base: the reference that the base's layers can be read from, None where the target has them.
        digest: of head's manifest, None if there is no head.
    """

    union: Union
    base: str | None
    digest: str | None


def pull(site: Site, options: PullOptions) -> PullReport:
    """Make the directory the workspace.

    Raises:
        DivergedError: the directory is not empty and not ours, is another one than was pulled into, or has
            local changes.
        WorkspaceError, AuthError, UnavailableError, IntegrityError, UnsafeArchiveError: see `agent.errors`.
    """
    with open_directory(site, create=True) as directory, ExitStack() as kept:
        target = Target(site.open_store, site.target, this_platform(options.platform), site.sleep, site.limits)
        early = kept.enter_context(ExitStack())
        begun = _begun(site, directory, options, early)
        seen = target.look(options.after)
        _warn_of_foreign(site, target, seen)
        writer = _writer(options, directory.memory, seen)
        goal = _goal(site, target, seen, options, writer)
        if options.repair:
            from agent.sync.head import repair

            repair(site, target, seen)
        memory = directory.memory
        keep = options.keep and memory is None
        is_same = memory is not None and _same(memory, target, goal, options)
        if not is_same:
            # The target may have taken its time to answer: what may be overwritten is looked at after that.
            early.close()
            begun = None
            directory.keep_rows()
        known, look = (_beside_others(site, directory), None) if keep else _trusted(site, directory, options, begun)
        if memory and look and is_same:
            return _unchanged(target, goal, directory, memory, seen, look, writer)
        # What merges, fetches and writes files, none of which a pull of nothing does.
        from agent.sync.carry_out import carry_out
        from agent.workspace.materialise import TreeWriter

        layers = _layers(site, target, goal, options, _stand_in(memory, look))
        merged = layers.merged(goal.union)
        if known is None:
            known = _rebuilt(site, directory, merged)
        rows = kept.enter_context(Spill(site.state))
        steps = plan(known, merged, selection(options.paths), told=layers.told, rows=rows)
        _check_amount(target, steps, site.limits)
        report = _report(target, goal, steps, merged.conflicts)
        if not steps.changes_nothing:
            directory.mark_pulling()
        prints = carry_out(site, layers, steps, TreeWriter(directory.root, keep=keep))
        directory.remember(
            Memory(
                target=target.name,
                root=directory.root.identity,
                clean_before=site.clock() - directory.root.tick(),
                union=goal.union,
                base=goal.base,
                sparse=options.paths,
                finished=seen.finished,
                published=memory and memory.published,
                pod=writer and writer.pod,
                known=prints.over(steps.rows),
            )
        )
        directory.unmark_pulling()
        report.layers_fetched, report.layers_skipped = layers.fetched, layers.skipped
        report.traffic = target.traffic
        return report


def _layers(site: Site, target: Target, goal: Goal, options: PullOptions, stand_in: StandIn | None) -> Layers:
    from agent.sync.layers import Layers

    base_store = site.open_store(parse_reference(goal.base)) if goal.base else None
    return Layers(
        target.store, goal.union, base_store, whole=options.verify_whole, stand_in=stand_in, limits=site.limits
    )


def _stand_in(memory: Memory | None, look: Survey | None) -> StandIn | None:
    """Return what may stand for layers: a directory that was found to be the whole tree that is remembered."""
    if memory is None or look is None or memory.sparse:
        return None
    return StandIn(memory.union, Rows(memory.known, bool(look.sifted.partners)))


def _check_amount(target: Target, steps: Plan, limits: Limits) -> None:
    """Raise UnsafeArchiveError if the whole is more than each of its layers may be."""
    if len(steps.rows) > limits.entries:
        raise excessive(f"it holds more than {limits.entries} entries", target.name, limit="entries")
    if sum(files.bytes for files in steps.fetch.values()) > limits.expanded:
        raise excessive(f"its files hold more than {limits.expanded} bytes", target.name, limit="bytes")


def _same(memory: Memory, target: Target, goal: Goal, options: PullOptions) -> bool:
    """Say whether a directory without local changes is what it shall be already."""
    return (memory.target, memory.union.ids, memory.sparse) == (target.name, goal.union.ids, options.paths)


def _unchanged(
    target: Target,
    goal: Goal,
    directory: Directory,
    memory: Memory,
    seen: Seen,
    look: Survey,
    writer: Writer | None,
) -> PullReport:
    report = _report(target, goal, Plan(), ())
    if memory.sparse:
        report.unselected = sum(row.print is None for row in memory.known)
    report.paths = directory.rows - report.unselected
    report.layers_skipped = len(goal.union.order)
    # Nothing is merged for a directory that is up to date: what disagrees is what head says of itself.
    if seen.head and seen.is_ours and seen.head_ids == goal.union.ids:
        report.conflicts = conflict_reports(seen.head.image.conflicts.first)
    pod = writer.pod if writer and writer.pod else memory.pod
    if look.is_refreshed or (memory.finished, memory.pod) != (seen.finished, pod):
        # What had to be read to know it need not be the next time.
        later = look.after(memory) if look.is_refreshed else memory
        directory.remember(later.now(finished=seen.finished, pod=pod))
    report.traffic = target.traffic
    return report


def _writer(options: PullOptions, memory: Memory | None, seen: Seen) -> Writer | None:
    """Return who pulls. Its pod started after all that is seen, whatever this machine's clock says."""
    writer = options.writer
    if writer is None or writer.pod is None:
        return writer
    began = memory.began_as(writer) if memory else writer
    return began if began is not writer else writer._replace(pod=writer.pod.after(seen.union.newest_stamp))


def _goal(site: Site, target: Target, seen: Seen, options: PullOptions, writer: Writer | None) -> Goal:
    """Return what the directory shall be: what was seen, less what the caller must not see, or the base."""
    union = seen.union
    digest = str(seen.head.digest) if seen.head else None
    if options.at is not None:
        union = target.as_of(union, [resolve(union, options.at, target.name)])
    elif writer is not None:
        union = union.before(writer)
    union = target.complete(union)
    if seen.head and not union.order and union.bases:
        return Goal(union, str(site.target._replace(tag=None, digest=seen.head.digest)), digest)
    if union.ids:
        return Goal(union, None, digest)
    if options.base is None:
        site.progress.notice(f"{target.name}: nothing there yet, the workspace starts empty")
        return Goal(Union(), None, None)
    from agent.sync.base import find_base

    image, place = find_base(site, options.base, options.base_path, this_platform(options.platform))
    return Goal(unite([image]), str(place), None)


def _warn_of_foreign(site: Site, target: Target, seen: Seen) -> None:
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


def _begun(site: Site, directory: Directory, options: PullOptions, early: ExitStack) -> Surveying | None:
    """Have others look at a directory of ours while the target is asked, which mostly has nothing new."""
    memory = directory.memory
    if memory is None or memory.root != directory.root.identity or directory.is_pulling or options.force:
        return None
    return early.enter_context(Surveying(site, directory.root, memory.known, memory.clean_before))


def _trusted(
    site: Site, directory: Directory, options: PullOptions, begun: Surveying | None
) -> tuple[Iterable[Known] | None, Survey | None]:
    """Return what is on the disk as far as it is known; None if it must be compared with the tree itself.

    And the look at it that found it to be what is remembered, if it was.

    Raises:
        DivergedError: a pull would lose something.
    """
    memory = directory.memory
    if is_empty(directory.root):
        return [], None
    if directory.is_pulling or options.force:
        ours = memory is not None and memory.root == directory.root.identity
        return distrusted(site, directory.root, memory if ours else None), None
    if memory is None:
        if directory.damage is not None:
            return None, None
        raise DivergedError(
            "the directory is not empty and was not pulled by this program",
            subject=site.directory,
            remedy="name an empty directory, or give this one up with --force",
        )
    directory.check_identity()
    look = begun.finish() if begun else survey(site, directory.root, memory.known, memory.clean_before)
    if look.entries:
        raise _local_changes(site, [entry.path for entry in look.entries])
    return memory.known, look


def _beside_others(site: Site, directory: Directory) -> list[Known]:
    """Return what is on the disk of what is known, nothing, for a pull that leaves alone what others put there.

    Raises:
        DivergedError: a pull into it was begun before, so that what stands there may be the agent's own.
    """
    if directory.is_pulling or directory.damage is not None:
        raise DivergedError(
            "an earlier pull into this directory did not end well",
            subject=site.directory,
            remedy="run the task again in a new pod, or pull with --force, which deletes what others put there",
        )
    return []


def _rebuilt(site: Site, directory: Directory, tree: Iterable[TreeEntry]) -> list[Known]:
    """Return what to remember of a directory whose state is damaged: the tree itself, if it stands there.

    Raises:
        DivergedError: something else stands there. What of it is newer cannot be told.
    """
    assert directory.damage is not None
    known = list(unexamined(tree))
    look = survey(site, directory.root, known, 0)
    if look.entries:
        raise DivergedError(
            f"{directory.damage.what}, and the directory differs from the target",
            subject=site.directory,
            remedy="copy what you need out of it, then pull with --force",
        )
    prints = {found.path: found.print for _, found in look.sifted.suspects}
    return [row._replace(print=prints[row.path]) for row in known]


def _local_changes(site: Site, paths: list[bytes]) -> DivergedError:
    named = ", ".join(show(path) for path in paths[:SHOWN])
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return DivergedError(
        f"the directory has local changes ({named}{more})",
        subject=site.directory,
        remedy="push them first, or discard them with --force",
    )


def _report(target: Target, goal: Goal, steps: Plan, conflicts: tuple[Conflict, ...]) -> PullReport:
    return PullReport(
        target=target.name,
        digest=goal.digest,
        frontier=list(goal.union.frontier),
        paths=len(steps.rows) - steps.left,
        written=sum(map(len, steps.fetch.values())) + len(steps.make) + len(steps.link),
        removed=len(steps.remove),
        unselected=steps.left,
        bytes=sum(files.bytes for files in steps.fetch.values()),
        conflicts=conflict_reports(conflicts),
    )
