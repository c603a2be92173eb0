"""Random edits of a directory on disk, as a task might make them: everything follows from the given randomness."""

from __future__ import annotations

import os
import random
import shutil
import stat

NAMES = [b"a", b"b", b"a.b", b"a-", b"c\n", b"\xffd"]
DEPTH = 3


class Editor:
    """Edits the directory `top`. `log` says what was done, for whoever must understand a failure."""

    def __init__(self, top: bytes, chance: random.Random) -> None:
        self.top = top
        self.chance = chance
        self.log: list[tuple[object, ...]] = []

    def edit(self, times: int) -> None:
        """Do so many random things; what cannot be done is skipped."""
        acts = [
            *(self.write, self.write, self.write, self.directory, self.directory, self.link, self.hard_link),
            *(self.hard_link, self.fifo, self.remove, self.rename, self.rename, self.mode, self.touch),
            *(self.attribute, self.rewrite, self.break_link),
        ]
        for _ in range(times):
            act = self.chance.choice(acts)
            try:
                act()
            except OSError as error:
                self.log.append(("refused", act.__name__, error.strerror))

    def paths(self) -> list[bytes]:
        """Return everything that stands there."""
        found = []
        for above, directories, files in os.walk(self.top):
            found += [os.path.join(above, name) for name in (*directories, *files)]
        return sorted(found)

    def _old(self, *kinds: int) -> bytes:
        fitting = [path for path in self.paths() if not kinds or stat.S_IFMT(os.lstat(path).st_mode) in kinds]
        if not fitting:
            raise FileNotFoundError(2, "nothing of that kind")
        return self.chance.choice(fitting)

    def _new(self) -> bytes:
        """Return where to put something: a random place, cleared of what stood there half of the time."""
        above = [self.top] + [path for path in self.paths() if os.path.isdir(path) and not os.path.islink(path)]
        above = [path for path in above if path[len(self.top) :].count(b"/") < DEPTH]
        place = os.path.join(self.chance.choice(above), self.chance.choice(NAMES))
        if self.chance.random() < 0.5:
            self._clear(place)
        return place

    def _clear(self, place: bytes) -> None:
        if os.path.isdir(place) and not os.path.islink(place):
            shutil.rmtree(place)
        elif os.path.lexists(place):
            os.unlink(place)

    def _content(self) -> bytes:
        return self.chance.choice([b"", b"x", b"y", self.chance.randbytes(self.chance.choice([1, 2, 600, 5000]))])

    def write(self) -> None:
        place, content = self._new(), self._content()
        self.log.append(("write", place, len(content)))
        with open(place, "xb") as file:
            file.write(content)

    def rewrite(self) -> None:
        place, content = self._old(stat.S_IFREG), self._content()
        self.log.append(("rewrite", place, len(content)))
        with open(place, "wb") as file:
            file.write(content)

    def directory(self) -> None:
        place = self._new()
        self.log.append(("mkdir", place))
        os.mkdir(place)

    def link(self) -> None:
        place = self._new()
        self.log.append(("symlink", place))
        os.symlink(self.chance.choice(NAMES), place)

    def hard_link(self) -> None:
        old, place = self._old(stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO), self._new()
        self.log.append(("link", old, place))
        os.link(old, place, follow_symlinks=False)

    def fifo(self) -> None:
        place = self._new()
        self.log.append(("mkfifo", place))
        os.mkfifo(place)

    def remove(self) -> None:
        place = self._old()
        self.log.append(("remove", place))
        self._clear(place)

    def rename(self) -> None:
        old, place = self._old(), self._new()
        self.log.append(("rename", old, place))
        os.rename(old, place)

    def mode(self) -> None:
        place = self._old(stat.S_IFREG, stat.S_IFDIR, stat.S_IFIFO)
        self.log.append(("chmod", place))
        os.chmod(place, self.chance.choice([0o644, 0o755, 0o700, 0o2775, 0o4711]))

    def touch(self) -> None:
        place = self._old(stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO)
        self.log.append(("touch", place))
        os.utime(place, ns=(0, self.chance.randrange(-(10**18), 2 * 10**18)), follow_symlinks=False)

    def attribute(self) -> None:
        place = self._old(stat.S_IFREG, stat.S_IFDIR)
        self.log.append(("setxattr", place))
        os.setxattr(place, self.chance.choice([b"user.a", b"user.b"]), self.chance.choice([b"", b"1", b"2"]))

    def break_link(self) -> None:
        place = self._old(stat.S_IFREG)
        self.log.append(("copy and rename", place))
        shutil.copy2(place, place + b"~")
        os.rename(place + b"~", place)
