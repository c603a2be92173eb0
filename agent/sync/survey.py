"""What differs between a directory and what is remembered of it: scan, sift, examine, diff."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agent.core.diff import Entries, diff, recorded
from agent.core.entry import Kind, Node
from agent.core.known import Found, Known
from agent.core.path import show
from agent.core.remember import remembered
from agent.core.sift import Sifted, sift
from agent.sync.memory import Memory
from agent.sync.site import Site
from agent.workspace.attributes import may_chown
from agent.workspace.examine import examine, hash_content
from agent.workspace.failure import failed
from agent.workspace.root import Root
from agent.workspace.rows import ROWS
from agent.workspace.scan import Scan
from agent.workspace.spill import Spill

_FILE = Kind.FILE
_NOTHING = (None, None)
_new: Any = tuple.__new__  # a named tuple's own constructor costs three times as much


@dataclass(frozen=True, slots=True)
class Survey:
    """What one look at a directory found.

    Attributes:
        nodes: what to record of each suspect and each replaced path (see `diff`).
        entries: what a push would say; new files without their content's digest.
        size: bytes of the fresh files.
        clean_before: what a fingerprint's ctime must be before, to be trusted the next time.
        leftovers: files of a pull that was killed.
        privileged: whether owners are recorded as found.
    """

    sifted: Sifted
    nodes: dict[bytes, Node]
    entries: Entries
    size: int
    clean_before: int
    leftovers: list[bytes]
    privileged: bool

    @property
    def is_refreshed(self) -> bool:
        """Whether remembering this look would save work the next time."""
        return bool(self.sifted.suspects)

    def after(self, memory: Memory, written: Iterable[Known] = ()) -> Memory:
        """Return what to remember now; `written` are the rows of a push's writes, as for `remembered`."""
        known = remembered(memory.known, self.sifted, self.nodes, written)
        return memory.now(clean_before=self.clean_before, known=known)


def survey(site: Site, root: Root, known: Iterable[Known], clean_before: int, below: bytes = b"") -> Survey:
    """Look at a directory, or at nothing but what lies at or below one path of it.

    Raises:
        WorkspaceError: something cannot be read, or has a name that no layer can hold.
        FileChangedError: something changed while it was read.
    """
    privileged = may_chown()
    site.progress.stage("scan")
    began = site.clock()

    def warn(path: bytes, why: str) -> None:
        site.progress.notice(f"{show(path)}: {why}")

    scan = Scan(root, warn, below)
    sifted, nodes, fresh, size = Sifted(), dict[bytes, Node](), Spill(site.state, ROWS), 0
    for found in sift(known, scan, clean_before, sifted):
        old, _ = sifted.replaced.get(found.path, _NOTHING)
        node = recorded(old, found.print, _fresh(root, found), privileged=privileged)
        if old is not None:
            nodes[found.path] = node
        size += node.size
        fresh.append(_new(Known, (found.path, node, None, found.print, 0)))
    site.progress.advance(sifted.total)
    digests: dict[int, bytes] = {}
    for old, found in sifted.suspects:
        nodes[old.path] = recorded(old, found.print, _suspect(root, old, found, digests), privileged=privileged)
    entries = diff(sifted, fresh, nodes)
    # A clock that was set back meanwhile says nothing of how old is what the scan found.
    clean_before = began - root.tick() if site.clock() >= began else 0
    return Survey(sifted, nodes, entries, size, clean_before, scan.leftovers, privileged)


def _fresh(root: Root, found: Found) -> Node:
    """Return a new path's node; a file's is completed when its content is read, so that it is opened only once."""
    _, size, mode, uid, gid, mtime, _ = found.print
    if not stat.S_ISREG(mode):
        return examine(root, found)
    node: Node = _new(Node, (_FILE, mode & 0o7777, uid, gid, mtime, size, b"", b"", (0, 0), ()))
    return node


def _suspect(root: Root, old: Known, found: Found, digests: dict[int, bytes]) -> Node:
    """Return the node of a path that may have changed; its content is read only where size alone does not tell."""
    node = examine(root, found)
    if node.kind is not Kind.FILE or node.size != old.node.size:
        return node
    digest = digests.get(found.print.ino)
    if digest is None:
        digest = hash_content(root, found)
        if found.nlink > 1:
            digests[found.print.ino] = digest
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
