"""A pull that did not end: what is known of it, and the one story that every command tells of it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from typing import Any, NamedTuple

from agent.errors import DivergedError, WorkspaceError
from agent.workspace.filesystem.durable_files import read_checksummed


class Interruption(NamedTuple):
    """A pull that began to write into a directory, and has not said that it ended.

    Attributes:
        root: (st_dev, st_ino) of the directory.
        target: the reference it pulled from, `""` if that is not known.
        mark: what names the pull on the directory, None if that could not be marked.
        goal: a digest of the changes that the directory was to hold.
        starts: whether these were none: it was to be an empty directory, or a base.
        sparse: the globs of a sparse pull.
    """

    root: tuple[int, int]
    target: str = ""
    mark: str | None = None
    goal: str = ""
    starts: bool = False
    sparse: tuple[bytes, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**self._asdict(), "root": list(self.root), "sparse": [glob.hex() for glob in self.sparse]}

    def remedy(self, directory: str) -> str:
        """Return what to do about it."""
        return f"go on with: {shlex.join(['agent', 'pull', self.target, directory])}" if self.target else "pull again"

    def error(self, directory: str) -> DivergedError:
        """Return the error for a command that can do nothing with a directory between two states."""
        return DivergedError(self.what, subject=directory, remedy=self.remedy(directory))

    @property
    def what(self) -> str:
        """What happened, for people."""
        return f"a pull{f' of {self.target}' if self.target else ''} into this directory was interrupted"


def parse_interruption(value: dict[str, Any]) -> Interruption | None:
    """Return what `to_json` gave, None if it is of another version."""
    try:
        device, inode = value["root"]
        sparse = tuple(bytes.fromhex(glob) for glob in value.get("sparse", ()))
        found = Interruption(**{**value, "root": (int(device), int(inode)), "sparse": sparse})
    except (KeyError, TypeError, ValueError):
        return None
    words = found.target, found.goal, found.mark or ""
    return found if all(isinstance(word, str) for word in words) else None


def interrupted_pull(home: str, directory: str) -> Interruption | None:
    """Return the pull that was interrupted in a directory, by the files in the state's directory `home`."""
    with suppress(OSError, WorkspaceError):
        about = os.stat(directory)
        found = parse_interruption(read_checksummed(os.path.join(home, "pulling")) or {})
        if found and found.root == (about.st_dev, about.st_ino):
            return found
    return None


def goal_of(ids: Iterable[str]) -> str:
    """Return the digest of a set of changes."""
    return sha256("\n".join(sorted(ids)).encode()).hexdigest()
