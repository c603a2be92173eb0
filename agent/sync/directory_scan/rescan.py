"""The rows of a directory whose state cannot be trusted, or shall be overwritten."""

from __future__ import annotations

from agent.core.directory.state_after_change import UNKNOWN_FINGERPRINT
from agent.core.directory.state_row import Fingerprint, StateRow
from agent.core.merge.path_order import join
from agent.core.model.entry import Kind, Node, kind_of
from agent.core.spelling.path import show
from agent.sync.local.directory_state import DirectoryState
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.workspace.filesystem.root import Root
from agent.workspace.scan.tree_walk import TreeWalk


def rescanned_rows(context: WorkspaceContext, root: Root, state: DirectoryState | None) -> list[StateRow]:
    """Return a row for each path in a directory: the state's row if the path is untouched, else one to be replaced.

    A pull needs these after an interrupted pull, or to discard local changes.

    Raises:
        WorkspaceError: something cannot be read.
    """

    def warn(path: bytes, why: str) -> None:
        context.progress.notice(f"{show(path)}: {why}")

    rows = []
    scan = TreeWalk(root, warn)
    for old, found in join(state.rows if state else (), scan):
        if found is None:
            if old is not None and old.fingerprint is None:
                rows.append(old)
        elif (
            old is not None
            and state
            and old.fingerprint == found.fingerprint
            and found.fingerprint.ctime < state.clean_before
        ):
            rows.append(old)
        else:
            rows.append(_replaceable(found.path, kind_of(found.fingerprint.mode), found.fingerprint))
    rows.extend(_replaceable(path, Kind.FILE, UNKNOWN_FINGERPRINT) for path in scan.leftovers)
    return sorted(rows, key=lambda row: row.path)


def _replaceable(path: bytes, kind: Kind, fingerprint: Fingerprint) -> StateRow:
    # No recorded mode is negative, so that this row equals none of a tree.
    return StateRow(path, Node(kind, -1), None, fingerprint)
