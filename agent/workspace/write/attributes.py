"""Give what stands on disk the owner, attributes, mode and times that were recorded, as far as this user may."""

from __future__ import annotations

import errno
import os
import re
from typing import Final

from agent.core.model.entry import Node
from agent.core.spelling.path import show
from agent.errors import UnsafeArchiveError
from agent.workspace.filesystem.system_errors import NOT_SUPPORTED
from agent.workspace.scan.examine import CAPABILITY, read_xattrs

_REFUSED: Final = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL}) | NOT_SUPPORTED
_TOO_LARGE: Final = frozenset({errno.E2BIG, errno.ERANGE})
_CAP_CHOWN = 1 << 0  # linux/capability.h


class Attributes:
    """Applies nodes' attributes, and says once for each kind of thing what this user cannot keep.

    Args:
        privileged: may this process give files away? See `may_chown`.

    Attributes:
        notices: what was not kept, for people, each with the first path it happened to.
    """

    def __init__(self, privileged: bool) -> None:
        self.owns = privileged
        self.notices: list[str] = []
        self._said: set[str] = set()

    def notice(self, what: str, path: bytes) -> None:
        """Say something once, with the first path that it holds for."""
        if what not in self._said:
            self._said.add(what)
            self.notices.append(f"{what} (first: {show(path)})")

    def apply(self, place: int | str, path: bytes, node: Node, about: os.stat_result, *, fresh: bool) -> os.stat_result:
        """Set owner, extended attributes and mode, in the order in which none undoes another; not the times.

        Args:
            place: a descriptor, or a path that leads to the very inode, such as one in /proc/self/fd.
            path: its path in the workspace, for messages.
            node: what is wanted.
            about: what stands there now.
            fresh: it was just made, so it has no extended attributes of its own.

        Returns:
            What stands there then.

        Raises:
            OSError: the system refused something that cannot be left out.
            UnsafeArchiveError: an owner is out of range.
        """
        given = (about.st_uid, about.st_gid) != (node.uid, node.gid) and self.give(place, path, node)
        touched = bool(node.xattrs or not fresh) and self._set_xattrs(place, path, node, about.st_mode)
        # Giving a file away clears setuid and setgid (chown(2)).
        if given or touched or about.st_mode & 0o7777 != node.mode:
            os.chmod(place, node.mode)
        about = os.stat(place)
        if about.st_mode & 0o7777 != node.mode:
            self.notice("some bits of modes are not kept: the system does not let this user set them", path)
        return about

    def give(self, place: int | str, path: bytes, node: Node) -> bool:
        """Set the owner, if this user may."""
        if not self.owns:
            self.notice("owners are not kept: this user may not give files away", path)
            return False
        try:
            os.chown(place, node.uid, node.gid)
        except OverflowError as error:
            raise out_of_range(path, "an owner") from error
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            # A user namespace maps only some owners, a file server may squash root.
            self.notice("owners are not kept: the file system or user namespace does not allow it", path)
            return False
        return True

    def _set_xattrs(self, place: int | str, path: bytes, node: Node, mode: int) -> bool:
        present = dict(read_xattrs(place))
        wanted = dict(node.xattrs)
        if present == wanted:
            return False
        if not mode & 0o200:
            # user.* needs the permission to write, whatever the descriptor was opened for (xattr(7)).
            os.chmod(place, mode & 0o7777 | 0o200)
        for name in present.keys() - wanted.keys():
            os.removexattr(place, name)
        for name, value in node.xattrs:
            if present.get(name) != value:
                self._set_xattr(place, path, name, value)
        return True

    def _set_xattr(self, place: int | str, path: bytes, name: bytes, value: bytes) -> None:
        try:
            os.setxattr(place, name, value)
        except OSError as error:
            if error.errno not in _REFUSED | _TOO_LARGE:
                raise
            if name == CAPABILITY:
                self.notice("file capabilities are not kept: this user may not set them", path)
            else:
                self.notice("extended attributes are not kept: the file system does not take them", path)


def out_of_range(path: bytes, what: str) -> UnsafeArchiveError:
    """Return the error for a number that no system call takes."""
    return UnsafeArchiveError(
        f"{what} is out of this system's range", subject=show(path), remedy="the image is hostile or damaged"
    )


def may_chown() -> bool:
    """Say whether this process may give files away: it is root, and not one without capabilities."""
    if os.geteuid() != 0:
        return False
    try:
        with os.fdopen(os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC), "rb") as file:
            found = re.search(rb"^CapEff:\s*([0-9a-f]+)$", file.read(), re.MULTILINE)
    except OSError:
        return True
    return found is None or bool(int(found[1], 16) & _CAP_CHOWN)
