"""One pass over the paths of a merge, in bytes order, in memory that does not grow with the tree (design, "Merge").

The result of a path depends on the paths above it, which come before it, and on those below it, which come later and
not at once: "a" < "a-b" < "a/b". Undecided paths are on a stack, and the rows behind them wait in a queue. In bytes
order all that lies between a path and its subtree starts with the path's own bytes, so the stack nests. Hardly a file
has something below it, so the stack is nearly always empty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from agent.core.merge.conflict import ConflictCollector, PathOutcome
from agent.core.merge.hard_links import LinkGroups, Membership
from agent.core.merge.path_order import PathStack, grouped
from agent.core.merge.path_state import MergeSource, PathState, PendingRow, PlacedVersion, SourceEntry
from agent.core.model.change import Claim, Kept, Listed
from agent.core.model.entry import Context, Kind, Node, TreeEntry, Version, Write, new_tuple

_DIR = Kind.DIR
_Placed: TypeAlias = "tuple[Version, str, int, Node]"
"""A version and its place: version, layer, offset, node."""


def merged_rows(sources: Sequence[MergeSource], links: LinkGroups) -> Iterator[TreeEntry]:
    """Yield the rows of the merged tree in bytes order of paths.

    Raises:
        IntegrityError: a source's entries are not in order.
    """
    pass_ = _Pass(links, None)
    stack, queue = pass_.stack, pass_.queue
    for path, items, next_path in grouped((source, source.origin.entries) for source in sources):
        if stack:
            pass_.close(path)
        beyond = next_path is not None and next_path.startswith(path)
        if not stack and (row := _plain_row(items, beyond, links)) is not None:
            if queue:
                yield from pass_.ready()
            yield row
            continue
        pass_.step(path, items, beyond)
        yield from pass_.ready()
    pass_.close(None)
    yield from pass_.ready()


def collect_conflicts(sources: Sequence[MergeSource], links: LinkGroups, conflicts: ConflictCollector) -> None:
    """Collect what needs a pass over all paths: the conflicts, and the link groups that are one file.

    Raises:
        IntegrityError: a source's entries are not in order.
    """
    pass_ = _Pass(links, conflicts)
    stack = pass_.stack
    for path, items, next_path in grouped((source, source.origin.entries) for source in sources):
        if stack:
            pass_.close(path)
        beyond = next_path is not None and next_path.startswith(path)
        if not stack and not beyond and len(items) > 1 and _is_undisputed(items):
            continue
        # Inline, without a call: nearly every path is one of these.
        source, entry = items[0]
        if (
            not stack
            and len(items) == 1
            and (type(entry) is Write or (type(entry) is Kept and not entry.group))
            and (entry.node.kind is _DIR or not beyond)
        ):
            if entry.group:
                source.first_offsets.setdefault(entry.group, entry.offset)
                links.record_mtime((source.id, entry.group), source.version, entry.node.mtime)
            continue
        pass_.step(path, items, beyond)
        for _ in pass_.ready():
            pass
    pass_.close(None)


def _plain_row(items: list[SourceEntry], beyond: bool, links: LinkGroups) -> TreeEntry | None:
    """Return the row of a path that depends on nothing above or below it, as nearly all do; None if it may."""
    if len(items) > 1:
        newest = _newest(items)
        return newest if newest is not None and (newest.node.kind is _DIR or not beyond) else None
    source, entry = items[0]
    if type(entry) is Write:
        version = source.version
    elif type(entry) is Kept and not entry.group:
        version = entry.version
    else:
        return None
    path, node, _, offset, group = entry
    if beyond and node.kind is not _DIR:
        return None
    label = None
    if group:
        offset = source.first_offsets.setdefault(group, offset)
        node = _at_time(node, links.mtime((source.id, group)))
        label = links.number((source.id, group))
    row: TreeEntry = new_tuple(TreeEntry, (path, node, version, source.layer, offset, label))
    return row


def _newest(items: list[SourceEntry]) -> TreeEntry | None:
    """Return the row of a path that several sources write, all a directory or none: that of the newest version.

    None if an entry is a deletion, a touch, or of a link group.
    """
    writes: list[_Placed] = []
    listings: list[_Placed] = []
    for source, entry in items:
        match entry:
            case Write(group=0):
                writes.append((source.version, source.layer, entry.offset, entry.node))
            case Kept(group=0):
                writes.append((entry.version, source.layer, entry.offset, entry.node))
            case Context(group=0):
                listings.append((source.version, source.layer, entry.offset, entry.node))
            case Listed():
                listings.append((entry.by, source.layer, entry.offset, entry.node))
            case Claim():
                pass
            case _:
                return None
    if not writes or len({placed[3].kind is _DIR for placed in (*writes, *listings)}) > 1:
        return None
    version, layer, offset, node = max(writes)
    if node.kind is _DIR:
        node = _at_time(node, max((*writes, *listings))[3].mtime)
    return TreeEntry(items[0][1].path, node, version, layer, offset)


def _is_undisputed(items: list[SourceEntry]) -> bool:
    """Return whether one squash holds a path, and the only claim is that of the change that wrote it."""
    (source, kept), (other, claim) = items[0], items[-1]
    if len(items) > 2 or type(kept) is not Kept or type(claim) is not Claim or source is not other:
        return False
    return not kept.group and kept.version.id == claim.of and claim.value is not None


class _Pass:
    """The state of one pass."""

    def __init__(self, links: LinkGroups, conflicts: ConflictCollector | None) -> None:
        self.stack: PathStack[PathState] = PathStack()
        self.queue: deque[PendingRow] = deque()
        self._links = links
        self._conflicts = conflicts

    def ready(self) -> Iterator[TreeEntry]:
        """Yield the rows at the head of the queue that are decided."""
        queue = self.queue
        while queue and queue[0].decided:
            row = queue.popleft().row
            if row is not None:
                yield row

    def step(self, path: bytes, items: list[SourceEntry], beyond: bool) -> None:
        """Decide what a path comes to; `beyond` says that something below it may follow."""
        state = PathState(path)
        state.read(items)
        if self._conflicts is not None and state.memberships:
            self._join(state)
        self._note_ancestors(state)
        pending = state.pending
        if state.directory is not None and state.directory_is_visible:
            self._make_visible(state, state.directory)
        elif not beyond or (state.file is None and state.listing is None):
            if state.file is not None and state.file_may_be_visible:
                self._make_visible(state, state.file)
            pending.decided = True
        if pending.row is not None or not pending.decided:
            self.queue.append(pending)
        if beyond and (state.file is not None or not pending.decided):
            self.stack.push(path, state)
        else:
            self._collect_conflicts(state)

    def close(self, path: bytes | None) -> None:
        """Decide every path on the stack that no path from `path` on lies below."""
        while (state := self.stack.leave(path)) is not None:
            if not state.pending.decided:
                file = state.file
                if (
                    file is not None
                    and state.file_may_be_visible
                    and not any(version > file[0] for version in state.versions_below)
                ):
                    self._make_visible(state, file)
                state.pending.decided = True
            self._collect_conflicts(state)

    def _note_ancestors(self, state: PathState) -> None:
        versions = {row[0] for row in (state.file, state.directory) if row is not None}
        for ancestor in self.stack.above(state.path):
            state.newest_above = max(state.newest_above, ancestor.file_version)
            if ancestor.file is not None:
                ancestor.versions_below |= versions

    def _make_visible(self, state: PathState, row: PlacedVersion) -> None:
        state.visible = row[0]
        state.pending.decided = True
        state.is_shown = True
        state.memberships = [member for member in state.memberships if member[0] == row[0]]
        if self._conflicts is None:
            state.pending.row = self._tree_entry(state, row)
        self._show_directories_above(state.path)

    def _show_directories_above(self, path: bytes) -> None:
        """Make the directories above a visible path visible, too."""
        for state in reversed(self.stack.above(path)):
            if state.is_shown:
                return
            state.is_shown = True
            if not state.pending.decided:
                state.pending.decided = True
                if self._conflicts is None:
                    state.pending.row = _implied_directory(state)

    def _join(self, state: PathState) -> None:
        """Join the groups of each version, visible or not: a file stays one if the name that joined them is deleted."""
        groups: dict[Version, list[Membership]] = {}
        for version, membership in state.memberships:
            groups.setdefault(version, []).append(membership)
        for version, memberships in groups.items():
            self._links.join(memberships)
            mtimes = [(by, mtime) for touched, by, mtime in state.touches if touched == version]
            if mtimes:
                self._links.record_mtime(memberships[0], *max(mtimes))

    def _tree_entry(self, state: PathState, row: PlacedVersion) -> TreeEntry:
        version, layer, offset, group, node, source = row
        if group:
            offset = source.first_offsets.get(group, offset)
        label, mtime = None, None
        if state.memberships:
            label = self._links.number(state.memberships[0][1])
            mtime = self._links.mtime(state.memberships[0][1])
        if mtime is None:
            mtime = _mtime(state, node, version)
        return TreeEntry(state.path, _at_time(node, mtime), version, layer, offset, label)

    def _collect_conflicts(self, state: PathState) -> None:
        claims = state.claims
        if self._conflicts is None or not claims:
            return
        if len(claims) == 1 and state.visible is not None and state.visible.id in claims:
            return
        above = tuple(s.file[0] for s in self.stack.above(state.path) if s.file is not None)
        file, directory = (row[0] if row is not None else None for row in (state.file, state.directory))
        self._conflicts.collect(
            state.path, claims.values(), PathOutcome(file, directory, above, state.versions_below, state.visible)
        )


def _mtime(state: PathState, node: Node, version: Version) -> int:
    """Return the mtime of a visible node: that of its last touch, or of a directory's newest listing."""
    if node.kind is _DIR:
        return state.listing[4].mtime if state.listing is not None else node.mtime
    touches = [(by, mtime) for touched, by, mtime in state.touches if touched == version]
    return max(touches, default=(version, node.mtime))[1]


def _at_time(node: Node, mtime: int | None) -> Node:
    return node if mtime is None or mtime == node.mtime else node._replace(mtime=mtime)


def _implied_directory(state: PathState) -> TreeEntry:
    if state.listing is None:
        return TreeEntry(state.path, Node(_DIR, 0o755), None)
    _, layer, offset, _, node, _ = state.listing
    return TreeEntry(state.path, node, None, layer, offset)
