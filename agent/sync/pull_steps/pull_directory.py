"""Make a directory the workspace that a target holds (design, "Pull").

The steps, in order: scan the directory, read the target, set the goal (`pull_goal`), merge, plan, apply the plan, write
the directory's state.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from agent.archive.stream.limits import Limits, excessive
from agent.core.directory.fingerprint_table import Prints
from agent.core.directory.pull_plan import Plan, plan
from agent.core.directory.select import Select, selection
from agent.core.directory.state_as_squash import Rows, StandIn
from agent.core.directory.state_row import Known
from agent.core.spelling.reference import parse_reference
from agent.errors import UsageError, VanishedError
from agent.sync.apply.overwrite_check import begin_to_look, beside_others, check_strangers, rebuilt, trusted
from agent.sync.local.directory_state import Memory
from agent.sync.local.open_directory import open_directory
from agent.sync.operation.options import PullOptions
from agent.sync.operation.report import PullReport, conflict_reports
from agent.sync.operation.workspace_context import Site
from agent.sync.pull_steps.pull_goal import Goal, Pull, goal_of, read_target
from agent.sync.pull_steps.pull_notices import report_of, warn
from agent.sync.remote.missing_target import check_used
from agent.sync.remote.resolved_image import this_platform
from agent.sync.remote.retry_vanished import begin_anew
from agent.sync.remote.target import Target
from agent.sync.remote.target_snapshot import Seen
from agent.sync.scan.scan_directory import Survey
from agent.workspace.state.row_buffer import Spill

if TYPE_CHECKING:
    from agent.sync.contents.layer_contents import Layers


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
        report = begin_anew(target, lambda: _pull(Pull(site, directory, target, options)))
        report.traffic = target.traffic
        return report


def _pull(pull: Pull) -> PullReport:
    """Make the directory what the target holds now.

    Raises:
        VanishedError: something vanished since it was seen; read the target again.
    """
    site, directory, target, options = pull
    memory = directory.memory
    with ExitStack() as early:
        begun = begin_to_look(site, directory, options, early)
        seen = read_target(pull)
        warn(site, target, seen)
        goal = goal_of(pull, seen)
        if options.repair:
            from agent.sync.publish.head import repair

            repair(site, target, seen)
        is_same = goal.is_reached(memory, target.name)
        if not is_same:
            # The target may have taken its time to answer: what may be overwritten is looked at after that.
            early.close()
            begun = None
            directory.keep_rows()
        is_kept = options.keep and memory is None
        known, look = (beside_others(site, directory), None) if is_kept else trusted(site, directory, options, begun)
        if memory and look and is_same:
            return _unchanged(pull, goal, memory, seen, look)
        return _changed(pull, goal, seen, known, look)


def _changed(pull: Pull, goal: Goal, seen: Seen, known: Iterable[Known] | None, look: Survey | None) -> PullReport:
    """Merge what the goal holds, plan the way there from what is on the disk, and go it.

    Args:
        known: what is on the disk; None if it must be compared with the merged tree.
        look: the scan that found the directory to be what is remembered, if one did.
    """
    site, directory, target, options = pull
    memory = directory.memory
    layers = _layers(pull, goal, _stand_in(memory, look))
    merged = layers.merged(goal.union)
    if known is None:
        known = rebuilt(site, directory, merged)
    with Spill(site.state) as rows:
        selected = selection(goal.sparse)
        steps = plan(known, merged, selected, told=layers.told, rows=rows)
        _check_selected(pull, selected)
        _check_amount(target, steps, site.limits)
        if not options.force:
            check_strangers(site, directory, goal.union.ids, goal.sparse, steps)
        report = report_of(target, goal, steps, merged.conflicts)
        prints = _applied(pull, goal, layers, steps)
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
                pod=goal.writer and goal.writer.pod,
                known=prints.over(steps.rows),
            )
        )
        directory.end_pull()
        report.layers_fetched, report.layers_skipped = layers.fetched, layers.skipped
        return report


def _applied(pull: Pull, goal: Goal, layers: Layers, steps: Plan) -> Prints:
    """Apply a plan to the directory, and return the fingerprints of what was written."""
    # What fetches and writes files, which a pull of nothing does not.
    from agent.sync.apply.apply_plan import carry_out, take_back
    from agent.workspace.write.materialise import TreeWriter

    site, directory, target, options = pull
    memory = directory.memory
    keep = options.keep and memory is None
    if not steps.changes_nothing or (memory and not memory.union.ids <= goal.union.ids):
        starts = not goal.union.records
        directory.begin_pull(target.name, goal.union.ids, goal.sparse, starts=starts)
    prints = Prints(len(steps.rows), steps.prints)
    try:
        carry_out(site, layers, steps, TreeWriter(directory.root, keep=keep), prints)
    except VanishedError:
        if keep:
            # A second try could not tell what the first one wrote from what others did.
            take_back(directory.root, prints.over(steps.rows))
            directory.end_pull()
        raise
    return prints


def _unchanged(pull: Pull, goal: Goal, memory: Memory, seen: Seen, look: Survey) -> PullReport:
    """Return the report of a pull into a directory that is what it shall be."""
    directory = pull.directory
    report = report_of(pull.target, goal, Plan())
    if memory.sparse:
        report.unselected = sum(row.print is None for row in memory.known)
    report.paths = directory.rows - report.unselected
    report.layers_skipped = len(goal.union.order)
    # Nothing is merged for a directory that is up to date: what disagrees is what head says of itself.
    if seen.head and seen.is_ours and seen.head_ids == goal.union.ids:
        report.conflicts = conflict_reports(seen.head.image.conflicts.first)
    pod = goal.writer.pod if goal.writer and goal.writer.pod else memory.pod
    if look.is_refreshed or (memory.finished, memory.pod) != (seen.finished, pod) or directory.is_behind:
        # What had to be read to know it need not be the next time; and the state is the newest again.
        later = look.after(memory) if look.is_refreshed else memory
        directory.remember(later.now(finished=seen.finished, pod=pod))
    return report


def _layers(pull: Pull, goal: Goal, stand_in: StandIn | None) -> Layers:
    from agent.sync.contents.layer_contents import Layers  # what merges, which a pull of nothing does not

    site, _, target, options = pull
    base_store = site.open_store(parse_reference(goal.base)) if goal.base else None
    return Layers(
        target.store, goal.union, base_store, whole=options.verify_whole, stand_in=stand_in, limits=site.limits
    )


def _stand_in(memory: Memory | None, look: Survey | None) -> StandIn | None:
    """Return what may stand for layers: a directory that was found to be the whole tree that is remembered."""
    if memory is None or look is None or memory.sparse:
        return None
    return StandIn(memory.union, Rows(memory.known, bool(look.sifted.partners)))


def _check_selected(pull: Pull, selected: Select) -> None:
    """Raise UsageError if a glob that is asked for selects nothing.

    A warning will do where a workspace may be about to begin, and for what the directory was pulled with before.
    """
    options = pull.options
    try:
        check_used(pull.target.name, selected)
    except UsageError as error:
        if options.paths and not (options.create or options.keep):
            raise
        pull.site.progress.notice(f"{error.subject}: {error.what}")


def _check_amount(target: Target, steps: Plan, limits: Limits) -> None:
    """Raise UnsafeArchiveError if the whole is more than each of its layers may be."""
    if len(steps.rows) > limits.entries:
        raise excessive(f"it holds more than {limits.entries} entries", target.name, limit="entries")
    if sum(files.bytes for files in steps.fetch.values()) > limits.expanded:
        raise excessive(f"its files hold more than {limits.expanded} bytes", target.name, limit="bytes")
