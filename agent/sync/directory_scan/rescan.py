"""The rows of a directory whose state cannot be trusted, or shall be overwritten."""

from __future__ import annotations

from agent.core.directory.advance import UNKNOWN
from agent.core.directory.scan_join import join, kind_of
from agent.core.directory.state_row import Fingerprint, Known
from agent.core.model.entry import Kind, Node
from agent.core.spelling.path import show
from agent.sync.local.directory_state import DirectoryState
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.workspace.filesystem.root import Root
from agent.workspace.scan.tree_walk import TreeWalk


def rescanned_rows(context: WorkspaceContext, root: Root, state: DirectoryState | None) -> list[Known]:
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
            if old is not None and old.print is None:
                rows.append(old)
        elif old is not None and state and old.print == found.print and found.print.ctime < state.clean_before:
            rows.append(old)
        else:
            rows.append(_replaceable(found.path, kind_of(found.print.mode), found.print))
    rows.extend(_replaceable(path, Kind.FILE, UNKNOWN) for path in scan.leftovers)
    return sorted(rows, key=lambda row: row.path)


def _replaceable(path: bytes, kind: Kind, fingerprint: Fingerprint) -> Known:
    # No recorded mode is negative, so that this row equals none of a tree.
    return Known(path, Node(kind, -1), None, fingerprint)
