"""Join a state with a scan, to find where the directory may have changed (design, "State and scan")."""

from __future__ import annotations

import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from agent.core.directory.state_row import ScannedPath, StateRow
from agent.core.merge.path_order import PathStack, join
from agent.core.model.entry import kind_of
from agent.core.spelling.path import parent

_FORMAT = 0o170000


@dataclass(slots=True)
class ScanJoin:
    """The paths where the disk may differ from the state. Fresh paths are not here: there may be a million of them.

    Attributes:
        gone: rows of the state that were on the disk and are there no longer.
        suspects: paths in both, of one kind, with another fingerprint or a racily clean one.
        replaced: by fresh path, the row of the state at it and the path of the scan.
        context: paths in both, if they are or were one of several names of a file, or are directories above
            something that is gone, fresh, suspect, or such a name.
        entered: directories of `context` that hold something fresh.
        names: the names on the disk of each file that has several, by inode.
        group_paths: the names in the state of each link group, by group.
        unpulled: the groups, 0 for none, of paths that were not pulled and are not on the disk.
        total: the number of paths in the scan.
        present: the number of paths in both.
        context_above: of a part, directories above its start that belong to `context` if they are in both.
        open_directories: of a part, directories in both in which the next part may begin.
    """

    gone: list[StateRow] = field(default_factory=list)
    suspects: list[tuple[StateRow, ScannedPath]] = field(default_factory=list)
    replaced: dict[bytes, tuple[StateRow, ScannedPath]] = field(default_factory=dict)
    context: dict[bytes, tuple[StateRow, ScannedPath]] = field(default_factory=dict)
    entered: set[bytes] = field(default_factory=set)
    names: dict[int, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    group_paths: dict[int, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    unpulled: set[int] = field(default_factory=set)
    total: int = 0
    present: int = 0
    context_above: set[bytes] = field(default_factory=set)
    open_directories: dict[bytes, tuple[StateRow, ScannedPath]] = field(default_factory=dict)


def join_scan(
    rows: Iterable[StateRow], found: Iterable[ScannedPath], clean_before: int, joined: ScanJoin, start: bytes = b""
) -> Iterator[ScannedPath]:
    """Join a state with a scan, both in bytes order of paths, and yield the fresh paths.

    A path is fresh if the state has no row for it, one that was not pulled, or one of another kind.

    Args:
        clean_before: a fingerprint whose ctime (ns) is not before this is racy: the path may have changed
            within the same tick of the file system's clock.
        joined: gets everything else; complete at the end.
        start: of a part, the path that nothing in it lies before; `combine_parts` puts parts together.
    """
    above = _Above(joined, start)
    names, total, present = joined.names, 0, 0
    for old, new in join(rows, found):
        if new is None:
            assert old is not None
            _miss(old, joined, above)
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
            joined.group_paths[group].append(path)
        is_same = was == now  # and so of one kind
        if not is_same and (was is None or node.kind is not kind_of(now.mode)):
            joined.replaced[path] = (old, new)
            above.enter(path)
            yield new
            continue
        present += 1
        if is_dir:
            above.open(old, new)
        elif group or nlink > 1:
            joined.context[path] = (old, new)
            above.add_context(path)
        if not is_same or now[6] >= clean_before:
            joined.suspects.append((old, new))
            above.add_context(path)
    joined.total, joined.present = total, present
    above.finish()


def combine_parts(parts: Iterable[ScanJoin]) -> ScanJoin:
    """Return one join for a whole directory. The parts are in order, and each ends where the next begins."""
    whole = ScanJoin()
    for part in parts:
        whole.gone += part.gone
        whole.suspects += part.suspects
        whole.replaced |= part.replaced
        whole.context |= part.context
        whole.context |= {
            path: whole.open_directories[path] for path in part.context_above & whole.open_directories.keys()
        }
        whole.entered |= part.entered
        for inode, names in part.names.items():
            whole.names[inode] += names
        for group, paths in part.group_paths.items():
            whole.group_paths[group] += paths
        whole.unpulled |= part.unpulled
        whole.total += part.total
        whole.present += part.present
        whole.open_directories |= part.open_directories
    whole.entered &= whole.context.keys()
    return whole


def _miss(old: StateRow, joined: ScanJoin, above: _Above) -> None:
    """Note a row of the state that is not on the disk."""
    if old.group:
        joined.group_paths[old.group].append(old.path)
    if old.fingerprint is not None:
        joined.gone.append(old)
        above.add_context(old.path)
    else:
        joined.unpulled.add(old.group)


class _Above:
    """The directories in both that the next path may lie below, while paths pass in bytes order.

    For directories opened before this part only the path is known.
    """

    def __init__(self, joined: ScanJoin, start: bytes) -> None:
        self._joined = joined
        self._open: PathStack[tuple[bytes, tuple[StateRow, ScannedPath] | None]] = PathStack()
        # A directory is open from "d" up to "d0": above "d/x", but at "d-x", too, before what lies below it.
        for end in range(1, len(start)):
            if start[end] < ord("0"):
                self._open.push(start[:end], (start[:end], None))
        self._context_done = self._entered = b""

    def open(self, old: StateRow, new: ScannedPath) -> None:
        """Add a directory."""
        self._open.push(old.path, (old.path, (old, new)))

    def add_context(self, path: bytes) -> None:
        """Add every directory above a path to the context."""
        directory = parent(path)
        if directory != self._context_done:
            self._context_done = directory
            for above, pair in self._open.above(path):
                if pair is None:
                    self._joined.context_above.add(above)
                else:
                    self._joined.context[above] = pair

    def enter(self, path: bytes) -> None:
        """As `add_context`, for a fresh path."""
        if self._open:
            directory = parent(path)
            if directory != self._entered:
                self._entered = directory
                self.add_context(path)
                if directory in self._joined.context or directory in self._joined.context_above:
                    self._joined.entered.add(directory)

    def finish(self) -> None:
        """Note the directories that are open at the end."""
        self._joined.open_directories.update((path, pair) for _, _, (path, pair) in self._open if pair)
