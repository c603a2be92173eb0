"""The writes of a pull: a plan's operations on the directory, with contents from layers (design, "Pull")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from agent.core.directory.fetch_list import FetchList
from agent.core.directory.fingerprint_table import FingerprintTable
from agent.core.directory.pull_plan import PullPlan
from agent.core.directory.state_row import PREEXISTING_FINGERPRINT, Fingerprint, StateRow
from agent.core.model.entry import Kind, Node, TreeEntry
from agent.core.spelling.path import parent, show
from agent.sync.contents.layer_contents import Layers
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.workspace.filesystem.root import Root
from agent.workspace.write.tree_writer import TreeWriter


def apply_plan(
    context: WorkspaceContext, layers: Layers, steps: PullPlan, writer: TreeWriter, fingerprints: FingerprintTable
) -> None:
    """Carry out a plan, and put the fingerprints of all paths that it writes into `prints`.

    Args:
        context: reports the progress.
        layers: has the contents.
        steps: the plan.
        writer: writes into the directory.
        fingerprints: gets the fingerprints.

    Raises:
        WorkspaceError, UnsafeArchiveError, DivergedError: as `TreeWriter`.
        IntegrityError, AuthError, UnavailableError: a content cannot be read.
    """
    work = _Work(context, layers, writer, fingerprints)
    for path, kind in steps.remove:
        writer.remove(path, kind)
    for entry in steps.directories:
        writer.make_dir(entry.path, entry.node)
    context.progress.stage("fetch", sum(files.bytes for files in steps.fetch.values()), "bytes")
    work.fetch(steps.fetch)
    for entry in steps.make:
        work.make(entry)
    work.link(steps.link)
    work.set_attributes(steps)
    work.finish()


def remove_written(root: Root, rows: Iterable[StateRow]) -> None:
    """Remove what a plan has written, unless it was changed since. Directories stay.

    Args:
        root: the directory.
        rows: rows of the plan; those that were written have a fingerprint.

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


def _content_of(fingerprint: Fingerprint) -> tuple[int, int, int]:
    """Return those parts of a fingerprint that change with the content."""
    return fingerprint.ino, fingerprint.size, fingerprint.mtime


class _Work:
    """A plan that is being carried out. `_kept` has paths that others put in the way, which are left alone."""

    def __init__(
        self, context: WorkspaceContext, layers: Layers, writer: TreeWriter, fingerprints: FingerprintTable
    ) -> None:
        self.fingerprints = fingerprints
        self._context = context
        self._layers = layers
        self._writer = writer
        self._linked: dict[bytes, Node] = {}
        self._kept: set[bytes] = set()

    def fetch(self, wanted: Mapping[str, FetchList]) -> None:
        """Write files, by the layer that has their contents."""
        put, write, advance = self.fingerprints.put, self._writer.write_file, self._context.progress.advance
        for row, path, node, chunks in self._layers.fetch(wanted):
            # The layer's reader checks the contents. To hash them a second time would cost as much as to write them.
            fingerprint = write(path, node, chunks, verified=True)
            put(row, fingerprint)
            if fingerprint is PREEXISTING_FINGERPRINT:
                self._kept.add(path)
            advance(node.size)

    def make(self, entry: TreeEntry) -> None:
        """Make a link, a FIFO or a device."""
        writer = self._writer
        makers = {Kind.LINK: writer.make_link, Kind.FIFO: writer.make_fifo}
        self._note(entry.path, makers.get(entry.node.kind, writer.make_device)(entry.path, entry.node))

    def _note(self, path: bytes, fingerprint: Fingerprint) -> None:
        self.fingerprints.by_path[path] = fingerprint
        if fingerprint is PREEXISTING_FINGERPRINT:
            self._kept.add(path)

    def link(self, links: Sequence[tuple[TreeEntry, bytes]]) -> None:
        """Make hard links to files that are there by now."""
        replaced: dict[bytes, bytes] = {}
        for entry, first in links:
            to = replaced.get(first, first)
            if to not in self._kept:
                self._note(entry.path, self._writer.hard_link(entry.path, to))
                self._linked[entry.path] = self._linked[to] = entry.node
                continue
            # Another's file is at the first name: this name becomes the first of the group.
            replaced[first] = entry.path
            self._renew(entry)

    def set_attributes(self, steps: PullPlan) -> None:
        """Change attributes in place. A file with hard links outside the workspace is written anew instead."""
        shared = []
        for entry in steps.attributes:
            fingerprint = self._writer.set_attributes(entry.path, entry.node)
            if fingerprint is None:
                shared.append(entry)
            else:
                self.fingerprints.by_path[entry.path] = fingerprint
        changed_dirs = {parent(entry.path) for entry in shared}
        for row in steps.rows if changed_dirs else ():
            if row.path in changed_dirs:
                self._writer.make_dir(row.path, row.node)
        for entry in shared:
            self._renew(entry)

    def _renew(self, entry: TreeEntry) -> None:
        """Write one path anew, whatever is there."""
        if entry.node.kind is not Kind.FILE:
            self.make(entry)
            return
        for _, chunks in self._layers.contents(entry.layer, [entry]):
            self._note(entry.path, self._writer.write_file(entry.path, entry.node, chunks, verified=True))

    def finish(self) -> None:
        """Set the attributes of directories, and warn of what others put in the way."""
        writer, notice = self._writer, self._context.progress.notice
        for path, fingerprint in writer.finish():
            # This is the second `lstat`, long after the write: another may have changed the file meanwhile.
            node = self._linked.get(path) if writer.keep else None
            changed = (
                node and node.kind is Kind.FILE and (fingerprint.size, fingerprint.mtime) != (node.size, node.mtime)
            )
            self.fingerprints.by_path[path] = PREEXISTING_FINGERPRINT if changed else fingerprint
        if writer.left_out:
            count, first = len(writer.left_out), show(min(writer.left_out))
            notice(f"what stood in the directory already is left as it is and counts as changed: {count} ({first} …)")
        for text in writer.notices:
            notice(text)
