"""The differences between a directory and its state: scan, join with the rows, examine, diff (design, "Push")."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import NamedTuple

from agent.core.directory.scan_diff import ChangeEntries, diff, node_to_record
from agent.core.directory.scan_join import ScanJoin, combine_parts, join_scan
from agent.core.directory.state_after_push import state_after_push
from agent.core.directory.state_row import ScannedPath, StateRow
from agent.core.model.entry import Kind, Node, new_tuple
from agent.core.spelling.path import show
from agent.sync.local.directory_state import DirectoryState
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.workspace.filesystem.root import Root
from agent.workspace.filesystem.system_errors import failed
from agent.workspace.scan.forked_tasks import ForkedTasks, process_count
from agent.workspace.scan.path_reader import examine, hash_content
from agent.workspace.scan.scan_result import ScanResult, dump, load
from agent.workspace.scan.tree_walk import TreeWalk
from agent.workspace.state.row_buffer import JoinedRows, RowBuffer
from agent.workspace.state.row_codec import ROWS
from agent.workspace.state.state_file import Part, State
from agent.workspace.write.attributes import may_chown

PARTS = 4
"""Parts of a directory for each process that scans it, so that all are busy to the end."""
_FILE = Kind.FILE
_NOTHING = (None, None)


class DirectoryDiff(NamedTuple):
    """The result of one scan, compared with the state.

    Attributes:
        scan_join: the state rows, joined with the paths on the disk.
        nodes: the node to record for each suspect and each replaced path (see `diff`).
        entries: what a push would publish; new files have no digest of their content yet.
        size: bytes of the new files.
        clean_before: ns since 1970; a path whose ctime is not before this is racy.
        leftovers: temporary files of a pull that was killed.
        privileged: whether owners are recorded as found.
    """

    scan_join: ScanJoin
    nodes: dict[bytes, Node]
    entries: ChangeEntries
    size: int
    clean_before: int
    leftovers: list[bytes]
    privileged: bool

    @property
    def is_refreshed(self) -> bool:
        """Whether a state from this scan would save work in the next one."""
        return bool(self.scan_join.suspects)

    def after(self, state: DirectoryState, written: Iterable[StateRow] = ()) -> DirectoryState:
        """Return the state after this scan; `written` are the rows of a push's writes, as for `state_after_push`."""
        rows = state_after_push(state.rows, self.scan_join, self.nodes, written)
        return state._replace(clean_before=self.clean_before, rows=rows)


def scan_directory(
    context: WorkspaceContext, root: Root, rows: Iterable[StateRow], clean_before: int, below: bytes = b""
) -> DirectoryDiff:
    """Scan a directory, or what is at or below one path of it, and compare it with the rows of its state.

    Args:
        context: reports the progress.
        root: the directory.
        rows: the rows, in bytes order.
        clean_before: ns since 1970, as in the state.
        below: the path; `b""` for all.

    Raises:
        WorkspaceError: something cannot be read, or has a name that no layer can hold.
        FileChangedError: something changed while it was read.
    """
    with BackgroundScan(context, root, rows, clean_before, below) as begun:
        return begun.finish()


class BackgroundScan:
    """A scan that other processes begin, if there are process_count for them; the end of the context stops it."""

    def __init__(
        self, context: WorkspaceContext, root: Root, rows: Iterable[StateRow], clean_before: int, below: bytes = b""
    ) -> None:
        self._context = context
        self._root = root
        self._began = context.clock()
        self._privileged = may_chown()
        processes = 1 if below else process_count()
        parts = [Part(b"", None, rows)]
        if isinstance(rows, State) and processes > 1:
            parts = rows.parts(processes * PARTS)
        tasks = [
            partial(_scan_part, context, root, part, clean_before, below, privileged=self._privileged) for part in parts
        ]
        self._shared = ForkedTasks(tasks, dump, partial(load, directory=context.state), context.state, processes)

    def __enter__(self) -> BackgroundScan:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._shared.close()

    def finish(self) -> DirectoryDiff:
        """Do the rest of the scan, and return its result; raises as `scan_directory`."""
        context, privileged = self._context, self._privileged
        context.progress.stage("scan")
        scans = self._shared.results()
        scan_join, fresh = combine_parts(scan.scan_join for scan in scans), JoinedRows([scan.fresh for scan in scans])
        for path, why in (warning for scan in scans for warning in scan.warnings):
            context.progress.notice(f"{show(path)}: {why}")
        context.progress.advance(scan_join.total)
        nodes = {row.path: row.node for row in fresh if row.path in scan_join.replaced} if scan_join.replaced else {}
        digests: dict[int, bytes] = {}
        for old, found in scan_join.suspects:
            node = _suspect(self._root, old, found, digests)
            nodes[old.path] = node_to_record(old, found.fingerprint, node, privileged=privileged)
        entries = diff(scan_join, fresh, nodes)
        # If the clock was set back meanwhile, it does not say how old a ctime is.
        clean_before = self._began - self._root.tick() if context.clock() >= self._began else 0
        leftovers = [path for scan in scans for path in scan.leftovers]
        return DirectoryDiff(
            scan_join, nodes, entries, sum(scan.size for scan in scans), clean_before, leftovers, privileged
        )


def _scan_part(
    context: WorkspaceContext, root: Root, part: Part, clean_before: int, below: bytes, *, privileged: bool
) -> ScanResult:
    """Scan one part of a directory; it needs nothing of the other parts."""
    scan_join, fresh, size = ScanJoin(), RowBuffer(context.state, ROWS), 0
    warnings: list[tuple[bytes, str]] = []
    with root.duplicate() as own:
        scan = TreeWalk(own, lambda *warning: warnings.append(warning), below, start=part.start, stop=part.stop)
        for found in join_scan(part.rows, scan, clean_before, scan_join, part.start):
            old, _ = scan_join.replaced.get(found.path, _NOTHING)
            node = node_to_record(old, found.fingerprint, _fresh(own, found), privileged=privileged)
            size += node.size
            fresh.append(new_tuple(StateRow, (found.path, node, None, found.fingerprint, 0)))
    return ScanResult(scan_join, fresh, size, scan.leftovers, warnings)


def _fresh(root: Root, found: ScannedPath) -> Node:
    """Return the node of a new path. A file's gets xattrs and digest when its content is read: it is opened once."""
    _, size, mode, uid, gid, mtime, _ = found.fingerprint
    if not stat.S_ISREG(mode):
        return examine(root, found)
    node: Node = new_tuple(Node, (_FILE, mode & 0o7777, uid, gid, mtime, size, b"", b"", (0, 0), ()))
    return node


def _suspect(root: Root, old: StateRow, found: ScannedPath, digests: dict[int, bytes]) -> Node:
    """Return the node of a path that may have changed; its content is read only if the size is the same."""
    node = examine(root, found)
    if node.kind is not Kind.FILE or node.size != old.node.size:
        return node
    digest = digests.get(found.fingerprint.ino)
    if digest is None:
        digest = hash_content(root, found)
        if found.nlink > 1:
            digests[found.fingerprint.ino] = digest
    # A changed content is read once more when it is packed: the layer's stream must not wait for this digest.
    return node._replace(sha256=digest) if digest == old.node.sha256 else node


def is_empty(root: Root) -> bool:
    """Say whether a directory has no entries at all.

    Raises:
        WorkspaceError: it cannot be read.
    """
    try:
        with os.scandir(root.directory(b"")) as entries:
            return next(entries, None) is None
    except OSError as error:
        raise failed(error, b"", "cannot be read") from error
