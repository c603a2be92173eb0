"""Interpret a decoded tar header as an item of a layer: paths are normalised and checked, whiteouts recognised."""

from __future__ import annotations

from agent.archive.stream.limits import ArchiveLimits, damaged, excessive
from agent.archive.tar.header_decoder import KIND_BY_FLAG, Fields, parse_number
from agent.core.model.entry import Kind, Node
from agent.core.model.tar_item import Linked, Opaque, Placed, TarItem, Whiteout
from agent.core.spelling.path import OPAQUE, WHITEOUT, check_path, is_target, show
from agent.errors import UnsafeArchiveError

_DEVICE_MAX = (1 << 32) - 1


def interpret(fields: Fields, offset: int, limits: ArchiveLimits) -> TarItem | None:
    """Return the item that a header describes, None for the root, whose attributes are not part of a tree.

    Args:
        fields: the header.
        offset: where the entry starts in the tar.
        limits: `depth` is used.

    Raises:
        UnsafeArchiveError: a path leaves the root or is too deep, or a whiteout names nothing.
        IntegrityError: a link without a target, a device without a number, or a file that some take for a directory.
    """
    kind = KIND_BY_FLAG[fields.flag]
    path = normalise(fields.name)
    if kind is Kind.FILE and fields.name.endswith(b"/"):
        # Some readers then pass over the content, for others it is the next header.
        if fields.size:
            raise damaged("a file's name ends as a directory's, and it has content", show(path[:300]) or ".")
        kind = Kind.DIR
    if not path and kind is Kind.DIR:
        return None
    if path.count(b"/") >= limits.depth:
        raise excessive(f"a path is deeper than {limits.depth} names", show(path[:300]), limit="depth")
    if WHITEOUT in path:
        marker = _marker(path, kind, offset)
        if marker is not None:
            return marker
    check_path(path)
    if kind is None:
        return Linked(path, check_path(normalise(fields.target)), offset)
    return Placed(path, _node(path, kind, fields), offset)


def normalise(name: bytes) -> bytes:
    """Return a name as common readers do: without `/` or `./` in front, `/` at the end, doubled `/`.

    An absolute name is one below the root, as Docker, containerd and GNU tar have it. `b""` is the root itself. `..`
    stays, for `check_path` to refuse.
    """
    if name[:1] not in b"./" and name[-1:] not in b"./" and b"//" not in name and b"/./" not in name:
        return name
    return b"/".join(part for part in name.split(b"/") if part not in (b"", b"."))


def _node(path: bytes, kind: Kind, fields: Fields) -> Node:
    _, _, mode, uid, gid, mtime, size, target, numbers, xattrs = fields
    if kind is Kind.FILE:
        return Node(kind, mode, uid, gid, mtime, size, b"", b"", (0, 0), xattrs)
    if kind is Kind.LINK:
        if not is_target(target):
            raise damaged("a symbolic link has no valid target", show(path))
        return Node(kind, 0o777, uid, gid, mtime, 0, b"", target, (0, 0), xattrs)
    device = (0, 0)
    if kind is Kind.CHAR or kind is Kind.BLOCK:
        device = (parse_number(numbers[:8]), parse_number(numbers[8:]))
        if not all(0 <= number <= _DEVICE_MAX for number in device):
            raise damaged("a device number is out of range", show(path))
    return Node(kind, mode, uid, gid, mtime, 0, b"", b"", device, xattrs)


def _marker(path: bytes, kind: Kind | None, offset: int) -> Whiteout | Opaque | None:
    directory, slash, name = path.rpartition(b"/")
    if any(part.startswith(WHITEOUT) for part in directory.split(b"/")):
        raise _malformed(path)
    if not name.startswith(WHITEOUT):
        return None
    gone = name[len(WHITEOUT) :]
    if kind is Kind.DIR or gone in (b"", b".", b".."):
        raise _malformed(path)
    if name == OPAQUE:
        return Opaque(check_path(directory) if directory else b"", offset)
    if gone.startswith(WHITEOUT):
        raise _malformed(path)
    return Whiteout(check_path(directory + slash + gone), offset)


def _malformed(path: bytes) -> UnsafeArchiveError:
    return UnsafeArchiveError(
        "a malformed whiteout", subject=show(path[:300]), remedy="the image is hostile or damaged; do not use it"
    )
