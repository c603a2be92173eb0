"""What differs between a directory and what is remembered of it: scan, sift, examine, diff."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from agent.core.diff import Sifted, diff, kind_of, recorded, sift
from agent.core.entry import Kind, Node, TocEntry
from agent.core.known import Found, Known
from agent.core.path import show
from agent.sync.site import Site
from agent.workspace.attributes import may_chown
from agent.workspace.examine import examine, hash_content
from agent.workspace.failure import failed
from agent.workspace.root import Root
from agent.workspace.scan import Scan


@dataclass(frozen=True, slots=True)
class Survey:
    """What one look at a directory found.

    Attributes:
        nodes: what to record of each suspect path (see `remembered`).
        entries: what a push would say, in toc order; new files without their content's digest.
        clean_before: what a fingerprint's ctime must be before, to be trusted the next time.
        leftovers: files of a pull that was killed.
        privileged: whether owners are recorded as found.
    """

    sifted: Sifted
    nodes: dict[bytes, Node]
    entries: list[TocEntry]
    clean_before: int
    leftovers: list[bytes]
    privileged: bool

    @property
    def is_refreshed(self) -> bool:
        """Whether remembering this look would save work the next time."""
        return bool(self.sifted.suspects)


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
    sifted = sift(known, scan, clean_before)
    site.progress.advance(sifted.total)
    nodes: dict[bytes, Node] = {}
    digests: dict[int, bytes] = {}
    for found in sifted.fresh:
        old, _ = sifted.replaced.get(found.path, (None, None))
        nodes[found.path] = recorded(old, found.print, _fresh(root, found), privileged=privileged)
    for old, found in sifted.suspects:
        nodes[old.path] = recorded(old, found.print, _suspect(root, old, found, digests), privileged=privileged)
    entries = diff(sifted, nodes)
    # What is fresh stands in the entries now; a first push has a hundred thousand of these.
    nodes = {old.path: nodes[old.path] for old, _ in sifted.suspects}
    return Survey(sifted, nodes, entries, began - root.tick(), scan.leftovers, privileged)


def _fresh(root: Root, found: Found) -> Node:
    """Return a new path's node; a file's is completed when its content is read, so that it is opened only once."""
    if kind_of(found.print.mode) is not Kind.FILE:
        return examine(root, found)
    now = found.print
    return Node(Kind.FILE, now.mode & 0o7777, now.uid, now.gid, now.mtime, now.size)


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
