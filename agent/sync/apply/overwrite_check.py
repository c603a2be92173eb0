"""The rows that a pull may take for what is on the disk, and the errors if it would overwrite other work."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack

from agent.core.directory.pull_plan import PullPlan
from agent.core.directory.state_after_change import rows_without_fingerprints
from agent.core.directory.state_row import StateRow
from agent.core.model.entry import TreeEntry
from agent.core.spelling.path import WHITEOUT, show
from agent.errors import DivergedError
from agent.remedy import DAMAGED_STATE, IN_THE_WAY, LOCAL_CHANGES, OCCUPIED, OLDER_STATE_CHANGED, WRITTEN_BY_OTHERS
from agent.sync.directory_scan.rescan import rescanned_rows
from agent.sync.directory_scan.scan_directory import BackgroundScan, DirectoryDiff, is_empty, scan_directory
from agent.sync.local.interrupted_pull import digest_of_changes
from agent.sync.local.open_directory import BEHIND, OTHER, Directory
from agent.sync.operation.options import PullOptions
from agent.sync.operation.workspace_context import WorkspaceContext

SHOWN = 5


def start_scan(
    context: WorkspaceContext, directory: Directory, options: PullOptions, early: ExitStack
) -> BackgroundScan | None:
    """Scan a directory in the background while the target is read, because mostly nothing is new there.

    Returns:
        the scan, which ends with `early`; None if the directory has no state that a scan could be joined with.
    """
    state = directory.state
    if state is None or directory.is_between_states or options.force:
        return None
    return early.enter_context(BackgroundScan(context, directory.root, state.rows, state.clean_before))


def rows_on_disk(
    context: WorkspaceContext, directory: Directory, options: PullOptions, begun: BackgroundScan | None
) -> tuple[Iterable[StateRow] | None, DirectoryDiff | None]:
    """Return the rows for what is on the disk, and the scan that found the directory to be as its state, if one did.

    Returns:
        the rows, None if the directory must be compared with the merged tree itself; and the scan.

    Raises:
        DivergedError: a pull would overwrite local changes, or files of others.
    """
    state = directory.state
    if is_empty(directory.root):
        return [], None
    if directory.is_between_states or options.force:
        if directory.interrupted:
            context.progress.notice(
                f"{context.directory}: {directory.interrupted.what}; this one replaces what it left"
            )
        return rescanned_rows(context, directory.root, state), None
    if state is None:
        if directory.damage is not None:
            return None, None
        raise DivergedError(
            OTHER if directory.other else "the directory is not empty and was not pulled by this program",
            subject=context.directory,
            remedy=OCCUPIED,
        )
    diff = begun.finish() if begun else scan_directory(context, directory.root, state.rows, state.clean_before)
    if diff.entries:
        raise _local_changes(context, directory, [entry.path for entry in diff.entries])
    return state.rows, diff


def check_unknown_files(
    context: WorkspaceContext, directory: Directory, ids: Iterable[str], sparse: tuple[bytes, ...], steps: PullPlan
) -> None:
    """Check that a pull after an interrupted one removes no file that another put there meanwhile.

    If both pulls have the same goal, a path that is neither in that tree nor in the state was put there by another.

    Args:
        ids: the changes that the directory shall hold.
        sparse: the globs of a sparse pull.
        steps: the plan.

    Raises:
        DivergedError: it would remove such a file.
    """
    interrupted, state = directory.interrupted, directory.state
    if interrupted is None or (interrupted.goal, interrupted.sparse) != (digest_of_changes(ids), sparse):
        return
    gone = {path for path, _ in steps.remove if not path.rpartition(b"/")[2].startswith(WHITEOUT)}
    gone -= {row.path for row in (state.rows if state else ()) if row.path in gone}
    if gone:
        raise DivergedError(
            f"{interrupted.what}, and since then the directory got files that the workspace does not have "
            f"({_named(sorted(gone))})",
            subject=context.directory,
            remedy=IN_THE_WAY,
        )


def rows_beside_others(context: WorkspaceContext, directory: Directory) -> list[StateRow]:
    """Return no rows: a pull that keeps existing files ignores what is on the disk.

    Raises:
        DivergedError: a pull into the directory began before, so that the files may be that pull's.
    """
    if directory.interrupted or directory.damage is not None:
        what = directory.interrupted.what if directory.interrupted else "an earlier pull into it did not end well"
        raise DivergedError(
            what,
            subject=context.directory,
            remedy=WRITTEN_BY_OTHERS,
        )
    return []


def rebuilt_rows(context: WorkspaceContext, directory: Directory, tree: Iterable[TreeEntry]) -> list[StateRow]:
    """Return the rows of a directory whose state is damaged: those of the merged tree, if the directory equals it.

    Raises:
        DivergedError: the directory differs; nobody can say which side is newer.
    """
    assert directory.damage is not None
    rows = list(rows_without_fingerprints(tree))
    diff = scan_directory(context, directory.root, rows, 0)
    if diff.entries:
        raise DivergedError(
            f"{directory.damage.what}, and the directory differs from the target",
            subject=context.directory,
            remedy=DAMAGED_STATE,
        )
    fingerprints = {found.path: found.fingerprint for _, found in diff.scan_join.suspects}
    return [row._replace(fingerprint=fingerprints[row.path]) for row in rows]


def _local_changes(context: WorkspaceContext, directory: Directory, paths: list[bytes]) -> DivergedError:
    what = f"the directory has local changes ({_named(paths)})"
    if directory.is_behind:
        return DivergedError(f"{what}, and {BEHIND}", subject=context.directory, remedy=OLDER_STATE_CHANGED)
    return DivergedError(what, subject=context.directory, remedy=LOCAL_CHANGES)


def _named(paths: list[bytes]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(show(path) for path in paths[:SHOWN]) + more
