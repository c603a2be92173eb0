"""A tree as a value beside the same tree on disk: every edit is done to both, so that either can convict the other."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
from dataclasses import dataclass, field

from tests.fakes.trees import Tree

NAMES = (b"a", b"b", b"c.d", b"e ", b"f\n", b"\xff\xfe", "\u00e4".encode(), b"-g", b"h" * 120)
DIR_MODES = (0o755, 0o700, 0o2775, 0o1777)
DEPTH = 4
ROOM = 150
"""Paths: from here on, more is removed than made."""
SPARSE = 4
"""Sparse files at a time: the reference holds their zeros in memory, which the agent's own is measured beside."""
_BLOCK = 64 << 10  # what `tests.fakes.trees` counts holes in
KEPT = b"kept"
"""A file that is never removed: a workspace whose every path is gone is not pushed without being told."""


@dataclass(slots=True)
class Inode:
    """`content` is a file's, or a link's target."""

    kind: int
    mode: int
    mtime: int = 0
    content: bytes = b""
    xattrs: dict[str, bytes] = field(default_factory=dict)


class Reference:
    """What the directory `top` should hold. Hard links are one `Inode` at several paths.

    Args:
        top: an empty directory. `move` says where the same tree is from then on.
    """

    def __init__(self, top: bytes, chance: random.Random) -> None:
        self.top = top
        self.chance = chance
        self.paths: dict[bytes, Inode] = {}
        self.log: list[tuple[object, ...]] = []
        self._put_file(KEPT)

    def move(self, top: bytes) -> None:
        """Edit another directory, one that holds the same."""
        self.top = top
        self.log.clear()

    def rows(self) -> Tree:
        """Return what `snapshot(top, owners=False, directory_mtimes=False)` should."""
        names: dict[int, list[bytes]] = {}
        for path, inode in sorted(self.paths.items()):
            names.setdefault(id(inode), []).append(path)
        return {path: _row(inode, names[id(inode)]) for path, inode in self.paths.items()}

    def edit(self, times: int) -> None:
        """Do so many random things."""
        making = [self.write, self.write, self.sparse, self.directory, self.link, self.fifo, self.hard_link]
        changing = [self.rewrite, self.save, self.append, self.cut, self.rename, self.mode, self.touch]
        changing += [self.attribute, self.retype, self.copy_over]
        for _ in range(times):
            full = len(self.paths) >= ROOM
            acts = [*changing, *([self.remove] * 12 if full else [*making, self.remove])]
            act = self.chance.choice(acts)
            self.log.append((act.__name__, *(act() or ())))

    # Edits. Each returns what it was done to, for whoever must understand a failure.

    def write(self) -> tuple[object, ...]:
        path = self._free()
        self._put_file(path)
        return (path,)

    def sparse(self) -> tuple[object, ...]:
        if sum(len(inode.content) >= 1 << 20 for inode in self.paths.values()) >= SPARSE:
            return ()
        path = self._free()
        size, at = self.chance.choice([(1 << 20, 0), (3 << 20, 2 << 20), ((1 << 20) + 7, 1 << 20)])
        data = self.chance.randbytes(7)
        with open(self._at(path), "xb") as file:
            file.truncate(size)
            os.pwrite(file.fileno(), data, at)
        content = bytes(at) + data + bytes(size - at - len(data))
        self.paths[path] = Inode(stat.S_IFREG, self._dress(path), self._time(path), content)
        return path, size

    def directory(self) -> tuple[object, ...]:
        path = self._free()
        os.mkdir(self._at(path))
        self.paths[path] = Inode(stat.S_IFDIR, self._dress(path, DIR_MODES))
        return (path,)

    def link(self) -> tuple[object, ...]:
        path, target = self._free(), self.chance.choice(NAMES)
        os.symlink(target, self._at(path))
        self.paths[path] = Inode(stat.S_IFLNK, 0o777, self._time(path), target)
        return path, target

    def fifo(self) -> tuple[object, ...]:
        path = self._free()
        os.mkfifo(self._at(path))
        self.paths[path] = Inode(stat.S_IFIFO, self._dress(path), self._time(path))
        return (path,)

    def hard_link(self) -> tuple[object, ...]:
        old = self._old(stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO)
        path = self._free()
        if not old:
            return ()
        os.link(self._at(old), self._at(path), follow_symlinks=False)
        self.paths[path] = self.paths[old]
        return old, path

    def rewrite(self) -> tuple[object, ...]:
        """Write in place: every name of the file has it then."""
        path = self._old(stat.S_IFREG)
        self._fill(path, "wb", self._content(path))
        return (path,)

    def append(self) -> tuple[object, ...]:
        path = self._old(stat.S_IFREG)
        more = self.chance.randbytes(self.chance.randrange(1, 40))
        self._fill(path, "ab", more, self.paths[path].content + more)
        return (path,)

    def cut(self) -> tuple[object, ...]:
        path = self._old(stat.S_IFREG)
        inode = self.paths[path]
        size = self.chance.randrange(len(inode.content) + 1)
        os.truncate(self._at(path), size)
        inode.content, inode.mode, inode.mtime = inode.content[:size], self._dress(path), self._time(path)
        return path, size

    def save(self) -> tuple[object, ...]:
        """Replace a file by another, as editors do: its other names keep the old one."""
        path = self._old(stat.S_IFREG)
        os.unlink(self._at(path))
        self._put_file(path)
        return (path,)

    def copy_over(self) -> tuple[object, ...]:
        """Break a hard link: the same content and times, another file."""
        path = self._old(stat.S_IFREG)
        shutil.copy2(self._at(path), self._at(path) + b"~")
        os.rename(self._at(path) + b"~", self._at(path))
        old = self.paths[path]
        self.paths[path] = Inode(old.kind, old.mode, old.mtime, old.content, dict(old.xattrs))
        return (path,)

    def rename(self) -> tuple[object, ...]:
        old = self._old()
        path = self._free(outside=old)
        if old == KEPT:
            return ()
        os.rename(self._at(old), self._at(path))
        for moved in [moved for moved in self.paths if moved == old or moved.startswith(old + b"/")]:
            self.paths[path + moved[len(old) :]] = self.paths.pop(moved)
        return old, path

    def mode(self) -> tuple[object, ...]:
        path = self._old(stat.S_IFREG, stat.S_IFDIR, stat.S_IFIFO)
        is_dir = self.paths[path].kind == stat.S_IFDIR
        self.paths[path].mode = self._dress(path, DIR_MODES) if is_dir else self._dress(path)
        return (path,)

    def touch(self) -> tuple[object, ...]:
        path = self._old(stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO)
        self.paths[path].mtime = self._time(path)
        return (path,)

    def attribute(self) -> tuple[object, ...]:
        path, name = self._old(stat.S_IFREG, stat.S_IFDIR), self.chance.choice(["user.a", "user.b"])
        xattrs = self.paths[path].xattrs
        if name in xattrs and self.chance.random() < 0.5:
            os.removexattr(self._at(path), name)
            del xattrs[name]
        else:
            xattrs[name] = self.chance.randbytes(self.chance.choice([0, 1, 9]))
            os.setxattr(self._at(path), name, xattrs[name])
        return path, name

    def retype(self) -> tuple[object, ...]:
        """Put something of another kind in the place of what stands there."""
        path = self._old()
        if path == KEPT:
            return ()
        before = self.paths[path].kind
        self._remove(path)
        if before == stat.S_IFDIR:
            self._put_file(path)
            return path, "file"
        os.mkdir(self._at(path))
        self.paths[path] = Inode(stat.S_IFDIR, self._dress(path, (0o755,)))
        self._put_file(path + b"/in")
        return path, "directory"

    def remove(self) -> tuple[object, ...]:
        path = self._old()
        if path != KEPT:
            self._remove(path)
        return (path,)

    # What follows is how.

    def _at(self, path: bytes) -> bytes:
        return self.top + b"/" + path

    def _old(self, *kinds: int) -> bytes:
        """Return some path, of one of these kinds; there is always a file."""
        fitting = sorted(path for path, inode in self.paths.items() if not kinds or inode.kind in kinds)
        return self.chance.choice(fitting) if fitting else KEPT

    def _free(self, outside: bytes = b"") -> bytes:
        """Return a path at which nothing stands, not below `outside`."""
        above = [b"", *sorted(path for path, inode in self.paths.items() if inode.kind == stat.S_IFDIR)]
        above = [path for path in above if path.count(b"/") < DEPTH - 1 and path != outside]
        above = [path for path in above if not outside or not path.startswith(outside + b"/")]
        place = self.chance.choice(above or [b""])
        path = place + b"/" * bool(place) + self.chance.choice(NAMES)
        while path in self.paths or path == outside:
            path += b"%d" % self.chance.randrange(10)
        return path

    def _content(self, path: bytes) -> bytes:
        """Return a content; one in four is as long as what stands there."""
        old = self.paths.get(path)
        if old is not None and self.chance.random() < 0.25 and len(old.content) < _BLOCK:
            return self.chance.randbytes(len(old.content))
        return self.chance.choice([b"", b"x", b"y", self.chance.randbytes(self.chance.choice([1, 3, 700, 9000]))])

    def _put_file(self, path: bytes) -> None:
        content = self._content(path)
        with open(self._at(path), "xb") as file:
            file.write(content)
        self.paths[path] = Inode(stat.S_IFREG, self._dress(path), self._time(path), content)

    def _fill(self, path: bytes, how: str, data: bytes, content: bytes | None = None) -> None:
        with open(self._at(path), how) as file:
            file.write(data)
        inode = self.paths[path]
        inode.content = data if content is None else content
        # What the system drops from a file that is written to by somebody else than root.
        inode.mode = self._dress(path)
        inode.mtime = self._time(path)

    def _dress(self, path: bytes, modes: tuple[int, ...] = (0o644, 0o755, 0o600, 0o4711)) -> int:
        mode = self.chance.choice(modes)
        os.chmod(self._at(path), mode)
        return mode

    def _time(self, path: bytes) -> int:
        ns = self.chance.choice([0, 1, self.chance.randrange(-(10**18), 2 * 10**18), 1_700_000_000_000_000_000])
        os.utime(self._at(path), ns=(0, ns), follow_symlinks=False)
        return ns

    def _remove(self, path: bytes) -> None:
        if self.paths[path].kind == stat.S_IFDIR:
            shutil.rmtree(self._at(path))
        else:
            os.unlink(self._at(path))
        for gone in [gone for gone in self.paths if gone == path or gone.startswith(path + b"/")]:
            del self.paths[gone]


def _row(inode: Inode, names: list[bytes]) -> tuple[object, ...]:
    is_file, is_dir = inode.kind == stat.S_IFREG, inode.kind == stat.S_IFDIR
    content: object = None
    if is_file:
        content = (len(inode.content), _digest(inode.content))
    elif inode.kind == stat.S_IFLNK:
        content = inode.content
    elif not is_dir:
        content = 0  # a FIFO's device number
    linked = tuple(names) if len(names) > 1 else ()
    return (
        stat.filemode(inode.kind | inode.mode),
        (),
        None if is_dir else inode.mtime,
        content,
        tuple(sorted(inode.xattrs.items())),
        linked,
    )


def _digest(content: bytes) -> str:
    digest = hashlib.sha256()
    for at in range(0, len(content), _BLOCK):
        block = content[at : at + _BLOCK]
        if block.strip(b"\0"):
            digest.update(b"%d:" % at + block)
    return digest.hexdigest()
