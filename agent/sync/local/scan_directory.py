"""What differs between a directory and what is remembered of it: scan, sift, examine, diff."""

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
from agent.sync.local.directory_state import Memory
from agent.sync.operation.workspace_context import Site
from agent.workspace.filesystem.root import Root
from agent.workspace.filesystem.system_errors import failed
from agent.workspace.scan.examine import examine, hash_content
from agent.workspace.scan.forked_work import Shared, processors
from agent.workspace.scan.scan import Scan
from agent.workspace.scan.scan_result import Look, dump, load
from agent.workspace.state.row_buffer import Joined, Spill
from agent.workspace.state.rows import ROWS
from agent.workspace.state.state import Part, State
from agent.workspace.write.attributes import may_chown

PARTS = 4
"""Parts of a directory for each process that looks at it, so that all are busy to the end."""
_FILE = Kind.FILE
_NOTHING = (None, None)


class Survey(NamedTuple):
    """What one look at a directory found.

    Attributes:
        nodes: what to record of each suspect and each replaced path (see `diff`).
        entries: what a push would say; new files without their content's digest.
        size: bytes of the fresh files.
        clean_before: what a fingerprint's ctime must be before, to be trusted the next time.
        leftovers: files of a pull that was killed.
        privileged: whether owners are recorded as found.
    """

    sifted: ScanJoin
    nodes: dict[bytes, Node]
    entries: ChangeEntries
    size: int
    clean_before: int
    leftovers: list[bytes]
    privileged: bool

    @property
    def is_refreshed(self) -> bool:
        """Whether remembering this look would save work the next time."""
        return bool(self.sifted.suspects)

    def after(self, memory: Memory, written: Iterable[StateRow] = ()) -> Memory:
        """Return what to remember now; `written` are the rows of a push's writes, as for `state_after_push`."""
        known = state_after_push(memory.known, self.sifted, self.nodes, written)
        return memory.now(clean_before=self.clean_before, known=known)


def survey(site: Site, root: Root, known: Iterable[StateRow], clean_before: int, below: bytes = b"") -> Survey:
    """Look at a directory, or at nothing but what lies at or below one path of it.

    Raises:
        WorkspaceError: something cannot be read, or has a name that no layer can hold.
        FileChangedError: something changed while it was read.
    """
    with Surveying(site, root, known, clean_before, below) as begun:
        return begun.finish()


class Surveying:
    """A survey that other processes have begun, if there are processors for them; leaving the context gives it up."""

    def __init__(
        self, site: Site, root: Root, known: Iterable[StateRow], clean_before: int, below: bytes = b""
    ) -> None:
        self._site = site
        self._root = root
        self._began = site.clock()
        self._privileged = may_chown()
        processes = 1 if below else processors()
        parts = [Part(b"", None, known)]
        if isinstance(known, State) and processes > 1:
            parts = known.parts(processes * PARTS)
        tasks = [partial(_look, site, root, part, clean_before, below, privileged=self._privileged) for part in parts]
        self._shared = Shared(tasks, dump, partial(load, directory=site.state), site.state, processes)

    def __enter__(self) -> Surveying:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._shared.close()

    def finish(self) -> Survey:
        """Help with what is left, and say what was found; raises as `survey`."""
        site, privileged = self._site, self._privileged
        site.progress.stage("scan")
        looks = self._shared.results()
        sifted, fresh = combine_parts(look.sifted for look in looks), Joined([look.fresh for look in looks])
        for path, why in (warning for look in looks for warning in look.warnings):
            site.progress.notice(f"{show(path)}: {why}")
        site.progress.advance(sifted.total)
        nodes = {row.path: row.node for row in fresh if row.path in sifted.replaced} if sifted.replaced else {}
        digests: dict[int, bytes] = {}
        for old, found in sifted.suspects:
            seen = _suspect(self._root, old, found, digests)
            nodes[old.path] = node_to_record(old, found.fingerprint, seen, privileged=privileged)
        entries = diff(sifted, fresh, nodes)
        # A clock that was set back meanwhile says nothing of how old is what the scan found.
        clean_before = self._began - self._root.tick() if site.clock() >= self._began else 0
        leftovers = [path for look in looks for path in look.leftovers]
        return Survey(sifted, nodes, entries, sum(look.size for look in looks), clean_before, leftovers, privileged)


def _look(site: Site, root: Root, part: Part, clean_before: int, below: bytes, *, privileged: bool) -> Look:
    """Look at a part of a directory, as all that is to be known of the other parts was known before."""
    sifted, fresh, size = ScanJoin(), Spill(site.state, ROWS), 0
    warnings: list[tuple[bytes, str]] = []
    with root.duplicate() as own:
        scan = Scan(own, lambda *warning: warnings.append(warning), below, start=part.start, stop=part.stop)
        for found in join_scan(part.rows, scan, clean_before, sifted, part.start):
            old, _ = sifted.replaced.get(found.path, _NOTHING)
            node = node_to_record(old, found.fingerprint, _fresh(own, found), privileged=privileged)
            size += node.size
            fresh.append(new_tuple(StateRow, (found.path, node, None, found.fingerprint, 0)))
    return Look(sifted, fresh, size, scan.leftovers, warnings)


def _fresh(root: Root, found: ScannedPath) -> Node:
    """Return a new path's node; a file's is completed when its content is read, so that it is opened only once."""
    _, size, mode, uid, gid, mtime, _ = found.fingerprint
    if not stat.S_ISREG(mode):
        return examine(root, found)
    node: Node = new_tuple(Node, (_FILE, mode & 0o7777, uid, gid, mtime, size, b"", b"", (0, 0), ()))
    return node


def _suspect(root: Root, old: StateRow, found: ScannedPath, digests: dict[int, bytes]) -> Node:
    """Return the node of a path that may have changed; its content is read only where size alone does not tell."""
    node = examine(root, found)
    if node.kind is not Kind.FILE or node.size != old.node.size:
        return node
    digest = digests.get(found.fingerprint.ino)
    if digest is None:
        digest = hash_content(root, found)
        if found.nlink > 1:
            digests[found.fingerprint.ino] = digest
    # Other content is read once more when it is packed: the layer's stream must not wait for a decision.
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
