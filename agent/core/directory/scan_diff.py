"""The changes of one push: the state compared with a scan (design, "Layers" and "State and scan").

In three steps, because only the middle one reads files: `join_scan` finds where the disk may differ, the caller
examines those paths, `diff` makes the entries of the change. Fresh paths pass through all
three without being a list: in a first push every path is fresh.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import TypeAlias

from agent.core.directory.scan_join import ScanJoin
from agent.core.directory.state_after_change import UNKNOWN_FINGERPRINT
from agent.core.directory.state_row import PREEXISTING_FINGERPRINT, Fingerprint, ScannedPath, StateRow, StateRows
from agent.core.model.entry import (
    UNPULLED,
    Context,
    Delete,
    Kind,
    Node,
    Seen,
    TocEntry,
    Touch,
    Write,
    kind_of,
    new_tuple,
)
from agent.core.spelling.path import directories_above

_PATH = itemgetter(0)


@dataclass(frozen=True, slots=True)
class ChangeEntries:
    """The entries of a change. Iterating it, any number of times, yields them in toc order.

    Attributes:
        fresh: a row for each fresh path. If `rest` has no write of the path, the path is new.
        rest: all other entries, in toc order.
        overrides: how many writes in `rest` are of fresh paths.
    """

    fresh: StateRows
    rest: list[TocEntry]
    overrides: int

    def __len__(self) -> int:
        return len(self.fresh) + len(self.rest) - self.overrides

    def __iter__(self) -> Iterator[TocEntry]:
        return map(_PATH, self.with_rows())

    def count(self, kind: type[TocEntry]) -> int:
        """Return how many entries are of a kind."""
        count = sum(type(entry) is kind for entry in self.rest)
        return count + len(self.fresh) - self.overrides if kind is Write else count

    def with_rows(self) -> Iterator[tuple[TocEntry, StateRow | None]]:
        """Yield each entry, with the row of its path if that is fresh."""
        rest = iter(self.rest)
        entry = next(rest, None)
        for row in self.fresh:
            path, node = row[0], row[1]
            is_new = True
            while entry is not None and entry[0] <= path:
                is_here = entry[0] == path
                is_new = is_new and not (is_here and type(entry) is Write)
                yield entry, row if is_here else None
                entry = next(rest, None)
            if is_new:
                yield new_tuple(Write, (path, node, None, 0, 0)), row
        while entry is not None:
            yield entry, None
            entry = next(rest, None)


def node_to_record(old: StateRow | None, now: Fingerprint, seen: Node, *, privileged: bool) -> Node:
    """Return the node to record for a path.

    An attribute that did not change on the disk since the path was pulled or pushed keeps its recorded value: the disk
    may be unable to hold it. An unprivileged agent records 0:0 for a new path, because every owner that it sees is its
    own. If the earlier fingerprint is not known, the disk counts, except for attributes that an unprivileged agent
    cannot set. A path that a pull left as it was has nothing recorded.

    Args:
        old: the row of the state, if there is one.
        now: the fingerprint in the scan.
        seen: the node on the disk.
        privileged: whether the agent can set owners.
    """
    if old is None or old.fingerprint in (None, PREEXISTING_FINGERPRINT) or old.node.kind is not seen.kind:
        return seen if privileged else seen._replace(uid=0, gid=0)
    was, node = old.fingerprint, old.node
    assert was is not None
    unknown = was == UNKNOWN_FINGERPRINT
    unset = unknown and not privileged
    xattrs = seen.xattrs
    if unset or (not privileged and was.mtime == now.mtime):
        lost = {name: value for name, value in node.xattrs if name.startswith(b"security.")}
        xattrs = tuple(sorted((lost | dict(xattrs)).items()))
    return seen._replace(
        mode=node.mode if not unknown and stat.S_IMODE(was.mode) == stat.S_IMODE(now.mode) else seen.mode,
        uid=node.uid if unset or was.uid == now.uid else (seen.uid if privileged else 0),
        gid=node.gid if unset or was.gid == now.gid else (seen.gid if privileged else 0),
        mtime=node.mtime if was.mtime == now.mtime else seen.mtime,
        xattrs=xattrs,
    )


def differs(old: Node, new: Node) -> bool:
    """Return whether two nodes differ in anything but the mtime."""
    return old._replace(mtime=0) != new._replace(mtime=0)


def diff(joined: ScanJoin, fresh: StateRows, nodes: Mapping[bytes, Node]) -> ChangeEntries:
    """Return the entries of a change; offsets and the contents of new files are filled in later.

    Args:
        fresh: a row for each fresh path with the node to record (`node_to_record`); a file's `sha256` may be empty.
        nodes: the node to record of every suspect and every replaced path; a replaced file's `sha256` may be empty,
            a suspect file's is that of its content now, or empty if its size alone shows that it changed.
    """
    present = joined.context | {old.path: (old, new) for old, new in joined.suspects}
    writes = {path: Write(path, nodes[path], _seen(joined, path)) for path in joined.replaced}
    touches: list[TocEntry] = []
    for old, new in joined.suspects:
        node = nodes[old.path]
        if differs(old.node, node) or _relinked(joined, present, old, new):
            writes[old.path] = Write(old.path, node, old.version)
        elif old.node.kind is not Kind.DIR and old.node.mtime != node.mtime and old.version:
            touches.append(Touch(old.path, old.version, node.mtime))
    deletes = [Delete(old.path, old.node.kind, old.version) for old in _removed(joined) if old.version]
    context = _groups(joined, present, fresh, nodes, writes)
    changed = [*(entry.path for entry in deletes), *writes, *context, *joined.entered]
    _directories(present, nodes, directories_above(changed) | joined.entered, writes, context)
    overrides = sum(path not in present for path in writes)
    # In toc order: the entries of one path are in the order of their types, which a stable sort preserves.
    rest = sorted([*deletes, *context.values(), *writes.values(), *touches], key=_PATH)
    return ChangeEntries(fresh, rest, overrides)


def _removed(joined: ScanJoin) -> Iterator[StateRow]:
    yield from joined.gone
    for old, new in joined.replaced.values():
        # A directory and a non-directory at one path are two registers, so the old one must be deleted;
        # between two non-directories the write is enough.
        if old.fingerprint is not None and Kind.DIR in (old.node.kind, kind_of(new.fingerprint.mode)):
            yield old


def _seen(joined: ScanJoin, path: bytes) -> Seen:
    old, _ = joined.replaced[path]
    return UNPULLED if old.fingerprint is None else old.version


_Present: TypeAlias = Mapping[bytes, tuple[StateRow, ScannedPath]]


def _relinked(joined: ScanJoin, present: _Present, old: StateRow, new: ScannedPath) -> bool:
    """Return whether a path is another file than before, with other names: its content may be the same."""
    assert old.fingerprint is not None
    if old.node.kind is Kind.DIR or old.fingerprint.ino == new.fingerprint.ino:
        return False
    before = {path for path in joined.group_paths.get(old.group, ()) if path in present} | {old.path}
    return before != {*joined.names.get(new.fingerprint.ino, ()), old.path}


def _groups(
    joined: ScanJoin, present: _Present, fresh: StateRows, nodes: Mapping[bytes, Node], writes: dict[bytes, Write]
) -> dict[bytes, Context]:
    """Write every link group with a written name as a whole: number its writes, return its other names.

    All names of one group get one node, which is what a layer can hold.
    """

    def is_written(name: bytes) -> bool:
        return name in writes or name not in present

    changed = sorted(names for names in joined.names.values() if len(names) > 1 and any(map(is_written, names)))
    lone = {name for names in changed for name in names if name not in present and name not in writes}
    if lone:
        writes |= {row.path: Write(row.path, row.node) for row in fresh if row.path in lone}
    context = {}
    for group, names in enumerate(changed, start=1):
        node = _node_of_group(present, nodes, writes, names)
        for name in names:
            if name in writes:
                writes[name] = writes[name]._replace(node=node, group=group)
            else:
                old, _ = present[name]
                context[name] = Context(name, node, old.version, group=group)
    return context


def _node_of_group(
    present: _Present, nodes: Mapping[bytes, Node], writes: Mapping[bytes, Write], names: list[bytes]
) -> Node:
    """Return the node of a file with several names: from a name that was one of its before, if there is any.

    A new name has only the attributes that this disk can hold, not all that are recorded of the file.
    """
    for name in names:
        if name in present:
            old, new = present[name]
            if old.fingerprint is not None and old.fingerprint.ino == new.fingerprint.ino:
                return nodes.get(name, old.node)
    return next(writes[name].node for name in names if name in writes)


def _directories(
    present: _Present,
    nodes: Mapping[bytes, Node],
    above: Iterable[bytes],
    writes: dict[bytes, Write],
    context: dict[bytes, Context],
) -> None:
    """List every directory above a change; write those that had no version of their own."""
    for path in above:
        if path not in writes and path in present:
            old, _ = present[path]
            node = nodes.get(path, old.node)
            if old.version is None:
                writes[path] = Write(path, node)
            else:
                context[path] = Context(path, node)
