"""Writes the paths of a tree into a directory, never outside of it (design, "Trust")."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from typing import Final

from agent.core.directory.state_row import Fingerprint
from agent.core.model.entry import Kind, Node
from agent.core.spelling.path import is_target, show
from agent.errors import UnsafeArchiveError, WorkspaceError
from agent.workspace.filesystem.root import Root
from agent.workspace.filesystem.system_errors import changed, collides
from agent.workspace.write.attributes import Attributes, may_chown
from agent.workspace.write.directory_entries import DirectoryEntries
from agent.workspace.write.file_content import fill_file
from agent.workspace.write.placement import Placement
from agent.workspace.write.write_errors import in_the_way, out_of_range, refused

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class TreeWriter:
    """Writes paths below a root.

    The caller writes parents before children, and removes children before parents. An existing path is replaced in one
    step, so that a kill at any time leaves the old or the new one; but a directory in its place must be removed first.
    A new file has its name while it is written. Nothing is synced to disk: if a power cut loses a file, the next scan
    reports it missing.

    Fingerprints are made of the `lstat` after the write. `finish` returns those of directories, and once more those of
    files with several names. Names that are not written keep their fingerprints, unless another name of the file is
    removed.

    Args:
        root: the directory.
        privileged: whether this process may give files away; None to ask the system.
        keep: keep what others create in the directory, before or meanwhile. A path that they took is left out, and its
            fingerprint is `KEPT`. Directories are shared.

    Every method raises:
        WorkspaceError: the system refused (full disk, no permission, read-only).
        UnsafeArchiveError: a link or file is on disk in place of a directory of the tree, or an owner or time is out of
            range.
        DivergedError: with `keep`, a directory is in place of something else, or the reverse.
    """

    def __init__(self, root: Root, *, privileged: bool | None = None, keep: bool = False) -> None:
        root.refresh()
        self.keep = keep
        self._root = root
        self._entries = DirectoryEntries(root, keep=keep)
        self._placement = Placement(root, self._entries, keep=keep)
        self._attributes = Attributes(may_chown() if privileged is None else privileged)
        self._directories: dict[bytes, tuple[Node, bool]] = {}
        self._linked: set[bytes] = set()

    @property
    def left_out(self) -> list[bytes]:
        """The paths that `keep` left out."""
        return self._placement.left_out

    @property
    def notices(self) -> list[str]:
        """Texts for users about attributes that could not be restored, each once."""
        return self._attributes.notices

    def remove(self, path: bytes, kind: Kind) -> None:
        """Remove `path`, if it exists; a directory only if it is empty."""
        try:
            if kind is Kind.DIR:
                self._root.close_directory(path)
                self._directories.pop(path, None)
                self._entries.within(path, lambda above, name: os.rmdir(name, dir_fd=above))
            else:
                self._entries.within(path, lambda above, name: os.unlink(name, dir_fd=above))
        except FileNotFoundError:
            return
        except OSError as error:
            raise refused(error, path, "cannot be removed") from error

    def make_dir(self, path: bytes, node: Node) -> None:
        """Make the directory `path`, unless it exists; `finish` sets its attributes."""
        fresh = True
        try:
            self._entries.within(path, lambda above, name: os.mkdir(name, 0o700, dir_fd=above))
        except FileExistsError:
            fresh = False
            found = self._root.lstat(path)
            if found is None or not stat.S_ISDIR(found.fingerprint.mode):
                raise (collides if self.keep else in_the_way)(path) from None
        except OSError as error:
            raise refused(error, path) from error
        self._directories[path] = node, fresh

    def write_file(self, path: bytes, node: Node, chunks: Iterable[bytes], *, verified: bool = False) -> Fingerprint:
        """Write a file, verified while it is written.

        Args:
            verified: `chunks` compares itself with `node.sha256` before it ends.

        Raises:
            IntegrityError: `chunks` differ from `node.size` or `node.sha256` (unless that is empty). After this, as
                after any error, `path` is as before.
        """
        mode = node[1] & 0o777 | (0o200 if node[9] else 0)
        try:
            above, made = self._root.at(path)
            try:
                if self.keep:
                    raise FileExistsError
                fd = os.open(made, _NEW, mode, dir_fd=above)
            except (FileExistsError, PermissionError):
                # The path exists, or its directory must be made writable first.
                fd, made = self._entries.make(path, lambda above, name: os.open(name, _NEW, mode, dir_fd=above))
        except OSError as error:
            raise refused(error, path) from error
        try:
            about = fill_file(fd, path, node, chunks, verified, self._attributes)
            return self._placement.place(path, made, about)
        except BaseException as error:
            self._entries.discard(path, made)
            if isinstance(error, OSError):
                raise refused(error, path) from error
            if isinstance(error, OverflowError):
                raise out_of_range(path, "a time") from error
            raise

    def make_link(self, path: bytes, node: Node) -> Fingerprint:
        """Make a symbolic link to `node.target`, which may lead anywhere."""
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
        """Make `path` another name of the file at `to`, which must not be a directory."""
        source = -1
        try:
            above, target = self._root.at(to)
            source = os.dup(above)

            def link(above: int, name: bytes) -> None:
                os.link(target, name, src_dir_fd=source, dst_dir_fd=above, follow_symlinks=False)

            _, made = self._entries.make(path, link)
            try:
                moved = self._entries.rename_into_place(path, made)
            except FileExistsError:
                return self._placement.leave_out(path, made)
            if moved:
                # Renaming one name of a file over another does nothing at all (rename(2)).
                self._entries.discard(path, made)
            self._linked.update((path, to))
            above, name = self._root.at(path)
            return self._root.fingerprint(os.stat(name, dir_fd=above, follow_symlinks=False))
        except OSError as error:
            raise refused(error, path, f"cannot become a link to {show(to)}") from error
        finally:
            if source >= 0:
                os.close(source)

    def set_attributes(self, path: bytes, node: Node) -> Fingerprint | None:
        """Set the attributes of `node` on `path`, which is no directory and keeps its content.

        Returns:
            The fingerprint. None, and nothing is done, if it has other names: they would change, too, and may be
            outside.

        Raises:
            FileChangedError: `path` has another type now, or was removed.
        """
        try:
            above, name = self._root.at(path)
            about = self._attributes.apply_to_name(above, name, path, node, fresh=False)
            return self._root.fingerprint(about) if about else None
        except FileNotFoundError:
            raise changed(path, "vanished meanwhile") from None
        except OSError as error:
            raise refused(error, path) from error

    def finish(self) -> list[tuple[bytes, Fingerprint]]:
        """Set the attributes of directories, deepest first.

        Returns:
            The fingerprints of those directories and of files with several names. They replace the fingerprints that
            the other methods returned.
        """
        done = []
        path = b""
        try:
            self._entries.restore_modes(skip=self._directories.__contains__)
            for path in sorted(self._directories, reverse=True):
                fd = self._root.directory(path)
                node, fresh = self._directories[path]
                self._attributes.apply_to_directory(fd, path, node, fresh=fresh, shared=self.keep)
                done.append((path, self._root.fingerprint(os.fstat(fd))))
        except OverflowError as error:
            raise out_of_range(path, "a time") from error
        except OSError as error:
            raise refused(error, path) from error
        for path in sorted(self._linked):
            found = self._root.lstat(path)
            if found is not None:
                done.append((path, found.fingerprint))
        self._directories.clear()
        self._linked.clear()
        return done

    def _make(self, path: bytes, node: Node, make: Callable[[int, bytes], None]) -> Fingerprint:
        try:
            _, made = self._entries.make(path, make)
            try:
                above, _ = self._root.at(path)
                about = self._attributes.apply_to_name(above, made, path, node, fresh=True)
                if about is None:
                    raise changed(path, "got another name meanwhile")
                return self._placement.place(path, made, about)
            except BaseException:
                self._entries.discard(path, made)
                raise
        except OSError as error:
            raise refused(error, path) from error
