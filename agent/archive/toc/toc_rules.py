"""The rules between the entries of one table of contents, which writer and reader both check, entry by entry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias, TypeGuard

from agent.archive.stream.limits import damaged
from agent.archive.tar.tar_header import BLOCK, padded
from agent.core.merge.path_order import PathStack
from agent.core.model.change import Claim, Kept, Listed, SquashEntry, Tombstone, squash_order
from agent.core.model.entry import Context, Delete, Kind, Node, TocEntry, Touch, Write
from agent.core.spelling.path import show
from agent.errors import IntegrityError

_DIR = Kind.DIR
_FILE = Kind.FILE
_RANKS: dict[type[TocEntry], int] = {Delete: 0, Context: 1, Write: 2, Touch: 3}

InTar: TypeAlias = Write | Context | Kept | Listed
"""Entries that the tar has, too; a listing only if it is placed."""


def is_in_tar(entry: TocEntry | SquashEntry) -> TypeGuard[InTar]:
    """Return whether the tar has an entry for this one."""
    return isinstance(entry, (Write, Context, Kept)) or (isinstance(entry, Listed) and entry.placed)


def group_of(entry: InTar) -> int:
    """Return the number of an entry's link group, 0 for none."""
    return 0 if isinstance(entry, Listed) else entry.group


class TocRules:
    """Takes the entries of a table of contents in their order and refuses those that break a rule.

    - paths in bytes order, at one path deletion, context, write, touch, each once; never two entries of one tar path;
    - every directory above a tar entry is one itself, earlier;
    - no tar entry and whiteout of one name;
    - link groups are numbered 1, 2, … by first appearance, hold no directory, and agree in every attribute;
    - places in the tar grow, with room for header and content.

    Args:
        whiteouts: the layer's whiteouts, in bytes order.
    """

    def __init__(self, whiteouts: Iterator[bytes]) -> None:
        self._whiteouts = whiteouts
        self._whiteout = next(whiteouts, None)
        self._path = b""
        self._rank = -1
        self._parent = b""
        self._open: PathStack[bytes] = PathStack()
        self._groups: dict[int, tuple[bytes, Node]] = {}
        self._end = 0

    def admits_plain(self, entry: TocEntry, end: int) -> bool:
        """Check the next entry in the fast way, if it is a plain one; False if `admit` and `place` must check it.

        That is the write of a file with one name, in the directory of the entry before, while no whiteout is left.

        Args:
            end: where the tar's entries end.
        """
        if type(entry) is not Write:
            return False
        path, node, _, offset, group = entry
        if path <= self._path or not self._is_plain(path, node, offset, group, end):
            return False
        self._path, self._rank = path, 2
        return True

    def _is_plain(self, path: bytes, node: Node, offset: int, group: int, end: int) -> bool:
        if (
            group
            or node[0] is not _FILE
            or self._whiteout is not None
            or not self._end <= offset < end
            or path.rpartition(b"/")[0] != self._parent
        ):
            return False
        self._end = offset + BLOCK + (node[5] + BLOCK - 1 & -BLOCK)
        return True

    def admit(self, entry: TocEntry) -> bytes | None:
        """Check the next entry, and return the path that it is a hard link to, if it is one.

        Raises:
            IntegrityError: it breaks a rule.
        """
        path, rank = entry[0], _RANKS[type(entry)]
        if path <= self._path and (path != self._path or rank <= self._rank or (rank == 2 and self._rank == 1)):
            raise _broken("its entries are not in order", path)
        self._path, self._rank = path, rank
        if self._whiteout is not None and self._whiteout < path:
            self._skip_to(path)
        return self._admit_placed(path, entry[1], entry[4]) if isinstance(entry, (Write, Context)) else None

    def _skip_to(self, path: bytes) -> None:
        while self._whiteout is not None and self._whiteout < path:
            self._whiteout = next(self._whiteouts, None)

    def has_whiteout(self, path: bytes) -> bool:
        """Say whether the last admitted path has a whiteout."""
        return self._whiteout == path

    def place(self, path: bytes, node: Node, offset: int, linked: bool) -> None:
        """Check where the last admitted entry lies in the tar.

        Raises:
            IntegrityError: it overlaps the one before.
        """
        if offset < self._end:
            raise _broken("its entries overlap", path)
        self._end = offset + BLOCK + (0 if linked else padded(node.size))

    def _admit_placed(self, path: bytes, node: Node, group: int) -> bytes | None:
        parent = path.rpartition(b"/")[0]
        if parent != self._parent:
            self._enter(parent, path)
        if node.kind is _DIR:
            self._open.push(path, path)
        if self._whiteout == path:
            raise _broken("it holds an entry and a whiteout of one name", path)
        return self._admit_link(path, node, group) if group else None

    def _enter(self, parent: bytes, path: bytes) -> None:
        if parent and parent not in self._open.above(path):
            raise _broken("it lacks the directory above an entry", path)
        self._parent = parent

    def _admit_link(self, path: bytes, node: Node, group: int) -> bytes | None:
        first = self._groups.get(group)
        if node.kind is _DIR:
            raise _broken("a link group holds a directory", path)
        if first is None:
            if group != len(self._groups) + 1:
                raise _broken("its link groups are not numbered in order", path)
            self._groups[group] = path, node
            return None
        if first[1] != node:
            raise _broken("two names of a link group differ", path)
        return first[0]


class SquashRules(TocRules):
    """As `TocRules` for a squash, whose order is `squash_order`; at one path

    - a file's and a directory's register have one largest version each: kept, or a tombstone;
    - there is one listing, which lies in the tar only if nothing is kept;
    - nothing is claimed twice by one change.
    """

    def __init__(self, whiteouts: Iterator[bytes]) -> None:
        super().__init__(whiteouts)
        self._last: SquashEntry | None = None
        self._registers: set[bool] = set()
        self._listing: Listed | None = None

    def admits_plain_squashed(self, entry: SquashEntry, end: int) -> bool:
        """As `admits_plain`: a file that is kept, then what the one change that wrote it claims there."""
        last = self._last
        if last is None:
            return False
        if type(entry) is Claim:
            if type(last) is not Kept or last.path != entry.path:
                return False
        elif type(entry) is Kept:
            path, node, _, offset, group = entry
            if path <= last.path or not self._is_plain(path, node, offset, group, end):
                return False
            self._registers = {False}
            self._listing = None
        else:
            return False
        self._last = entry
        return True

    def admit_squashed(self, entry: SquashEntry) -> bytes | None:
        """Check the next entry, and return the path that it is a hard link to, if it is one.

        Raises:
            IntegrityError: it breaks a rule.
        """
        last, path = self._last, entry.path
        if last is None or last.path != path:
            self._registers.clear()
            self._listing = None
        if last is not None and squash_order(last) >= squash_order(entry):
            raise _broken("its entries are not in order", path)
        self._last = entry
        if isinstance(entry, Tombstone | Kept):
            kind = entry.kind if isinstance(entry, Tombstone) else entry.node.kind
            if (kind is _DIR) in self._registers:
                raise _broken("it holds two versions of one path", path)
            self._registers.add(kind is _DIR)
        if isinstance(entry, Kept) and self._listing is not None and self._listing.placed:
            raise _broken("it holds two entries of one path", path)
        if isinstance(entry, Listed):
            if self._listing is not None:
                raise _broken("it holds two listings of one directory", path)
            self._listing = entry
        self._skip_to(path)
        return self._admit_placed(path, entry.node, group_of(entry)) if is_in_tar(entry) else None


def increasing(paths: Iterator[bytes]) -> Iterator[bytes]:
    """Yield whiteouts, checking that they are in bytes order, none twice.

    Raises:
        IntegrityError: they are not.
    """
    last = b""
    for path in paths:
        if last >= path:
            raise _broken("its whiteouts are not in order", path)
        last = path
        yield path


def placed(entries: Iterable[TocEntry | SquashEntry]) -> Iterator[tuple[InTar, bytes | None]]:
    """Yield the entries that the tar has, each with the path that it is a hard link to, None if it is none."""
    firsts: dict[int, bytes] = {}
    for entry in entries:
        if type(entry) is Write and not entry.group:  # as nearly all are
            yield entry, None
        elif is_in_tar(entry):
            group = group_of(entry)
            first = firsts.setdefault(group, entry.path) if group else entry.path
            yield entry, first if first is not entry.path else None


def _broken(what: str, path: bytes) -> IntegrityError:
    return damaged(f"a layer's table of contents is invalid: {what}", show(path[:300]))
