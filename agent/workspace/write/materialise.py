"""Make a directory be a tree, path by path, without ever leaving it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from typing import Final

from agent.core.directory.state_row import PREEXISTING_FINGERPRINT, Fingerprint
from agent.core.model.entry import KIND_BY_FILE_TYPE, Kind, Node
from agent.core.spelling.path import is_target, parent, show
from agent.errors import AgentError, UnsafeArchiveError, WorkspaceError
from agent.workspace.filesystem.root import Root
from agent.workspace.filesystem.system_errors import LINK_IN_THE_WAY, changed, collides, failed
from agent.workspace.write.attributes import Attributes, may_chown, out_of_range
from agent.workspace.write.content import write_content
from agent.workspace.write.directory_entries import Names

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PLACE: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class TreeWriter:
    """Writes paths below a root.

    The caller gives parents before children, and removes children before parents. What stands at a path that
    is written is replaced in one step, so that a kill at any instant leaves the old or the new one (a directory
    must be removed first); a file that is new appears under its name while it is written. Nothing is synced to
    the disk: what a power cut loses, the next scan misses.

    Fingerprints are what lstat says afterwards. Those of directories, and again those of files with several names,
    come from `finish`. Names that are not written keep theirs, unless another name of the same file goes.

    Args:
        root: the directory.
        privileged: may this process give files away? By default, what the system says.
        keep: what others put into the directory, before or meanwhile, stays: where it stands in the place of something
            to be written, that is left out, and its fingerprint is `PREEXISTING_FINGERPRINT`. Directories are shared.

    Attributes:
        kept: the paths that were left out.

    Every method raises:
        WorkspaceError: the system refused (full disk, no permission, read-only).
        UnsafeArchiveError: a link or file stands on disk where a directory of the tree should be, or an owner or
            time is out of range.
        DivergedError: with `keep`, a directory stands where something else should be, or the reverse.
    """

    def __init__(self, root: Root, *, privileged: bool | None = None, keep: bool = False) -> None:
        root.refresh()
        self.keep = keep
        self.kept: list[bytes] = []
        self._root = root
        self._names = Names(root, keep=keep)
        self._attributes = Attributes(may_chown() if privileged is None else privileged)
        self._directories: dict[bytes, tuple[Node, bool]] = {}
        self._linked: set[bytes] = set()

    @property
    def notices(self) -> list[str]:
        """What could not be kept here, for people; each said once."""
        return self._attributes.notices

    def remove(self, path: bytes, kind: Kind) -> None:
        """Remove `path`, a directory only if it is empty. That it is not there is fine."""
        try:
            if kind is Kind.DIR:
                self._root.forget(path)
                self._directories.pop(path, None)
                self._names.within(path, lambda above, name: os.rmdir(name, dir_fd=above))
            else:
                self._names.within(path, lambda above, name: os.unlink(name, dir_fd=above))
        except FileNotFoundError:
            return
        except OSError as error:
            raise _refused(error, path, "cannot be removed") from error

    def make_dir(self, path: bytes, node: Node) -> None:
        """Make the directory `path`, or take the one that is there; it gets its attributes in `finish`."""
        fresh = True
        try:
            self._names.within(path, lambda above, name: os.mkdir(name, 0o700, dir_fd=above))
        except FileExistsError:
            fresh = False
            found = self._root.lstat(path)
            if found is None or not stat.S_ISDIR(found.fingerprint.mode):
                raise (collides if self.keep else _in_the_way)(path) from None
        except OSError as error:
            raise _refused(error, path) from error
        self._directories[path] = node, fresh

    def write_file(self, path: bytes, node: Node, chunks: Iterable[bytes], *, verified: bool = False) -> Fingerprint:
        """Write a file, verified while it is written.

        Args:
            verified: whoever gives the chunks compares them with `node.sha256` before he tells their end.

        Raises:
            IntegrityError: `chunks` are not of `node.size` or `node.sha256` (unless that is empty). Then, as after
                any error, nothing is left at `path`, or what stood there before.
        """
        mode = node[1] & 0o777 | (0o200 if node[9] else 0)
        try:
            above, placed = self._root.at(path)
            try:
                if self.keep:
                    raise FileExistsError
                fd = os.open(placed, _NEW, mode, dir_fd=above)
            except (FileExistsError, PermissionError):
                # Something stands there, or the directory must be made writable first.
                fd, placed = self._names.put(path, lambda above, name: os.open(name, _NEW, mode, dir_fd=above))
        except OSError as error:
            raise _refused(error, path) from error
        try:
            about = self._fill(fd, path, node, chunks, verified)
            return self._settled(path, placed, about)
        except BaseException as error:
            self._names.discard(path, placed)
            if isinstance(error, OSError):
                raise _refused(error, path) from error
            if isinstance(error, OverflowError):
                raise out_of_range(path, "a time") from error
            raise

    def make_link(self, path: bytes, node: Node) -> Fingerprint:
        """Make a symbolic link to `node.target`, whatever that may be."""
        if not is_target(node.target):
            raise UnsafeArchiveError(
                "a symbolic link without a valid target", subject=show(path), remedy="the image is hostile or damaged"
            )
        return self._make(path, node, lambda above, name: os.symlink(node.target, name, dir_fd=above))

    def make_fifo(self, path: bytes, node: Node) -> Fingerprint:
        """Make a FIFO."""
        return self._make(path, node, lambda above, name: os.mkfifo(name, 0o600, dir_fd=above))

    def make_device(self, path: bytes, node: Node) -> Fingerprint:
        """Make a device node.

        Raises:
            UnsafeArchiveError: this process may not.
        """
        kind = stat.S_IFCHR if node.kind is Kind.CHAR else stat.S_IFBLK
        try:
            device = os.makedev(*node.device)
            return self._make(path, node, lambda above, name: os.mknod(name, kind | 0o600, device, dir_fd=above))
        except OverflowError as error:
            raise out_of_range(path, "a device number") from error
        except WorkspaceError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EINVAL:
                raise out_of_range(path, "a device number") from error
            if not isinstance(error.__cause__, PermissionError):
                raise
            raise UnsafeArchiveError(
                "a device node cannot be made without privilege",
                subject=show(path),
                remedy="run as root with CAP_MKNOD, or leave this image alone",
            ) from error

    def hard_link(self, path: bytes, to: bytes) -> Fingerprint:
        """Make `path` another name of what stands at `to`, which must not be a directory."""
        source = -1
        try:
            above, target = self._root.at(to)
            source = os.dup(above)

            def link(above: int, name: bytes) -> None:
                os.link(target, name, src_dir_fd=source, dst_dir_fd=above, follow_symlinks=False)

            _, placed = self._names.put(path, link)
            try:
                moved = self._names.settle(path, placed)
            except FileExistsError:
                return self._left_out(path, placed)
            if moved:
                # Renaming one name of a file over another does nothing at all (rename(2)).
                self._names.discard(path, placed)
            self._linked.update((path, to))
            above, name = self._root.at(path)
            return self._root.fingerprint(os.stat(name, dir_fd=above, follow_symlinks=False))
        except OSError as error:
            raise _refused(error, path, f"cannot become a link to {show(to)}") from error
        finally:
            if source >= 0:
                os.close(source)

    def set_attributes(self, path: bytes, node: Node) -> Fingerprint | None:
        """Give `path`, which is no directory and whose content stays, the attributes of `node`.

        Returns:
            None, and nothing is done, if it has other names, perhaps outside: they would change with it.

        Raises:
            FileChangedError: something else stands there.
        """
        try:
            above, name = self._root.at(path)
            about = self._dress(above, name, path, node, fresh=False)
            return self._root.fingerprint(about) if about else None
        except FileNotFoundError:
            raise changed(path, "vanished meanwhile") from None
        except OSError as error:
            raise _refused(error, path) from error

    def finish(self) -> list[tuple[bytes, Fingerprint]]:
        """Give directories their attributes, deepest first.

        Returns:
            The fingerprints of those directories, and those of what was linked: they replace what the other methods
            returned.
        """
        done = []
        path = b""
        try:
            self._names.restore(skip=self._directories.__contains__)
            for path in sorted(self._directories, reverse=True):
                fd = self._root.directory(path)
                self._dress_directory(fd, path)
                done.append((path, self._root.fingerprint(os.fstat(fd))))
        except OverflowError as error:
            raise out_of_range(path, "a time") from error
        except OSError as error:
            raise _refused(error, path) from error
        for path in sorted(self._linked):
            found = self._root.lstat(path)
            if found is not None:
                done.append((path, found.fingerprint))
        self._directories.clear()
        self._linked.clear()
        return done

    def _fill(self, fd: int, path: bytes, node: Node, chunks: Iterable[bytes], verified: bool) -> os.stat_result:
        """Write an empty file and give it its attributes; return what it is then."""
        try:
            write_content(fd, path, node, chunks, verified)
            os.utime(fd, ns=(node[4], node[4]))
            about = os.fstat(fd)
            if about.st_mode & 0o7777 != node[1] or about.st_uid != node[2] or about.st_gid != node[3] or node[9]:
                about = self._attributes.apply(fd, path, node, about, fresh=True)
            # Closed before it takes its place: on a file server that is when a full disk shows.
            closing, fd = fd, -1
            os.close(closing)
        finally:
            if fd >= 0:
                os.close(fd)
        return about

    def _settled(self, path: bytes, placed: bytes, about: os.stat_result) -> Fingerprint:
        """Give what was made, and is `about`, its name; return what lstat says then."""
        try:
            if not self._names.settle(path, placed):
                return self._root.fingerprint(about)
            above, name = self._root.at(path)
            now = os.stat(name, dir_fd=above, follow_symlinks=False)
        except (FileExistsError, FileNotFoundError):
            if not self.keep:
                raise
            return self._left_out(path, placed)
        if self.keep and _content_of(now) != _content_of(about):
            return PREEXISTING_FINGERPRINT  # somebody wrote to it as soon as it had its name
        return self._root.fingerprint(now)

    def _left_out(self, path: bytes, placed: bytes) -> Fingerprint:
        """Take back what was made for `path`, where somebody else put something."""
        self._names.discard(path, placed)
        found = self._root.lstat(path)
        if found is not None and stat.S_ISDIR(found.fingerprint.mode):
            raise collides(path)
        self.kept.append(path)
        return PREEXISTING_FINGERPRINT

    def _make(self, path: bytes, node: Node, make: Callable[[int, bytes], None]) -> Fingerprint:
        try:
            _, placed = self._names.put(path, make)
            try:
                above, _ = self._root.at(path)
                about = self._dress(above, placed, path, node, fresh=True)
                if about is None:
                    raise changed(path, "got another name meanwhile")
                return self._settled(path, placed, about)
            except BaseException:
                self._names.discard(path, placed)
                raise
        except OSError as error:
            raise _refused(error, path) from error

    def _dress_directory(self, fd: int, path: bytes) -> None:
        node, fresh = self._directories[path]
        try:
            self._attributes.apply(fd, path, node, os.fstat(fd), fresh=fresh)
            os.utime(fd, ns=(node.mtime, node.mtime))
        except PermissionError:
            if fresh or not self.keep:
                raise
            self._attributes.notice("directories that others made keep their attributes", path)

    def _dress(self, above: int, name: bytes, path: bytes, node: Node, *, fresh: bool) -> os.stat_result | None:
        """Give something that is no directory its attributes and times; return what lstat says then.

        None, and nothing is done, if it has several names: one may lie outside, or have been put here for it.
        """
        place = os.open(name, _PLACE, dir_fd=above)
        try:
            about = os.fstat(place)
            if KIND_BY_FILE_TYPE.get(stat.S_IFMT(about.st_mode)) is not node.kind:
                raise changed(path, "turned into something else meanwhile")
            if about.st_nlink > 1:
                return None
            # It leads to this very inode, a symbolic link too (proc(5)); the name may be another's by now.
            inode = f"/proc/self/fd/{place}"
            if node.kind is not Kind.LINK:
                self._attributes.apply(inode, path, node, about, fresh=fresh)
            elif (about.st_uid, about.st_gid) != (node.uid, node.gid):
                self._attributes.give(inode, path, node)
            os.utime(inode, ns=(node.mtime, node.mtime))
            return os.fstat(place)
        except OverflowError as error:
            raise out_of_range(path, "a time") from error
        finally:
            os.close(place)


def _content_of(about: os.stat_result) -> tuple[int, int, int]:
    return about.st_ino, about.st_size, about.st_mtime_ns


def _refused(error: OSError, path: bytes, doing: str = "cannot be written") -> AgentError:
    if error.errno in LINK_IN_THE_WAY:
        return _in_the_way(path)
    return failed(error, path, doing)


def _in_the_way(path: bytes) -> UnsafeArchiveError:
    return UnsafeArchiveError(
        "a link or file stands on disk where a directory belongs, and is not followed",
        subject=show(parent(path) or path),
        remedy="stop whatever works in the directory and pull into an empty one",
    )
