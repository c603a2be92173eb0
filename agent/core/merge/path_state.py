"""The state of one path in a merge: the claims of all sources, and the result (design, "Merge")."""

from __future__ import annotations

from typing import TypeAlias

from agent.core.merge.conflict import Stated
from agent.core.merge.hard_links import Membership
from agent.core.model.change import (
    Change,
    Claim,
    Grouped,
    Kept,
    Listed,
    Squash,
    SquashEntry,
    Tombstone,
    Touched,
    claim_value,
)
from agent.core.model.entry import Context, Delete, Kind, Node, TocEntry, Touch, TreeEntry, Version, Write

ABSENT = Version(-1, "")
"""Smaller than every version."""
_DIR = Kind.DIR


class Source:
    """A change or a squash, as the sweep reads it.

    `homes` maps a link group to where the content of its first name lies in the layer.
    """

    __slots__ = ("homes", "id", "layer", "origin", "version")

    def __init__(self, origin: Change | Squash) -> None:
        self.origin = origin
        self.id = origin.id
        self.layer = origin.layer
        self.version = origin.version if isinstance(origin, Change) else ABSENT
        self.homes: dict[int, int] = {}


Item: TypeAlias = "tuple[Source, TocEntry | SquashEntry]"
Row: TypeAlias = "tuple[Version, str, int, int, Node, Source]"
"""A version, and where it lies: version, layer, offset, group, node, source; comparable up to the group."""


class Slot:
    """A place in the order of rows: the row or None, and whether that is decided."""

    __slots__ = ("decided", "row")

    def __init__(self) -> None:
        self.row: TreeEntry | None = None
        self.decided = False


class Spot:
    """What the sources say of one path."""

    __slots__ = (
        "below", "claims", "dead", "directory", "file", "floor", "linked", "listing", "needed", "path", "slot",
        "standing", "touches",
    )  # fmt: skip

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.file: Row | None = None
        self.directory: Row | None = None
        self.listing: Row | None = None
        self.dead: dict[tuple[bool, Version], Kind] = {}
        self.touches: list[tuple[Version, Version, int]] = []
        self.linked: list[tuple[Version, Membership]] = []
        self.claims: dict[str, Stated] = {}
        self.floor = ABSENT
        """Largest version of a non-directory above the path."""
        self.below: set[Version] = set()
        self.needed = False
        self.standing: Version | None = None
        self.slot = Slot()

    @property
    def file_version(self) -> Version:
        """Largest version of the file register, dead or alive, else `ABSENT`."""
        return self.file[0] if self.file else ABSENT

    @property
    def directory_version(self) -> Version:
        """Largest version of the directory register, dead or alive, else `ABSENT`."""
        return self.directory[0] if self.directory else ABSENT

    @property
    def directory_stands(self) -> bool:
        """Whether the directory is visible by its own version."""
        version = self.directory_version
        return version > self.file_version and version > self.floor and (True, version) not in self.dead

    @property
    def file_may_stand(self) -> bool:
        """Whether nothing but what lies below the path can keep its file from standing."""
        version = self.file_version
        return version > self.directory_version and version > self.floor and (False, version) not in self.dead

    def read(self, items: list[Item]) -> None:
        """Take in what each source says."""
        for source, entry in items:
            match entry:
                case Write():
                    self._read_write(source, entry)
                case Delete():
                    self.dead[entry.kind is _DIR, entry.seen] = entry.kind
                    self.claims.setdefault(source.id, Stated(source.id, None, entry.seen))
                case Context():
                    self._read_context(source, entry)
                case Touch():
                    self.touches.append((entry.version, source.version, entry.mtime))
                case _:
                    self._read_squashed(source, entry)

    def _read_write(self, source: Source, entry: Write) -> None:
        self._read_version(source, entry, source.version)
        self.claims[source.id] = Stated(source.id, claim_value(entry.node), entry.seen)
        if entry.group:
            self.linked.append((source.version, (source.id, entry.group)))

    def _read_squashed(self, source: Source, entry: SquashEntry) -> None:
        match entry:
            case Kept():
                self._read_version(source, entry, entry.version)
            case Grouped():
                self.linked.append((entry.version, (entry.of, entry.group)))
            case Tombstone():
                self.dead[entry.kind is _DIR, entry.version] = entry.kind
                self._read_row((entry.version, "", 0, 0, Node(entry.kind, 0), source))
            case Listed():
                self._read_listing((entry.by, source.layer, entry.offset, 0, entry.node, source))
            case Touched():
                self.touches.append((entry.version, entry.by, entry.mtime))
            case Claim():
                self.claims[entry.of] = Stated(entry.of, entry.value, entry.seen)

    def _read_version(self, source: Source, entry: Write | Kept, version: Version) -> None:
        if entry.group:
            source.homes.setdefault(entry.group, entry.offset)
            self.touches.append((version, version, entry.node.mtime))
        row = (version, source.layer, entry.offset, entry.group, entry.node, source)
        self._read_row(row)
        if entry.node.kind is _DIR:
            self._read_listing(row)

    def _read_row(self, row: Row) -> None:
        if row[4].kind is _DIR:
            if self.directory is None or row[:4] > self.directory[:4]:
                self.directory = row
        elif self.file is None or row[:4] > self.file[:4]:
            self.file = row

    def _read_listing(self, row: Row) -> None:
        if self.listing is None or row[:4] > self.listing[:4]:
            self.listing = row

    def _read_context(self, source: Source, entry: Context) -> None:
        if entry.node.kind is _DIR:
            self._read_listing((source.version, source.layer, entry.offset, 0, entry.node, source))
        elif entry.group and entry.version is not None:
            source.homes.setdefault(entry.group, entry.offset)
            self.linked.append((entry.version, (source.id, entry.group)))
