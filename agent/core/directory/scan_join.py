"""Where a directory may differ from what is remembered of it: the two read side by side (design, "State and scan")."""

from __future__ import annotations

import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from agent.core.directory.state_row import Found, Known
from agent.core.merge.path_order import PathStack, join
from agent.core.model.entry import kind_of
from agent.core.spelling.path import parent

_FORMAT = 0o170000


@dataclass(slots=True)
class Sifted:
    """Where the disk may differ from what is remembered, but for what is fresh, which may be a million paths.

    Attributes:
        gone: what is remembered, was on disk and is no longer.
        suspects: what stands at both, of one kind, with another fingerprint or a racily clean one.
        replaced: what is remembered at a fresh path, and that path, by path.
        kept: what is remembered and still stands, if it is or was one of several names of a file, or is a directory
            above something that is gone, fresh, suspect, or such a name.
        entered: directories of `kept` that hold something fresh.
        names: the names on disk of each file that has several, by inode.
        partners: the names remembered of each link group, by group.
        unpulled: the groups, 0 for none, of what was not pulled and is not on disk.
        total: how many paths were found.
        standing: how many remembered paths still stand.
        asked: of a part, directories above its start that belong to `kept`, if they are remembered and stand.
        open: of a part, what is remembered and stands of directories that the next part may begin in.
    """

    gone: list[Known] = field(default_factory=list)
    suspects: list[tuple[Known, Found]] = field(default_factory=list)
    replaced: dict[bytes, tuple[Known, Found]] = field(default_factory=dict)
    kept: dict[bytes, tuple[Known, Found]] = field(default_factory=dict)
    entered: set[bytes] = field(default_factory=set)
    names: dict[int, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    partners: dict[int, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    unpulled: set[int] = field(default_factory=set)
    total: int = 0
    standing: int = 0
    asked: set[bytes] = field(default_factory=set)
    open: dict[bytes, tuple[Known, Found]] = field(default_factory=dict)


def sift(
    known: Iterable[Known], found: Iterable[Found], clean_before: int, sifted: Sifted, start: bytes = b""
) -> Iterator[Found]:
    """Join what is remembered with a scan, both in bytes order of paths.

    Yields what is fresh: found where nothing was remembered or pulled, or something of another kind.

    Args:
        clean_before: a fingerprint whose ctime (ns) is not before this is racy: the path may have changed
            within the same tick of the file system's clock.
        sifted: takes everything else; complete at the end.
        start: of a part, the path that nothing in it lies before; `united` puts parts together.
    """
    above = _Above(sifted, start)
    names, total, standing = sifted.names, 0, 0
    for old, new in join(known, found):
        if new is None:
            assert old is not None
            _miss(old, sifted, above)
            continue
        path, now, nlink, _ = new
        is_dir = now[2] & _FORMAT == stat.S_IFDIR
        total += 1
        if nlink > 1 and not is_dir:
            names[now.ino].append(path)
        if old is None:
            above.enter(path)
            yield new
            continue
        _, node, _, was, group = old
        if group:
            sifted.partners[group].append(path)
        is_same = was == now  # and so of one kind
        if not is_same and (was is None or node.kind is not kind_of(now.mode)):
            sifted.replaced[path] = (old, new)
            above.enter(path)
            yield new
            continue
        standing += 1
        if is_dir:
            above.open(old, new)
        elif group or nlink > 1:
            sifted.kept[path] = (old, new)
            above.keep(path)
        if not is_same or now[6] >= clean_before:
            sifted.suspects.append((old, new))
            above.keep(path)
    sifted.total, sifted.standing = total, standing
    above.finish()


def united(parts: Iterable[Sifted]) -> Sifted:
    """Return what sifting a whole would have found, from what sifting its parts did; in order, each up to the next."""
    whole = Sifted()
    for part in parts:
        whole.gone += part.gone
        whole.suspects += part.suspects
        whole.replaced |= part.replaced
        whole.kept |= part.kept
        whole.kept |= {path: whole.open[path] for path in part.asked & whole.open.keys()}
        whole.entered |= part.entered
        for inode, names in part.names.items():
            whole.names[inode] += names
        for group, paths in part.partners.items():
            whole.partners[group] += paths
        whole.unpulled |= part.unpulled
        whole.total += part.total
        whole.standing += part.standing
        whole.open |= part.open
    whole.entered &= whole.kept.keys()
    return whole


def _miss(old: Known, sifted: Sifted, above: _Above) -> None:
    """Note what is remembered and not on the disk."""
    if old.group:
        sifted.partners[old.group].append(old.path)
    if old.print is not None:
        sifted.gone.append(old)
        above.keep(old.path)
    else:
        sifted.unpulled.add(old.group)


class _Above:
    """The standing directories that the next path may lie below, while going through paths in bytes order.

    For directories opened before this part only the path is known.
    """

    def __init__(self, sifted: Sifted, start: bytes) -> None:
        self._sifted = sifted
        self._open: PathStack[tuple[bytes, tuple[Known, Found] | None]] = PathStack()
        # A directory is open from "d" up to "d0": above "d/x", but at "d-x", too, before what lies below it.
        for end in range(1, len(start)):
            if start[end] < ord("0"):
                self._open.push(start[:end], (start[:end], None))
        self._kept = self._entered = b""

    def open(self, old: Known, new: Found) -> None:
        """Add a directory."""
        self._open.push(old.path, (old.path, (old, new)))

    def keep(self, path: bytes) -> None:
        """Keep every directory above a path."""
        directory = parent(path)
        if directory != self._kept:
            self._kept = directory
            for above, pair in self._open.above(path):
                if pair is None:
                    self._sifted.asked.add(above)
                else:
                    self._sifted.kept[above] = pair

    def enter(self, path: bytes) -> None:
        """Likewise, for one that is fresh."""
        if self._open:
            directory = parent(path)
            if directory != self._entered:
                self._entered = directory
                self.keep(path)
                if directory in self._sifted.kept or directory in self._sifted.asked:
                    self._sifted.entered.add(directory)

    def finish(self) -> None:
        """Say what is open at the end."""
        self._sifted.open.update((path, pair) for _, _, (path, pair) in self._open if pair)
