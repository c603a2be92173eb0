"""One pass over the paths of a merge, in bytes order, in memory that does not grow with the tree (design, "Merge").

A path's fate depends on those above it, which come before it, and on those below it, which come later, and not at
once: "a" < "a-b" < "a/b". Paths whose fate is open stand on a stack and hold back the rows behind them. In bytes
order all that lies between a path and its subtree starts with the path's own bytes, so the stack nests; and as
hardly a file has something below it, the stack is nearly always empty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from agent.core.merge.conflict import Disputes, Ground
from agent.core.merge.hard_links import Links, Membership
from agent.core.merge.path_order import PathStack, grouped
from agent.core.merge.path_state import Item, Row, Slot, Source, Spot
from agent.core.model.change import Claim, Kept, Listed
from agent.core.model.entry import Context, Kind, Node, TreeEntry, Version, Write, new_tuple

_DIR = Kind.DIR
_Said: TypeAlias = "tuple[Version, str, int, Node]"
"""A version and where it lies: version, layer, offset, node."""


def merged_rows(sources: Sequence[Source], links: Links) -> Iterator[TreeEntry]:
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


def collect(sources: Sequence[Source], links: Links, disputes: Disputes) -> None:
    """Collect in one pass what no single path can tell: the conflicts, and the link groups that are one.

    Raises:
        IntegrityError: a source's entries are not in order.
    """
    pass_ = _Pass(links, disputes)
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
                source.homes.setdefault(entry.group, entry.offset)
                links.say((source.id, entry.group), source.version, entry.node.mtime)
            continue
        pass_.step(path, items, beyond)
        for _ in pass_.ready():
            pass
    pass_.close(None)


def _plain_row(items: list[Item], beyond: bool, links: Links) -> TreeEntry | None:
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
        offset = source.homes.setdefault(group, offset)
        node = _at_time(node, links.mtime((source.id, group)))
        label = links.label((source.id, group))
    row: TreeEntry = new_tuple(TreeEntry, (path, node, version, source.layer, offset, label))
    return row


def _newest(items: list[Item]) -> TreeEntry | None:
    """Return the row of a path of which several say what stands there, all a directory or all none.

    That is the newest version. None if more is said: of what fell, was touched, or has several names.
    """
    standing: list[_Said] = []
    listings: list[_Said] = []
    for source, entry in items:
        match entry:
            case Write(group=0):
                standing.append((source.version, source.layer, entry.offset, entry.node))
            case Kept(group=0):
                standing.append((entry.version, source.layer, entry.offset, entry.node))
            case Context(group=0):
                listings.append((source.version, source.layer, entry.offset, entry.node))
            case Listed():
                listings.append((entry.by, source.layer, entry.offset, entry.node))
            case Claim():
                pass
            case _:
                return None
    if not standing or len({said[3].kind is _DIR for said in (*standing, *listings)}) > 1:
        return None
    version, layer, offset, node = max(standing)
    if node.kind is _DIR:
        node = _at_time(node, max((*standing, *listings))[3].mtime)
    return TreeEntry(items[0][1].path, node, version, layer, offset)


def _is_undisputed(items: list[Item]) -> bool:
    """Say whether one squash keeps a path, and nobody claims it but the change that wrote it."""
    (source, kept), (other, claim) = items[0], items[-1]
    if len(items) > 2 or type(kept) is not Kept or type(claim) is not Claim or source is not other:
        return False
    return not kept.group and kept.version.id == claim.of and claim.value is not None


class _Pass:
    """The state of one pass."""

    def __init__(self, links: Links, disputes: Disputes | None) -> None:
        self.stack: PathStack[Spot] = PathStack()
        self.queue: deque[Slot] = deque()
        self._links = links
        self._disputes = disputes

    def ready(self) -> Iterator[TreeEntry]:
        """Yield the rows at the head of the queue that are decided."""
        queue = self.queue
        while queue and queue[0].decided:
            row = queue.popleft().row
            if row is not None:
                yield row

    def step(self, path: bytes, items: list[Item], beyond: bool) -> None:
        """Decide what a path comes to; `beyond` says that something below it may follow."""
        spot = Spot(path)
        spot.read(items)
        if self._disputes is not None and spot.linked:
            self._join(spot)
        self._look_up(spot)
        slot = spot.slot
        if spot.directory is not None and spot.directory_stands:
            self._stand(spot, spot.directory)
        elif not beyond or (spot.file is None and spot.listing is None):
            if spot.file is not None and spot.file_may_stand:
                self._stand(spot, spot.file)
            slot.decided = True
        if slot.row is not None or not slot.decided:
            self.queue.append(slot)
        if beyond and (spot.file is not None or not slot.decided):
            self.stack.push(path, spot)
        else:
            self._judge(spot)

    def close(self, path: bytes | None) -> None:
        """Decide every path on the stack that nothing from `path` on lies below."""
        while (spot := self.stack.leave(path)) is not None:
            if not spot.slot.decided:
                file = spot.file
                if file is not None and spot.file_may_stand and not any(version > file[0] for version in spot.below):
                    self._stand(spot, file)
                spot.slot.decided = True
            self._judge(spot)

    def _look_up(self, spot: Spot) -> None:
        versions = {row[0] for row in (spot.file, spot.directory) if row is not None}
        for ancestor in self.stack.above(spot.path):
            spot.floor = max(spot.floor, ancestor.file_version)
            if ancestor.file is not None:
                ancestor.below |= versions

    def _stand(self, spot: Spot, row: Row) -> None:
        spot.standing = row[0]
        spot.slot.decided = True
        spot.needed = True
        spot.linked = [member for member in spot.linked if member[0] == row[0]]
        if self._disputes is None:
            spot.slot.row = self._tree_entry(spot, row)
        self._need(spot.path)

    def _need(self, path: bytes) -> None:
        """Let the directories above a visible path stand, if only for its sake."""
        for spot in reversed(self.stack.above(path)):
            if spot.needed:
                return
            spot.needed = True
            if not spot.slot.decided:
                spot.slot.decided = True
                if self._disputes is None:
                    spot.slot.row = _needed_directory(spot)

    def _join(self, spot: Spot) -> None:
        """Join the groups of each version, visible or not: a file stays one when the name that tied it goes."""
        groups: dict[Version, list[Membership]] = {}
        for version, membership in spot.linked:
            groups.setdefault(version, []).append(membership)
        for version, memberships in groups.items():
            self._links.join(memberships)
            said = [(by, mtime) for touched, by, mtime in spot.touches if touched == version]
            if said:
                self._links.say(memberships[0], *max(said))

    def _tree_entry(self, spot: Spot, row: Row) -> TreeEntry:
        version, layer, offset, group, node, source = row
        if group:
            offset = source.homes.get(group, offset)
        label, mtime = None, None
        if spot.linked:
            label = self._links.label(spot.linked[0][1])
            mtime = self._links.mtime(spot.linked[0][1])
        if mtime is None:
            mtime = _mtime(spot, node, version)
        return TreeEntry(spot.path, _at_time(node, mtime), version, layer, offset, label)

    def _judge(self, spot: Spot) -> None:
        claims = spot.claims
        if self._disputes is None or not claims:
            return
        if len(claims) == 1 and spot.standing is not None and spot.standing.id in claims:
            return
        above = tuple(s.file[0] for s in self.stack.above(spot.path) if s.file is not None)
        file, directory = (row[0] if row is not None else None for row in (spot.file, spot.directory))
        self._disputes.judge(spot.path, claims.values(), Ground(file, directory, above, spot.below, spot.standing))


def _mtime(spot: Spot, node: Node, version: Version) -> int:
    """Return the mtime that a touch, or a directory's newest listing, said last of a visible node."""
    if node.kind is _DIR:
        return spot.listing[4].mtime if spot.listing is not None else node.mtime
    touches = [(by, mtime) for touched, by, mtime in spot.touches if touched == version]
    return max(touches, default=(version, node.mtime))[1]


def _at_time(node: Node, mtime: int | None) -> Node:
    return node if mtime is None or mtime == node.mtime else node._replace(mtime=mtime)


def _needed_directory(spot: Spot) -> TreeEntry:
    if spot.listing is None:
        return TreeEntry(spot.path, Node(_DIR, 0o755), None)
    _, layer, offset, _, node, _ = spot.listing
    return TreeEntry(spot.path, node, None, layer, offset)
