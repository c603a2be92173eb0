"""Sets the recorded owner, extended attributes, mode and times of paths, as far as this user may."""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import Final

from agent.core.model.entry import KIND_BY_FILE_TYPE, Kind, Node
from agent.core.spelling.path import show
from agent.workspace.filesystem.system_errors import NOT_SUPPORTED, changed
from agent.workspace.scan.path_reader import CAPABILITY, read_xattrs
from agent.workspace.write.write_errors import out_of_range

_REFUSED: Final = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL}) | NOT_SUPPORTED
_TOO_LARGE: Final = frozenset({errno.E2BIG, errno.ERANGE})
_PATH_ONLY: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_CAP_CHOWN = 1 << 0  # linux/capability.h


class Attributes:
    """Sets nodes' attributes, and notes each kind of attribute that this user cannot set.

    Args:
        privileged: whether this process may give files away. See `may_chown`.

    Attributes:
        notices: texts for users about attributes that were not set, each with the first path.
    """

    def __init__(self, privileged: bool) -> None:
        self.owns = privileged
        self.notices: list[str] = []
        self._noticed: set[str] = set()

    def notice(self, what: str, path: bytes) -> None:
        """Add a notice, unless it was added before for another path."""
        if what not in self._noticed:
            self._noticed.add(what)
            self.notices.append(f"{what} (first: {show(path)})")

    def apply(self, place: int | str, path: bytes, node: Node, about: os.stat_result, *, fresh: bool) -> os.stat_result:
        """Set owner, extended attributes and mode, in an order in which none undoes another; not the times.

        Args:
            place: a descriptor, or a path that leads to the very inode, such as one in /proc/self/fd.
            path: the path in the workspace, for messages.
            node: the attributes to set.
            about: the current `fstat`.
            fresh: whether it was just made, so that it has no extended attributes yet.

        Returns:
            The new `stat`.

        Raises:
            OSError: the system refused something that is required.
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

    def apply_to_directory(self, fd: int, path: bytes, node: Node, *, fresh: bool, shared: bool) -> None:
        """Set attributes and times of an open directory.

        Args:
            path, node, fresh: as for `apply`.
            shared: others may own the directory: then it keeps their attributes, with a notice.

        Raises:
            OSError, UnsafeArchiveError: as `apply`.
        """
        try:
            self.apply(fd, path, node, os.fstat(fd), fresh=fresh)
            os.utime(fd, ns=(node.mtime, node.mtime))
        except PermissionError:
            if fresh or not shared:
                raise
            self.notice("directories that others made keep their attributes", path)

    def apply_to_name(self, above: int, name: bytes, path: bytes, node: Node, *, fresh: bool) -> os.stat_result | None:
        """Set attributes and times of a name that is no directory.

        Args:
            above: a descriptor of the directory that holds `name`.
            name: the last part of `path`, or a temporary name.
            path, node, fresh: as for `apply`.

        Returns:
            Its new `lstat`. None, and nothing is done, if it has several names: one may lie outside the workspace, or
            have been made to attack it.

        Raises:
            FileChangedError: the name has another type than `node`.
            OSError, UnsafeArchiveError: as `apply`.
        """
        place = os.open(name, _PATH_ONLY, dir_fd=above)
        try:
            about = os.fstat(place)
            if KIND_BY_FILE_TYPE.get(stat.S_IFMT(about.st_mode)) is not node.kind:
                raise changed(path, "turned into something else meanwhile")
            if about.st_nlink > 1:
                return None
            # This leads to the opened inode, even to a symbolic link (proc(5)); the name may be another inode's by now.
            inode = f"/proc/self/fd/{place}"
            if node.kind is not Kind.LINK:
                self.apply(inode, path, node, about, fresh=fresh)
            elif (about.st_uid, about.st_gid) != (node.uid, node.gid):
                self.give(inode, path, node)
            os.utime(inode, ns=(node.mtime, node.mtime))
            return os.fstat(place)
        except OverflowError as error:
            raise out_of_range(path, "a time") from error
        finally:
            os.close(place)

    def give(self, place: int | str, path: bytes, node: Node) -> bool:
        """Set the owner, if this user may; return whether it was set.

        Raises:
            OSError: the system refused for another reason than missing rights.
            UnsafeArchiveError: the owner is out of range.
        """
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


def may_chown() -> bool:
    """Return whether this process may give files away: it is root and has CAP_CHOWN."""
    if os.geteuid() != 0:
        return False
    try:
        with os.fdopen(os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC), "rb") as file:
            found = re.search(rb"^CapEff:\s*([0-9a-f]+)$", file.read(), re.MULTILINE)
    except OSError:
        return True
    return found is None or bool(int(found[1], 16) & _CAP_CHOWN)
