"""What stands beside a workspace and must stay as it is, whatever is pulled, pushed or swapped."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

WORK = "ws"
"""Names of workspaces beside it begin so."""


class Sentinel:
    """`outside` and `ws-evil` in `place`, with one of everything that could be written, linked, changed or deleted.

    Args:
        place: the directory that the workspaces lie in, too.
        owner: who may change it all, so that nothing but care keeps it; None for who runs this.
    """

    def __init__(self, place: Path, owner: int | None = None) -> None:
        self.place = place
        self.path = place / "outside"
        (self.path / "dir" / "below").mkdir(parents=True)
        (self.path / "victim").write_text("precious")
        (self.path / "dir" / "file").write_text("inside")
        (self.path / "empty").mkdir()
        (self.path / "linked").write_text("twice")
        os.link(self.path / "linked", self.path / "dir" / "linked")
        (self.path / "link").symlink_to("victim")
        os.mkfifo(self.path / "fifo")
        (place / "ws-evil").mkdir()
        (place / "ws-evil" / "file").write_text("beside")
        os.setxattr(self.path / "victim", "user.kept", b"1")
        for path, mode in (("victim", 0o600), ("dir", 0o750), ("dir/file", 0o4711), ("fifo", 0o620)):
            os.chmod(self.path / path, mode)
        for top, directories, files in os.walk(place, topdown=False):
            for name in (*directories, *files):
                if owner is not None:
                    os.chown(os.path.join(top, name), owner, owner, follow_symlinks=False)
                os.utime(os.path.join(top, name), ns=(10**18, 10**18), follow_symlinks=False)
        self._before = self._look()

    def changes(self) -> dict[str, tuple[Any, Any]]:
        """Return what is not as it was when this was asked last, by path; workspaces and states are not looked at."""
        before, self._before = self._before, self._look()
        paths = sorted(self._before.keys() | before.keys())
        both = ((path, before.get(path), self._before.get(path)) for path in paths)
        return {path: (old, new) for path, old, new in both if old != new}

    def _look(self) -> dict[str, tuple[Any, ...]]:
        rows: dict[str, tuple[Any, ...]] = {}
        for name in sorted(os.listdir(self.place)):
            if name in ("outside", "ws-evil") or not name.startswith((WORK, ".state-", "layout")):
                self._add(rows, os.path.join(self.place, name))
        return rows

    def _add(self, rows: dict[str, tuple[Any, ...]], path: str) -> None:
        about = os.lstat(path)
        facts = (about.st_mode, about.st_uid, about.st_gid, about.st_ino, about.st_nlink)
        content: Any = None
        if stat.S_ISDIR(about.st_mode):
            content = sorted(os.listdir(path))
            for name in content:
                self._add(rows, os.path.join(path, name))
        elif stat.S_ISLNK(about.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(about.st_mode):
            with open(path, "rb") as file:
                content = file.read()
        xattrs = [
            (name, os.getxattr(path, name, follow_symlinks=False)) for name in os.listxattr(path, follow_symlinks=False)
        ]
        rows[os.path.relpath(path, self.place)] = (*facts, about.st_mtime_ns, about.st_ctime_ns, content, xattrs)
