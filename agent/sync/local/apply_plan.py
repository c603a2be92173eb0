"""Take the steps of a plan: contents come from layers and go to the disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from agent.core.directory.fetch_list import FetchList
from agent.core.directory.fingerprint_table import FingerprintTable
from agent.core.directory.pull_plan import PullPlan
from agent.core.directory.state_row import PREEXISTING_FINGERPRINT, Fingerprint, StateRow
from agent.core.model.entry import Kind, Node, TreeEntry
from agent.core.spelling.path import parent, show
from agent.sync.operation.workspace_context import Site
from agent.sync.remote.layers import Layers
from agent.workspace.filesystem.root import Root
from agent.workspace.write.materialise import TreeWriter


def carry_out(site: Site, layers: Layers, steps: PullPlan, writer: TreeWriter, prints: FingerprintTable) -> None:
    """Take the steps of a plan and put the fingerprints of everything that is touched into `prints`.

    Raises:
        WorkspaceError, UnsafeArchiveError, DivergedError: as `TreeWriter`.
        IntegrityError, AuthError, UnavailableError: a content cannot be had.
    """
    work = _Work(site, layers, writer, prints)
    for path, kind in steps.remove:
        writer.remove(path, kind)
    for entry in steps.directories:
        writer.make_dir(entry.path, entry.node)
    site.progress.stage("fetch", sum(files.bytes for files in steps.fetch.values()), "bytes")
    work.fetch(steps.fetch)
    for entry in steps.make:
        work.make(entry)
    work.link(steps.link)
    work.dress(steps)
    work.finish()


def take_back(root: Root, rows: Iterable[StateRow]) -> None:
    """Remove what steps of a plan have made, where it stands as it was made. Directories stay.

    Args:
        rows: what was made, with its fingerprints, beside rows without any.

    Raises:
        WorkspaceError: the system refused.
    """
    writer = TreeWriter(root)
    for row in rows:
        found = root.lstat(row.path) if row.fingerprint is not None and row.node.kind is not Kind.DIR else None
        if (
            found is not None
            and row.fingerprint is not None
            and _content_of(found.fingerprint) == _content_of(row.fingerprint)
        ):
            writer.remove(row.path, row.node.kind)


def _content_of(stands: Fingerprint) -> tuple[int, int, int]:
    return stands.ino, stands.size, stands.mtime


class _Work:
    """What was done so far; the fingerprints of what was touched go into `prints`."""

    def __init__(self, site: Site, layers: Layers, writer: TreeWriter, prints: FingerprintTable) -> None:
        self.prints = prints
        self._site = site
        self._layers = layers
        self._writer = writer
        self._linked: dict[bytes, Node] = {}
        self._kept: set[bytes] = set()

    def fetch(self, wanted: Mapping[str, FetchList]) -> None:
        """Write files, by the layer that has their contents."""
        put, write, advance = self.prints.put, self._writer.write_file, self._site.progress.advance
        for row, path, node, chunks in self._layers.fetch(wanted):
            # Whoever reads a layer checks its contents; hashing them a second time would cost as much as writing.
            stands = write(path, node, chunks, verified=True)
            put(row, stands)
            if stands is PREEXISTING_FINGERPRINT:
                self._kept.add(path)
            advance(node.size)

    def make(self, entry: TreeEntry) -> None:
        """Make a link, a FIFO or a device."""
        writer = self._writer
        makers = {Kind.LINK: writer.make_link, Kind.FIFO: writer.make_fifo}
        self._say(entry.path, makers.get(entry.node.kind, writer.make_device)(entry.path, entry.node))

    def _say(self, path: bytes, stands: Fingerprint) -> None:
        self.prints.by_path[path] = stands
        if stands is PREEXISTING_FINGERPRINT:
            self._kept.add(path)

    def link(self, links: Sequence[tuple[TreeEntry, bytes]]) -> None:
        """Give further names to files that stand by now."""
        instead: dict[bytes, bytes] = {}
        for entry, first in links:
            to = instead.get(first, first)
            if to not in self._kept:
                self._say(entry.path, self._writer.hard_link(entry.path, to))
                self._linked[entry.path] = self._linked[to] = entry.node
                continue
            # What stands there is somebody else's file: this name becomes the first of the workspace's own.
            instead[first] = entry.path
            self._renew(entry)

    def dress(self, steps: PullPlan) -> None:
        """Change attributes in place; what has names that the workspace does not know of is made anew."""
        shared = []
        for entry in steps.attributes:
            stands = self._writer.set_attributes(entry.path, entry.node)
            if stands is None:
                shared.append(entry)
            else:
                self.prints.by_path[entry.path] = stands
        stirred = {parent(entry.path) for entry in shared}
        for row in steps.rows if stirred else ():
            if row.path in stirred:
                self._writer.make_dir(row.path, row.node)
        for entry in shared:
            self._renew(entry)

    def _renew(self, entry: TreeEntry) -> None:
        if entry.node.kind is not Kind.FILE:
            self.make(entry)
            return
        for _, chunks in self._layers.contents(entry.layer, [entry]):
            self._say(entry.path, self._writer.write_file(entry.path, entry.node, chunks, verified=True))

    def finish(self) -> None:
        """Give directories their attributes, and say what others had put in the way."""
        writer, notice = self._writer, self._site.progress.notice
        for path, stands in writer.finish():
            # Looked at a second time, long after they were written: who keeps what others write must notice that.
            node = self._linked.get(path) if writer.keep else None
            changed = node and node.kind is Kind.FILE and (stands.size, stands.mtime) != (node.size, node.mtime)
            self.prints.by_path[path] = PREEXISTING_FINGERPRINT if changed else stands
        if writer.kept:
            count, first = len(writer.kept), show(min(writer.kept))
            notice(f"what stood in the directory already is left as it is and counts as changed: {count} ({first} …)")
        for text in writer.notices:
            notice(text)
