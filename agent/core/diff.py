"""What one push changed: what is remembered beside what a scan found (design sections 3 and 7).

In three steps, because only the middle one reads files: `sift` finds where the disk may differ, the caller
examines those paths, `diff` says what that means.
"""

from __future__ import annotations

import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import merge
from itertools import count
from operator import itemgetter
from typing import Any, Protocol, TypeAlias, TypeVar

from agent.core.advance import UNKNOWN, lies_below
from agent.core.entry import UNPULLED, Context, Delete, Kind, Node, Seen, TocEntry, Touch, Version, Write
from agent.core.known import KEPT, Fingerprint, Found, Known
from agent.core.path import parent

_PATH = itemgetter(0)
_new: Any = tuple.__new__  # a named tuple's own constructor costs three times as much
_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIR,
    stat.S_IFLNK: Kind.LINK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFCHR: Kind.CHAR,
    stat.S_IFBLK: Kind.BLOCK,
}


def kind_of(mode: int) -> Kind:
    """Return the kind that an st_mode says (not for sockets, which are no part of a tree)."""
    return _KINDS[stat.S_IFMT(mode)]


@dataclass(slots=True)
class Sifted:
    """Where the disk may differ from what is remembered.

    Attributes:
        gone: what is remembered, was on disk and is no longer.
        fresh: what was found where nothing was remembered or pulled, or something of another kind.
        suspects: what stands at both, of one kind, with another fingerprint or a racily clean one.
        replaced: what is remembered at a path of `fresh`, and that path, by path.
        kept: what is remembered and still stands, if it is a directory or is or was one of several names of a file.
        names: the names on disk of each file that has several, by inode.
        partners: the names remembered of each link group, by group.
        unpulled: the groups, 0 for none, of what was not pulled and is not on disk.
        total: how many paths were found.
        standing: how many remembered paths still stand.
    """

    gone: list[Known] = field(default_factory=list)
    fresh: list[Found] = field(default_factory=list)
    suspects: list[tuple[Known, Found]] = field(default_factory=list)
    replaced: dict[bytes, tuple[Known, Found]] = field(default_factory=dict)
    kept: dict[bytes, tuple[Known, Found]] = field(default_factory=dict)
    names: dict[int, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    partners: dict[int, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    unpulled: set[int] = field(default_factory=set)
    total: int = 0
    standing: int = 0


def sift(known: Iterable[Known], found: Iterable[Found], clean_before: int) -> Sifted:
    """Join what is remembered with a scan, both in bytes order of paths.

    Args:
        clean_before: a fingerprint whose ctime (ns) is not before this is racy: the path may have changed
            within the same tick of the file system's clock.
    """
    sifted = Sifted()
    for old, new in join(known, found):
        if new is not None:
            sifted.total += 1
            if new.nlink > 1 and not stat.S_ISDIR(new.print.mode):
                sifted.names[new.print.ino].append(new.path)
        if old is not None and old.group:
            sifted.partners[old.group].append(old.path)
        if new is None:
            assert old is not None
            if old.print is not None:
                sifted.gone.append(old)
            else:
                sifted.unpulled.add(old.group)
        elif old is None or old.print is None or old.node.kind is not kind_of(new.print.mode):
            sifted.fresh.append(new)
            if old is not None:
                sifted.replaced[old.path] = (old, new)
        else:
            sifted.standing += 1
            if old.group or new.nlink > 1 or old.node.kind is Kind.DIR:
                sifted.kept[old.path] = (old, new)
            if old.print != new.print or old.print.ctime >= clean_before:
                sifted.suspects.append((old, new))
    return sifted


class _HasPath(Protocol):
    @property
    def path(self) -> bytes: ...


_New = TypeVar("_New", bound=_HasPath)


def join(known: Iterable[Known], found: Iterable[_New]) -> Iterator[tuple[Known | None, _New | None]]:
    """Pair what stands at equal paths of two sequences in bytes order of paths."""
    left, right = iter(known), iter(found)
    old, new = next(left, None), next(right, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old.path < new.path):
            yield old, None
            old = next(left, None)
        elif old is None or new.path < old.path:
            yield None, new
            new = next(right, None)
        else:
            yield old, new
            old, new = next(left, None), next(right, None)


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


def diff(sifted: Sifted, nodes: Mapping[bytes, Node]) -> list[TocEntry]:
    """Return what a change says, in toc order; offsets and the contents of new files are still to be filled in.

    Args:
        nodes: the node to record (`recorded`) of every fresh and every suspect path; a fresh file's `sha256`
            may be empty, a suspect file's is that of its content now, or empty if its size alone shows that it
            changed.
    """
    standing = sifted.kept | {old.path: (old, new) for old, new in sifted.suspects}
    writes: dict[bytes, Write] = {}
    for path, *_ in sifted.fresh:
        writes[path] = _new(Write, (path, nodes[path], _seen(sifted, path) if path in sifted.replaced else None, 0, 0))
    touches: list[TocEntry] = []
    for old, new in sifted.suspects:
        node = nodes[old.path]
        if differs(old.node, node) or _relinked(sifted, standing, old, new):
            writes[old.path] = Write(old.path, node, old.version)
        elif old.node.kind is not Kind.DIR and old.node.mtime != node.mtime and old.version:
            touches.append(Touch(old.path, old.version, node.mtime))
    deletes = [Delete(old.path, old.node.kind, old.version) for old in _removed(sifted) if old.version]
    context = _groups(sifted, standing, nodes, writes)
    _directories(standing, nodes, [*(entry.path for entry in deletes), *writes, *context], writes, context)
    # In toc order: what stands at one path is in the order of its kinds, which a stable sort keeps.
    return sorted([*deletes, *context.values(), *writes.values(), *touches], key=_PATH)


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
    sifted: Sifted, standing: _Standing, nodes: Mapping[bytes, Node], writes: dict[bytes, Write]
) -> dict[bytes, Context]:
    """Write every link group of which a name is written whole: number its writes, return its other names.

    All names of one group get one node, which is what a layer can hold.
    """
    changed = sorted(names for names in sifted.names.values() if len(names) > 1 and any(n in writes for n in names))
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
    changed: Iterable[bytes],
    writes: dict[bytes, Write],
    context: dict[bytes, Context],
) -> None:
    """List every directory above something changed; write those that had no version of their own."""
    above: set[bytes] = set()
    for below in changed:
        path = parent(below)
        while path and path not in above:
            above.add(path)
            path = parent(path)
    for path in above:
        if path not in writes and path in standing:
            old, _ = standing[path]
            node = nodes.get(path, old.node)
            if old.version is None:
                writes[path] = Write(path, node)
            else:
                context[path] = Context(path, node)


def remembered(
    known: Iterable[Known], sifted: Sifted, nodes: Mapping[bytes, Node], written: Mapping[bytes, Write], new: Version
) -> Iterator[Known]:
    """Yield what to remember after a push, in bytes order.

    Args:
        nodes: as for `diff`, of suspect paths.
        written: the change's writes, completed, by path.
        new: the change's version.
    """
    group_of = {name: names[0] for names in sifted.names.values() if len(names) > 1 for name in names}
    free = (number for number in count(1) if number not in sifted.unpulled)
    numbers = {first: next(free) for first in sorted(set(group_of.values()))}

    def known_now(path: bytes, node: Node, version: Version | None, now: Fingerprint) -> Known:
        return Known(path, node, version, now, numbers[group_of[path]] if path in group_of else 0)

    # Rows are made as they are taken: a first push has as many as the workspace has paths.
    arrived = (known_now(found.path, written[found.path].node, new, found.print) for found in sifted.fresh)
    stood = {path: (old, old.node, found) for path, (old, found) in sifted.kept.items()}
    stood |= {old.path: (old, nodes[old.path], found) for old, found in sifted.suspects}

    def standing() -> Iterator[Known]:
        for path, (old, node, found) in sorted(stood.items()):
            write = written.get(path)
            yield known_now(path, write.node if write else node, new if write else old.version, found.print)

    passed = {old.path for old in sifted.gone} | stood.keys() | sifted.replaced.keys()
    fresh = sifted.fresh if sifted.unpulled else ()
    files = {found.path for found in fresh if not stat.S_ISDIR(found.print.mode)}
    rest = (row for row in known if row.path not in passed and not (row.print is None and lies_below(row.path, files)))
    return merge(rest, arrived, standing(), key=_PATH)
