"""A disk as a value: names, inodes, hard links, times and fingerprints; and what the edges do to it.

`Disk` behaves as a POSIX file system does where that matters to `agent.core`: an overwritten file keeps its inode, a
replaced one gets another (the lowest free one, so that inodes are reused as much as can be), a directory's mtime
moves when its names do, a clock ticks only when told, so that changes within one tick leave no trace in times.
"""

import stat
from collections import defaultdict
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count

from agent.core.directory.fingerprint_table import FingerprintTable
from agent.core.directory.pull_plan import plan_pull
from agent.core.directory.scan_diff import diff, node_to_record
from agent.core.directory.scan_join import ScanJoin, join_scan
from agent.core.directory.sparse_globs import everything
from agent.core.directory.state_after_push import state_after_push
from agent.core.directory.state_row import Fingerprint, ScannedPath, StateRow
from agent.core.model.entry import Context, Kind, Node, TreeEntry, Version, Write
from agent.core.spelling.path import ancestors, parent

_FORMATS = {Kind.FILE: stat.S_IFREG, Kind.DIR: stat.S_IFDIR, Kind.LINK: stat.S_IFLNK, Kind.FIFO: stat.S_IFIFO}


@dataclass(frozen=True)
class Inode:
    """`data` is a file's content or a link's target."""

    kind: Kind
    mode: int
    data: bytes = b""
    uid: int = 0
    gid: int = 0
    xattrs: tuple = ()
    mtime: int = 0
    ctime: int = 0


class Disk:
    def __init__(self):
        self.inodes = {}
        self.names = {}
        self.now = 100
        self.owner = 0

    # What it holds.

    def paths(self):
        return sorted(self.names)

    def at(self, path):
        return self.inodes[self.names[path]]

    def is_dir(self, path):
        return path == b"" or (path in self.names and self.at(path).kind is Kind.DIR)

    def below(self, path):
        return [name for name in self.paths() if name.startswith(path + b"/")]

    def linked(self, path):
        return [name for name in self.paths() if self.names[name] == self.names[path]]

    def partition(self, paths=None):
        """The sets of paths that are one file, those of one name too."""
        groups = defaultdict(set)
        for path in self.names if paths is None else paths:
            groups[self.names[path]].add(path)
        return {frozenset(group) for group in groups.values()}

    def scan(self):
        names = defaultdict(int)
        for ino in self.names.values():
            names[ino] += 1
        return [ScannedPath(path, self.print(path), names[self.names[path]]) for path in self.paths()]

    def print(self, path):
        node = self.at(path)
        size = len(node.data) if node.kind in (Kind.FILE, Kind.LINK) else 64
        mode = _FORMATS[node.kind] | node.mode
        return Fingerprint(self.names[path], size, mode, node.uid, node.gid, node.mtime, node.ctime)

    def node(self, path, *, with_content=True):
        i = self.at(path)
        is_file, target = i.kind is Kind.FILE, i.data if i.kind is Kind.LINK else b""
        digest = sha256(i.data).digest() if is_file and with_content else b""
        size = len(i.data) if is_file else 0
        return Node(i.kind, i.mode, i.uid, i.gid, i.mtime, size, digest, target, (0, 0), i.xattrs)

    # What system calls do.

    def tick(self):
        self.now += 10

    def alter(self, path, **changed):
        self.inodes[self.names[path]] = replace(self.at(path), **changed, ctime=self.now)

    def place(self, path, kind, mode, **attributes):
        """Put something new at a path in one step, as by a rename from elsewhere."""
        ino = next(n for n in count(1) if n not in self.inodes)
        given = {"mtime": self.now, "uid": self.owner, "gid": self.owner, **attributes}
        self.inodes[ino] = Inode(kind, mode, **given, ctime=self.now)
        self._name(path, ino)

    def link(self, source, path):
        assert self.at(source).kind is not Kind.DIR
        if self.names.get(path) != self.names[source]:
            self._name(path, self.names[source])
            self.alter(source)

    def unlink(self, path):
        assert self.at(path).kind is not Kind.DIR or not self.below(path), f"{path} is not empty"
        self._forget(path)
        self._stir(path)

    def rename(self, source, path):
        self.alter(source)
        moved = {name: self.names[name] for name in [source, *self.below(source)]}
        for name, ino in moved.items():
            self.names[path + name[len(source) :]] = ino
        for name in moved:
            del self.names[name]
        self._stir(source)
        self._stir(path)

    def _name(self, path, ino):
        assert self.is_dir(parent(path)), f"nothing to hold {path}"
        if path in self.names:
            assert self.at(path).kind is not Kind.DIR, f"{path} is a directory"
            self._forget(path)
        self.names[path] = ino
        self._stir(path)

    def _forget(self, path):
        ino = self.names.pop(path)
        if ino not in self.names.values():
            del self.inodes[ino]
        else:
            self.inodes[ino] = replace(self.inodes[ino], ctime=self.now)

    def _stir(self, path):
        if parent(path):
            self.alter(parent(path), mtime=self.now)

    # What users do. Whatever stands in the way goes.

    def write(self, path, data):
        """Change a file in place, or make it."""
        self._make_room(path)
        if path in self.names and self.at(path).kind is Kind.FILE:
            self.alter(path, data=data, mtime=self.now)
        else:
            self.save(path, data)

    def save(self, path, data):
        """Replace a file by another, as editors do."""
        self._clear(path)
        self.place(path, Kind.FILE, 0o644, data=data)

    def copy_over(self, path):
        """Replace something by its like, times and all, so that only its inode tells."""
        if path in self.names and self.at(path).kind is not Kind.DIR:
            i = self.at(path)
            self.place(path, i.kind, i.mode, data=i.data, uid=i.uid, gid=i.gid, xattrs=i.xattrs, mtime=i.mtime)

    def mkdir(self, path):
        self._make_room(path)
        if not self.is_dir(path):
            self._clear(path)
            self.place(path, Kind.DIR, 0o755)

    def symlink(self, path, target):
        self._clear(path)
        self.place(path, Kind.LINK, 0o777, data=target)

    def fifo(self, path):
        self._clear(path)
        self.place(path, Kind.FIFO, 0o600)

    def hard_link(self, source, path):
        if source in self.names and self.at(source).kind is not Kind.DIR and not source.startswith(path + b"/"):
            if path in self.names and self.names[path] == self.names[source]:
                return
            if not path.startswith(source + b"/"):
                self._clear(path)
                self.link(source, path)

    def move(self, source, path):
        if source not in self.names or path == source or path.startswith(source + b"/"):
            return
        if not source.startswith(path + b"/"):
            self._clear(path)
            self.rename(source, path)

    def remove(self, path):
        for name in reversed([path, *self.below(path)]):
            if name in self.names:
                self.unlink(name)

    def change(self, path, **changed):
        if path in self.names:
            if self.at(path).kind is Kind.LINK:
                changed.pop("mode", None)
                changed.pop("xattrs", None)
            self.alter(path, **changed)

    def _clear(self, path):
        self._make_room(path)
        self.remove(path)

    def _make_room(self, path):
        for above in ancestors(path):
            if not self.is_dir(above):
                self.remove(above)
                self.place(above, Kind.DIR, 0o755)


# What sync does with a directory, without bytes.


@dataclass(frozen=True)
class Look:
    scan_join: object
    nodes: dict
    entries: list
    prints: dict
    began: int


def look(disk, known, clean_before, *, privileged=True):
    """Find what differs from what is remembered; entries are completed as packing does."""
    scan_join, fresh, nodes = ScanJoin(), [], {}
    for found in join_scan(known, disk.scan(), clean_before, scan_join):
        old, _ = scan_join.replaced.get(found.path, (None, None))
        node = node_to_record(old, found.fingerprint, disk.node(found.path, with_content=False), privileged=privileged)
        fresh.append(StateRow(found.path, node, None, found.fingerprint))
        if old is not None:
            nodes[found.path] = node
    for old, found in scan_join.suspects:
        seen = disk.node(found.path)
        if seen.sha256 != old.node.sha256:
            seen = seen._replace(sha256=b"")
        nodes[old.path] = node_to_record(old, found.fingerprint, seen, privileged=privileged)
    found = diff(scan_join, fresh, nodes)
    entries = [_completed(disk, entry) for entry in found]
    assert len(entries) == len(found)
    prints = {entry.path: disk.print(entry.path) for entry in entries if isinstance(entry, Write)}
    return Look(scan_join, nodes, entries, prints, disk.now)


def _completed(disk, entry):
    if not isinstance(entry, Write | Context) or entry.node.kind is not Kind.FILE:
        return entry
    content = disk.node(entry.path)
    return entry._replace(node=entry.node._replace(size=content.size, sha256=content.sha256))


def after_push(known, seen, version):
    """What is remembered once the entries of a look are published."""
    written = [
        StateRow(entry.path, entry.node, version, seen.prints[entry.path])
        for entry in seen.entries
        if isinstance(entry, Write)
    ]
    return list(state_after_push(known, seen.scan_join, seen.nodes, written))


def tree_of(rows):
    """The tree that a full directory's rows describe."""
    return [
        TreeEntry(row.path, row.node, row.version, f"layer {row.version}", number, row.group or None)
        for number, row in enumerate(rows)
    ]


def pull(disk, known, tree, contents, selected=everything):
    """Make the disk the tree by the steps of a plan; return what is remembered."""
    steps = plan_pull(known, tree, selected)
    prints = _take(disk, steps, contents)
    return list(FingerprintTable(len(steps.rows), {**steps.fingerprints, **prints}).applied_to(steps.rows))


def _take(disk, steps, contents):
    for path, kind in steps.remove:
        assert disk.at(path).kind is kind
        disk.unlink(path)
    for entry in steps.directories:
        if not disk.is_dir(entry.path):
            disk.place(entry.path, Kind.DIR, 0o700)
    touched = []
    for layer, files in steps.fetch.items():
        entries = in_order(files)
        assert [entry.offset for entry in entries] == sorted(entry.offset for entry in entries)
        for entry in entries:
            assert entry.layer == layer
            assert entry.node.kind is Kind.FILE
            disk.place(entry.path, Kind.FILE, 0, data=contents[entry.node.sha256])
            dress(disk, entry)
            touched.append(entry.path)
    for entry in steps.make:
        assert entry.node.kind not in (Kind.FILE, Kind.DIR)
        disk.place(entry.path, entry.node.kind, 0, data=entry.node.target)
        dress(disk, entry)
        touched.append(entry.path)
    for entry, to in steps.link:
        disk.link(to, entry.path)
        touched.extend((entry.path, to))
    for entry in steps.attributes:
        assert disk.at(entry.path).kind is entry.node.kind
        dress(disk, entry)
        touched.append(entry.path)
    for entry in reversed(steps.directories):
        dress(disk, entry)
        touched.append(entry.path)
    return {path: disk.print(path) for path in touched}


def in_order(files):
    """The files of a plan that one layer has, in the order of their places."""
    return [files.entry(number) for numbers in files.rounds() for number in numbers]


def dress(disk, entry):
    node = entry.node
    disk.alter(entry.path, mode=node.mode, uid=node.uid, gid=node.gid, mtime=node.mtime, xattrs=node.xattrs)


def version(number):
    return Version(number, f"{number:064x}")
