"""The entries of a layer's table of contents: writes, deletions, touches and context (design, "Layers").

These are named tuples and not dataclasses because a workspace has a hundred thousand of them and a tuple is
built four times as fast. Times are integers in ns, sizes and offsets in bytes, digests of contents raw bytes.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple, TypeAlias

new_tuple: Any = tuple.__new__
"""`new_tuple(Write, fields)` makes a named tuple of all its fields: its own constructor costs three times as much."""


class Kind(StrEnum):
    """The type of a path. A hard link is no kind: it is a path in a link group."""

    FILE = "file"
    DIR = "dir"
    LINK = "link"
    FIFO = "fifo"
    CHAR = "char"
    BLOCK = "block"


FILE_TYPES: Final[Mapping[Kind, int]] = {
    Kind.FILE: stat.S_IFREG,
    Kind.DIR: stat.S_IFDIR,
    Kind.LINK: stat.S_IFLNK,
    Kind.FIFO: stat.S_IFIFO,
    Kind.CHAR: stat.S_IFCHR,
    Kind.BLOCK: stat.S_IFBLK,
}
"""The file type bits of st_mode (inode(7)) for each kind; sockets have no kind."""
KIND_BY_FILE_TYPE: Final[Mapping[int, Kind]] = {bits: kind for kind, bits in FILE_TYPES.items()}
"""The kind for each file type."""


def kind_of(mode: int) -> Kind:
    """Return the kind of an st_mode.

    Raises:
        KeyError: it is a socket, which is no part of a tree.
    """
    return KIND_BY_FILE_TYPE[stat.S_IFMT(mode)]


class Version(NamedTuple):
    """The change that last wrote a path. Compared as a pair; ids bytewise (they are ASCII)."""

    stamp: int
    id: str


UNPULLED: Final = "unpulled"
Seen: TypeAlias = Version | Literal["unpulled"] | None
"""The version that the writer had on disk, None if it had none, "unpulled" if a sparse writer does not know."""

Xattrs: TypeAlias = tuple[tuple[bytes, bytes], ...]
MARK: Final = b"user.instep"
"""The attribute that an agent leaves on the root of a workspace (`workspace.filesystem.mark`). It never travels."""


class Node(NamedTuple):
    """The attributes of one file, directory, link, FIFO or device.

    `mode` holds the permission bits and setuid, setgid, sticky (07777). `mtime` of a directory is carried but is
    no part of the tree. `xattrs` is sorted by name. `sha256` is that of a file's content (32 raw bytes, `b""`
    for other kinds), `target` that of a symbolic link, `device` (major, minor).
    """

    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    sha256: bytes = b""
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: Xattrs = ()


class Write(NamedTuple):
    """The change put `node` at `path`.

    `offset` is where the entry (extended headers included) starts in the layer's tar. Paths that share a non-zero
    `group` within one change are one file (hard links).
    """

    path: bytes
    node: Node
    seen: Seen = None
    offset: int = 0
    group: int = 0


class Delete(NamedTuple):
    """The change removed the version `seen`, of kind `kind`, from `path`.

    `whiteout` is true if the layer's tar holds a whiteout for exactly this path. It is recorded, not derived: it
    depends on the paths below in the writer's state, which a reader of this layer alone does not have.
    """

    path: bytes
    kind: Kind
    seen: Version
    whiteout: bool = False


class Touch(NamedTuple):
    """`version` at `path` has this `mtime` (ns); its content did not change."""

    path: bytes
    version: Version
    mtime: int


class Context(NamedTuple):
    """An unchanged path that the layer repeats, so that it can be applied alone. It is no claim.

    A directory above something changed (`version` None), or a name of a link group that the change wrote another
    name of (`version` the visible one).
    """

    path: bytes
    node: Node
    version: Version | None = None
    offset: int = 0
    group: int = 0


TocEntry: TypeAlias = Write | Delete | Touch | Context

_RANK = {Delete: 0, Context: 1, Write: 2, Touch: 3}


def toc_order(entry: TocEntry) -> tuple[bytes, int]:
    """Sort key of a table of contents: bytes order of paths; at one path deletion, context, write, touch."""
    return entry.path, _RANK[type(entry)]


class TreeEntry(NamedTuple):
    """A path of a merged tree, and the place of its bytes.

    `version` is None for a directory that exists only because a path below it does. The entry's header and
    content lie at `offset` in the tar of the layer with diff_id `layer`. Paths of one tree that share a `group`
    that is not None are one file (hard links).
    """

    path: bytes
    node: Node
    version: Version | None
    layer: str = ""
    offset: int = 0
    group: int | None = None
