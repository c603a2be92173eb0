"""Make a directory the workspace that a target holds (design, "Pull").

The steps, in order: scan the directory, read the target, set the goal (`pull_goal`), merge, plan, apply the plan, write
the directory's state.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from agent.archive.stream.limits import ArchiveLimits, excessive
from agent.core.directory.fingerprint_table import FingerprintTable
from agent.core.directory.pull_plan import PullPlan, plan_pull
from agent.core.directory.sparse_globs import Select, selection
from agent.core.directory.state_as_squash import StateAsSquash, StateSquashEntries
from agent.core.directory.state_row import StateRow
from agent.core.spelling.reference import parse_reference
from agent.errors import UsageError, VanishedError
from agent.sync.apply.overwrite_check import (
    check_unknown_files,
    rebuilt_rows,
    rows_beside_others,
    rows_on_disk,
    start_scan,
)
from agent.sync.directory_scan.scan_directory import DirectoryDiff
from agent.sync.local.directory_state import DirectoryState
from agent.sync.local.open_directory import open_directory
from agent.sync.operation.options import PullOptions
from agent.sync.operation.report import PullReport, conflict_reports
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.pull_steps.pull_goal import Pull, PullGoal, find_goal, read_target
from agent.sync.pull_steps.pull_notices import report_of, warn
from agent.sync.remote.missing_target import check_globs
from agent.sync.remote.resolved_image import this_platform
from agent.sync.remote.retry_vanished import retry_vanished
from agent.sync.remote.target import Target
from agent.sync.remote.target_snapshot import TargetSnapshot
from agent.workspace.state.row_buffer import RowBuffer

if TYPE_CHECKING:
    from agent.sync.contents.layer_contents import Layers


def pull(context: WorkspaceContext, options: PullOptions) -> PullReport:
    """Make the directory the workspace.

    Raises:
        DivergedError: the directory is not empty and not ours, is another one than was pulled into, or has
            local changes.
        MissingTargetError: the target holds nothing, and no start is asked for, or the directory holds something.
        UsageError: there is no such change, or nothing is selected by what `options` selects.
        WorkspaceError, AuthError, UnavailableError, IntegrityError, UnsafeArchiveError: see `agent.errors`.
    """
    with open_directory(context, create=True) as directory:
        target = Target(
            context.open_store, context.target, this_platform(options.platform), context.sleep, context.limits
        )
        report = retry_vanished(target, lambda: _pull(Pull(context, directory, target, options)))
        report.traffic = target.traffic
        return report


def _pull(pull: Pull) -> PullReport:
    """Make the directory the workspace as the target has it now.

    Raises:
        VanishedError: something vanished since the snapshot; read the target again.
    """
    context, directory, target, options = pull
    state = directory.state
    with ExitStack() as early:
        scan = start_scan(context, directory, options, early)
        snapshot = read_target(pull)
        warn(context, target, snapshot)
        goal = find_goal(pull, snapshot)
        if options.repair:
            from agent.sync.publish.head import repair

            repair(context, target, snapshot)
        is_same = goal.is_reached(state, target.name)
        if not is_same:
            # The target may have been slow: the scan that protects local changes must be younger than its answers.
            early.close()
            scan = None
            directory.cache_rows()
        on_disk: Iterable[StateRow] | None
        if options.keep and state is None:
            on_disk, diff = rows_beside_others(context, directory), None
        else:
            on_disk, diff = rows_on_disk(context, directory, options, scan)
        if state and diff and is_same:
            return _unchanged(pull, goal, state, snapshot, diff)
        return _changed(pull, goal, snapshot, on_disk, diff)


def _changed(
    pull: Pull, goal: PullGoal, snapshot: TargetSnapshot, on_disk: Iterable[StateRow] | None, diff: DirectoryDiff | None
) -> PullReport:
    """Merge the goal's changes, plan the operations, apply them, and write the state.

    Args:
        on_disk: rows for what is on the disk; None if it must be compared with the merged tree.
        diff: the scan that found the directory to be as its state, if one did.
    """
    context, directory, target, options = pull
    state = directory.state
    layers = _layers(pull, goal, _stand_in(state, diff))
    merged = layers.merged(goal.union)
    if on_disk is None:
        on_disk = rebuilt_rows(context, directory, merged)
    with RowBuffer(context.state) as rows:
        selected = selection(goal.sparse)
        steps = plan_pull(on_disk, merged, selected, toc_layers=layers.with_toc, rows=rows)
        _check_selected(pull, selected)
        _check_amount(target, steps, context.limits)
        if not options.force:
            check_unknown_files(context, directory, goal.union.ids, goal.sparse, steps)
        report = report_of(target, goal, steps, merged.conflicts)
        fingerprints = _applied(pull, goal, layers, steps)
        directory.save(_state_after(pull, goal, snapshot, fingerprints.applied_to(steps.rows)))
        directory.end_pull()
        report.layers_fetched, report.layers_skipped = layers.fetched, layers.skipped
        return report


def _applied(pull: Pull, goal: PullGoal, layers: Layers, steps: PullPlan) -> FingerprintTable:
    """Apply a plan to the directory, and return the fingerprints of what was written."""
    # Fetches and writes files: a pull of nothing need not load it.
    from agent.sync.apply.apply_plan import apply_plan, remove_written
    from agent.workspace.write.tree_writer import TreeWriter

    context, directory, target, options = pull
    state = directory.state
    keep = options.keep and state is None
    if not steps.changes_nothing or (state and not state.union.ids <= goal.union.ids):
        starts = not goal.union.records
        directory.begin_pull(target.name, goal.union.ids, goal.sparse, starts=starts)
    fingerprints = FingerprintTable(len(steps.rows), steps.fingerprints)
    try:
        apply_plan(context, layers, steps, TreeWriter(directory.root, keep=keep), fingerprints)
    except VanishedError:
        if keep:
            # A second try could not tell files of the first try from files of others.
            remove_written(directory.root, fingerprints.applied_to(steps.rows))
            directory.end_pull()
        raise
    return fingerprints


def _state_after(pull: Pull, goal: PullGoal, snapshot: TargetSnapshot, rows: Iterable[StateRow]) -> DirectoryState:
    """Return the state of a directory that has the goal's content."""
    context, directory = pull.context, pull.directory
    return DirectoryState(
        target=pull.target.name,
        root=directory.root.identity,
        clean_before=context.clock() - directory.root.tick(),
        union=goal.union,
        base=goal.base,
        sparse=goal.sparse,
        finished=snapshot.finished,
        published=directory.state and directory.state.published,
        pod=goal.writer and goal.writer.pod,
        rows=rows,
    )


def _unchanged(
    pull: Pull, goal: PullGoal, state: DirectoryState, snapshot: TargetSnapshot, diff: DirectoryDiff
) -> PullReport:
    """Return the report of a pull into a directory that is as the goal, and write what is new into its state."""
    directory = pull.directory
    report = report_of(pull.target, goal, PullPlan())
    if state.sparse:
        report.unselected = sum(row.fingerprint is None for row in state.rows)
    report.paths = directory.row_count - report.unselected
    report.layers_skipped = len(goal.union.order)
    # Nothing is merged if the directory is up to date: head names the conflicts.
    if snapshot.head and snapshot.is_ours and snapshot.head_ids == goal.union.ids:
        report.conflicts = conflict_reports(snapshot.head.image.conflicts.first)
    pod = goal.writer.pod if goal.writer and goal.writer.pod else state.pod
    if diff.is_refreshed or (state.finished, state.pod) != (snapshot.finished, pod) or directory.is_behind:
        # The next scan need not read again what this one read; and the state is the newest.
        later = diff.after(state) if diff.is_refreshed else state
        directory.save(later._replace(finished=snapshot.finished, pod=pod))
    return report


def _layers(pull: Pull, goal: PullGoal, stand_in: StateAsSquash | None) -> Layers:
    from agent.sync.contents.layer_contents import Layers  # merges: a pull of nothing need not load it

    context, _, target, options = pull
    base_store = context.open_store(parse_reference(goal.base)) if goal.base else None
    return Layers(
        target.store, goal.union, base_store, whole=options.verify_whole, stand_in=stand_in, limits=context.limits
    )


def _stand_in(state: DirectoryState | None, diff: DirectoryDiff | None) -> StateAsSquash | None:
    """Return the state in place of layers, if a scan found the whole directory to be as its state."""
    if state is None or diff is None or state.sparse:
        return None
    return StateAsSquash(state.union, StateSquashEntries(state.rows, bool(diff.scan_join.group_paths)))


def _check_selected(pull: Pull, selected: Select) -> None:
    """Raise UsageError if a glob of this pull selects nothing.

    It is a warning if the workspace may begin with this pull, and for globs of an earlier pull.
    """
    options = pull.options
    try:
        check_globs(pull.target.name, selected)
    except UsageError as error:
        if options.paths and not (options.create or options.keep):
            raise
        pull.context.progress.notice(f"{error.subject}: {error.what}")


def _check_amount(target: Target, steps: PullPlan, limits: ArchiveLimits) -> None:
    """Raise UnsafeArchiveError if the whole tree is larger than a layer may be."""
    if len(steps.rows) > limits.entries:
        raise excessive(f"it holds more than {limits.entries} entries", target.name, limit="entries")
    if sum(files.bytes for files in steps.fetch.values()) > limits.expanded:
        raise excessive(f"its files hold more than {limits.expanded} bytes", target.name, limit="bytes")
