"""Simulated writers, independent of the code that they test: a disk is a dictionary, a change what was done to it."""

import itertools
from dataclasses import dataclass, field

from agent.core.directory.state_row import Fingerprint, StateRow
from agent.core.layers.whiteouts import mark_whiteouts
from agent.core.model.change import Change
from agent.core.model.entry import UNPULLED, Context, Delete, Kind, Node, Touch, Version, Write, toc_order
from agent.core.spelling.path import ancestors

ON_DISK = Fingerprint(0, 0, 0, 0, 0, 0, 0)


@dataclass
class Thing:
    """An inode: names that hold the same `Thing` are hard links. A copy of a disk keeps the numbers."""

    node: Node
    ino: int = field(default_factory=itertools.count().__next__)


def file(text, mode=0o644, mtime=1):
    return Node(Kind.FILE, mode, mtime=mtime, size=len(text), sha256=text.encode())


def directory(mode=0o755):
    return Node(Kind.DIR, mode)


def link(target):
    return Node(Kind.LINK, 0o777, mtime=1, target=target.encode())


@dataclass
class Disk:
    """What a writer pulled, and what it does there. `unpulled` are paths that it left out."""

    things: dict[bytes, Thing]
    versions: dict[bytes, Version | None]
    unpulled: dict[bytes, tuple[Node, Version | None]] = field(default_factory=dict)

    def put(self, path, node):
        """Write a node; directories above are made, and whatever is in the way goes."""
        for above in ancestors(path):
            if above not in self.things or self.things[above].node.kind is not Kind.DIR:
                self.remove(above)
                self.things[above] = Thing(directory())
        old = self.things.get(path)
        if node.kind is Kind.DIR and old is not None and old.node.kind is Kind.DIR:
            self.things[path] = Thing(node)
            return
        self.remove(path)
        self.things[path] = Thing(node)

    def remove(self, path):
        for name in [name for name in self.things if name == path or name.startswith(path + b"/")]:
            del self.things[name]

    def edit(self, path, node):
        """Change a file in place: through all its names."""
        if path in self.things and self.things[path].node.kind is node.kind:
            self.things[path].node = node
        else:
            self.put(path, node)

    def hard_link(self, path, to):
        thing = self.things.get(to)
        if thing is None or thing.node.kind is Kind.DIR or path == to or path.startswith(to + b"/"):
            return
        self.put(path, thing.node)
        if to in self.things:
            self.things[path] = thing
        else:
            self.remove(path)

    def touch(self, path, mtime):
        if path in self.things and self.things[path].node.kind is not Kind.DIR:
            thing = self.things[path]
            thing.node = thing.node._replace(mtime=mtime)

    def shown(self):
        """Return path → node without a directory's mtime, and the link groups with several names."""
        groups = {frozenset(group) for group in _groups(self.things)}
        return {path: plain(thing.node) for path, thing in self.things.items()}, groups


def plain(node):
    return node._replace(mtime=0) if node.kind is Kind.DIR else node


def shown(rows):
    """Return the same of a merged tree."""
    names = {}
    rows = list(rows)
    for row in rows:
        if row.group is not None:
            names.setdefault(row.group, set()).add(row.path)
    groups = {frozenset(group) for group in names.values() if len(group) > 1}
    return {row.path: plain(row.node) for row in rows}, groups


def pulled(rows, leave_out=()):
    """Return the disk of a writer who pulled a merged tree, save for the paths below `leave_out`."""
    disk = Disk({}, {})
    inodes = {}
    for row in rows:
        disk.versions[row.path] = row.version
        if any(row.path == path or row.path.startswith(path + b"/") for path in leave_out):
            disk.unpulled[row.path] = (row.node, row.version)
            continue
        thing = Thing(row.node)
        if row.group is not None:
            thing = inodes.setdefault(row.group, thing)
        disk.things[row.path] = thing
    return disk


def written(before, after, name_of, stamp, parents, writer=None):
    """Return the change that leads from one disk to the other."""
    old, new = before.things, after.things
    writes, deletes, touches, contexts = {}, {}, {}, {}
    for path, thing in new.items():
        was = old.get(path)
        if was is None:
            writes[path] = Write(path, thing.node, UNPULLED if path in before.unpulled else None)
        elif _differs(was, thing):
            writes[path] = Write(path, thing.node, before.versions[path])
            if was.node.kind is not thing.node.kind and Kind.DIR in (was.node.kind, thing.node.kind):
                deletes[path] = Delete(path, was.node.kind, before.versions[path])
        elif thing.node.kind is not Kind.DIR and was.node.mtime != thing.node.mtime:
            touches[path] = Touch(path, before.versions[path], thing.node.mtime)
    for path, was in old.items():
        if path not in new:
            deletes[path] = Delete(path, was.node.kind, before.versions[path])
    deletes = {path: entry for path, entry in deletes.items() if entry.seen is not None}
    for number, group in enumerate(_groups(new), 1):
        for name in group if any(name in writes for name in group) else ():
            if name in writes:
                writes[name] = writes[name]._replace(group=number)
            else:
                contexts[name] = Context(name, new[name].node, before.versions[name], group=number)
    _list_directories(before, new, writes, deletes, contexts)
    entries = sorted([*writes.values(), *deletes.values(), *touches.values(), *contexts.values()], key=toc_order)
    marked = mark_whiteouts(_renumbered(entries), known(before))
    return Change(name_of, stamp, tuple(parents), marked, "layer:" + name_of, *(writer or ()))


def known(disk):
    rows = [StateRow(path, thing.node, disk.versions[path], ON_DISK) for path, thing in disk.things.items()]
    rows += [StateRow(path, node, version, None) for path, (node, version) in disk.unpulled.items()]
    return sorted(rows, key=lambda row: row.path)


def _list_directories(before, new, writes, deletes, contexts):
    for path in {above for below in [*writes, *deletes, *contexts] for above in ancestors(below)}:
        if path in writes or path not in new or new[path].node.kind is not Kind.DIR:
            continue
        if before.versions.get(path) is None:
            writes[path] = Write(path, new[path].node)
        else:
            contexts[path] = Context(path, new[path].node)


def _groups(things):
    names = {}
    for path, thing in things.items():
        names.setdefault(thing.ino, []).append(path)
    return sorted(sorted(group) for group in names.values() if len(group) > 1)


def _differs(one, other):
    if one.node.kind is not Kind.DIR and one.ino != other.ino:
        return True
    return one.node._replace(mtime=0) != other.node._replace(mtime=0)


def _renumbered(entries):
    numbers = {}
    for entry in entries:
        if isinstance(entry, Write | Context) and entry.group:
            yield entry._replace(group=numbers.setdefault(entry.group, len(numbers) + 1))
        else:
            yield entry
