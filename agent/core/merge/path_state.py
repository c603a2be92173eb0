"""The state of one path in a merge: the claims of all sources, and the result (design, "Merge")."""

from __future__ import annotations

from typing import TypeAlias

from agent.core.merge.conflict import ChangeClaim
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


class MergeSource:
    """A change or a squash, as the merge reads it.

    `first_offsets` maps a link group to the offset of its first name, which has the content, in the layer.
    """

    __slots__ = ("first_offsets", "id", "layer", "origin", "version")

    def __init__(self, origin: Change | Squash) -> None:
        self.origin = origin
        self.id = origin.id
        self.layer = origin.layer
        self.version = origin.version if isinstance(origin, Change) else ABSENT
        self.first_offsets: dict[int, int] = {}


SourceEntry: TypeAlias = "tuple[MergeSource, TocEntry | SquashEntry]"
PlacedVersion: TypeAlias = "tuple[Version, str, int, int, Node, MergeSource]"
"""A version and its place: version, layer, offset, group, node, source; comparable up to the group."""


class PendingRow:
    """A place in the order of rows: the row or None, and whether that is decided."""

    __slots__ = ("decided", "row")

    def __init__(self) -> None:
        self.row: TreeEntry | None = None
        self.decided = False


class PathState:
    """The entries of all sources for one path, and the result."""

    __slots__ = (
        "claims",
        "dead",
        "directory",
        "file",
        "is_shown",
        "listing",
        "memberships",
        "newest_above",
        "path",
        "pending",
        "touches",
        "versions_below",
        "visible",
    )  # fmt: skip

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.file: PlacedVersion | None = None
        self.directory: PlacedVersion | None = None
        self.listing: PlacedVersion | None = None
        self.dead: dict[tuple[bool, Version], Kind] = {}
        self.touches: list[tuple[Version, Version, int]] = []
        self.memberships: list[tuple[Version, Membership]] = []
        self.claims: dict[str, ChangeClaim] = {}
        self.newest_above = ABSENT
        """Largest version of a non-directory above the path."""
        self.versions_below: set[Version] = set()
        self.is_shown = False
        self.visible: Version | None = None
        self.pending = PendingRow()

    @property
    def file_version(self) -> Version:
        """Largest version of the file register, dead or alive, else `ABSENT`."""
        return self.file[0] if self.file else ABSENT

    @property
    def directory_version(self) -> Version:
        """Largest version of the directory register, dead or alive, else `ABSENT`."""
        return self.directory[0] if self.directory else ABSENT

    @property
    def directory_is_visible(self) -> bool:
        """Whether the directory is visible by its own version."""
        version = self.directory_version
        return version > self.file_version and version > self.newest_above and (True, version) not in self.dead

    @property
    def file_may_be_visible(self) -> bool:
        """Whether the file is visible unless a path below it hides it."""
        version = self.file_version
        return version > self.directory_version and version > self.newest_above and (False, version) not in self.dead

    def read(self, items: list[SourceEntry]) -> None:
        """Read the entry of each source."""
        for source, entry in items:
            match entry:
                case Write():
                    self._read_write(source, entry)
                case Delete():
                    self.dead[entry.kind is _DIR, entry.seen] = entry.kind
                    self.claims.setdefault(source.id, ChangeClaim(source.id, None, entry.seen))
                case Context():
                    self._read_context(source, entry)
                case Touch():
                    self.touches.append((entry.version, source.version, entry.mtime))
                case _:
                    self._read_squashed(source, entry)

    def _read_write(self, source: MergeSource, entry: Write) -> None:
        self._read_version(source, entry, source.version)
        self.claims[source.id] = ChangeClaim(source.id, claim_value(entry.node), entry.seen)
        if entry.group:
            self.memberships.append((source.version, (source.id, entry.group)))

    def _read_squashed(self, source: MergeSource, entry: SquashEntry) -> None:
        match entry:
            case Kept():
                self._read_version(source, entry, entry.version)
            case Grouped():
                self.memberships.append((entry.version, (entry.of, entry.group)))
            case Tombstone():
                self.dead[entry.kind is _DIR, entry.version] = entry.kind
                self._read_row((entry.version, "", 0, 0, Node(entry.kind, 0), source))
            case Listed():
                self._read_listing((entry.by, source.layer, entry.offset, 0, entry.node, source))
            case Touched():
                self.touches.append((entry.version, entry.by, entry.mtime))
            case Claim():
                self.claims[entry.of] = ChangeClaim(entry.of, entry.value, entry.seen)

    def _read_version(self, source: MergeSource, entry: Write | Kept, version: Version) -> None:
        if entry.group:
            source.first_offsets.setdefault(entry.group, entry.offset)
            self.touches.append((version, version, entry.node.mtime))
        row = (version, source.layer, entry.offset, entry.group, entry.node, source)
        self._read_row(row)
        if entry.node.kind is _DIR:
            self._read_listing(row)

    def _read_row(self, row: PlacedVersion) -> None:
        if row[4].kind is _DIR:
            if self.directory is None or row[:4] > self.directory[:4]:
                self.directory = row
        elif self.file is None or row[:4] > self.file[:4]:
            self.file = row

    def _read_listing(self, row: PlacedVersion) -> None:
        if self.listing is None or row[:4] > self.listing[:4]:
            self.listing = row

    def _read_context(self, source: MergeSource, entry: Context) -> None:
        if entry.node.kind is _DIR:
            self._read_listing((source.version, source.layer, entry.offset, 0, entry.node, source))
        elif entry.group and entry.version is not None:
            source.first_offsets.setdefault(entry.group, entry.offset)
            self.memberships.append((entry.version, (source.id, entry.group)))
