"""The changes of one push: the state compared with a scan (design, "Layers" and "State and scan").

In three steps, because only the middle one reads files: `sift` finds where the disk may differ, the caller
examines those paths, `diff` says what that means. What is fresh goes through all of them without being a list: a first
push has as many fresh paths as the workspace has.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import TypeAlias

from agent.core.directory.advance import UNKNOWN
from agent.core.directory.scan_join import Sifted
from agent.core.directory.state_row import KEPT, Fingerprint, Found, Known, Rows
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
class Entries:
    """What a change says. Iterating it, any number of times, yields its entries in toc order.

    Attributes:
        fresh: a row for each fresh path. Where `rest` has no write of it, it is one of something new.
        rest: all other entries, in toc order.
        instead: how many writes in `rest` are of fresh paths.
    """

    fresh: Rows
    rest: list[TocEntry]
    instead: int

    def __len__(self) -> int:
        return len(self.fresh) + len(self.rest) - self.instead

    def __iter__(self) -> Iterator[TocEntry]:
        return map(_PATH, self.beside())

    def count(self, kind: type[TocEntry]) -> int:
        """Return how many entries are of a kind."""
        count = sum(type(entry) is kind for entry in self.rest)
        return count + len(self.fresh) - self.instead if kind is Write else count

    def beside(self) -> Iterator[tuple[TocEntry, Known | None]]:
        """Yield each entry with the row of its path if that is fresh."""
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


def recorded(old: Known | None, now: Fingerprint, seen: Node, *, privileged: bool) -> Node:
    """Return the node to record for what a path shows now.

    An attribute that the disk still shows as it did when the path was pulled or pushed keeps its recorded value:
    the disk may not have been able to hold it. An unprivileged agent records 0:0 for what is new, as every
    owner it could see is its own. Where it is not known what the disk showed, what it shows now counts, save for
    what an unprivileged agent could not have set. What a pull left alone is none of what was recorded.
    """
    if old is None or old.print in (None, KEPT) or old.node.kind is not seen.kind:
        return seen if privileged else seen._replace(uid=0, gid=0)
    was, node = old.print, old.node
    assert was is not None
    unknown = was == UNKNOWN
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
    """Say whether anything but the mtime differs."""
    return old._replace(mtime=0) != new._replace(mtime=0)


def diff(sifted: Sifted, fresh: Rows, nodes: Mapping[bytes, Node]) -> Entries:
    """Return what a change says; offsets and the contents of new files are still to be filled in.

    Args:
        fresh: a row for each fresh path, `node` being what to record (`recorded`), a file's `sha256` perhaps empty.
        nodes: the node to record of every suspect and every replaced path; a replaced file's `sha256` may be empty,
            a suspect file's is that of its content now, or empty if its size alone shows that it changed.
    """
    standing = sifted.kept | {old.path: (old, new) for old, new in sifted.suspects}
    writes = {path: Write(path, nodes[path], _seen(sifted, path)) for path in sifted.replaced}
    touches: list[TocEntry] = []
    for old, new in sifted.suspects:
        node = nodes[old.path]
        if differs(old.node, node) or _relinked(sifted, standing, old, new):
            writes[old.path] = Write(old.path, node, old.version)
        elif old.node.kind is not Kind.DIR and old.node.mtime != node.mtime and old.version:
            touches.append(Touch(old.path, old.version, node.mtime))
    deletes = [Delete(old.path, old.node.kind, old.version) for old in _removed(sifted) if old.version]
    context = _groups(sifted, standing, fresh, nodes, writes)
    changed = [*(entry.path for entry in deletes), *writes, *context, *sifted.entered]
    _directories(standing, nodes, directories_above(changed) | sifted.entered, writes, context)
    instead = sum(path not in standing for path in writes)
    # In toc order: what stands at one path is in the order of its kinds, which a stable sort keeps.
    rest = sorted([*deletes, *context.values(), *writes.values(), *touches], key=_PATH)
    return Entries(fresh, rest, instead)


def _removed(sifted: Sifted) -> Iterator[Known]:
    yield from sifted.gone
    for old, new in sifted.replaced.values():
        # A directory and a non-directory at one path are two registers, so that the one that went must be deleted;
        # between two non-directories the write alone says it all.
        if old.print is not None and Kind.DIR in (old.node.kind, kind_of(new.print.mode)):
            yield old


def _seen(sifted: Sifted, path: bytes) -> Seen:
    old, _ = sifted.replaced[path]
    return UNPULLED if old.print is None else old.version


_Standing: TypeAlias = Mapping[bytes, tuple[Known, Found]]


def _relinked(sifted: Sifted, standing: _Standing, old: Known, new: Found) -> bool:
    """Say whether a path is another file than before, with other names: content alone would not show it."""
    assert old.print is not None
    if old.node.kind is Kind.DIR or old.print.ino == new.print.ino:
        return False
    before = {path for path in sifted.partners.get(old.group, ()) if path in standing} | {old.path}
    return before != {*sifted.names.get(new.print.ino, ()), old.path}


def _groups(
    sifted: Sifted, standing: _Standing, fresh: Rows, nodes: Mapping[bytes, Node], writes: dict[bytes, Write]
) -> dict[bytes, Context]:
    """Write every link group of which a name is written whole: number its writes, return its other names.

    All names of one group get one node, which is what a layer can hold.
    """

    def is_written(name: bytes) -> bool:
        return name in writes or name not in standing

    changed = sorted(names for names in sifted.names.values() if len(names) > 1 and any(map(is_written, names)))
    lone = {name for names in changed for name in names if name not in standing and name not in writes}
    if lone:
        writes |= {row.path: Write(row.path, row.node) for row in fresh if row.path in lone}
    context = {}
    for group, names in enumerate(changed, start=1):
        node = _node_of_group(standing, nodes, writes, names)
        for name in names:
            if name in writes:
                writes[name] = writes[name]._replace(node=node, group=group)
            else:
                old, _ = standing[name]
                context[name] = Context(name, node, old.version, group=group)
    return context


def _node_of_group(
    standing: _Standing, nodes: Mapping[bytes, Node], writes: Mapping[bytes, Write], names: list[bytes]
) -> Node:
    """Return the node of a file with several names: as a name knows it that was one of its before, if there is any.

    A name that is new to the file does not know what is recorded of it beyond what this disk can hold.
    """
    for name in names:
        if name in standing:
            old, new = standing[name]
            if old.print is not None and old.print.ino == new.print.ino:
                return nodes.get(name, old.node)
    return next(writes[name].node for name in names if name in writes)


def _directories(
    standing: _Standing,
    nodes: Mapping[bytes, Node],
    above: Iterable[bytes],
    writes: dict[bytes, Write],
    context: dict[bytes, Context],
) -> None:
    """List every standing directory above something changed; write those that had no version of their own."""
    for path in above:
        if path not in writes and path in standing:
            old, _ = standing[path]
            node = nodes.get(path, old.node)
            if old.version is None:
                writes[path] = Write(path, node)
            else:
                context[path] = Context(path, node)
