"""A pull that did not end: its note beside the state, and the texts about it that every command shows."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from typing import Any, NamedTuple

from agent.errors import DivergedError, WorkspaceError
from agent.workspace.filesystem.durable_files import read_checksummed


class InterruptedPull(NamedTuple):
    """A pull that began to write into a directory and did not end.

    Attributes:
        root: (st_dev, st_ino) of the directory.
        target: the reference that it pulled from, `""` if the note does not say.
        mark: the name of the pull in the directory's mark, None if the directory could not be marked.
        goal: a digest of the changes that the directory was to hold.
        starts: whether there were none: the directory was to be empty, or a base.
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
        """Return the remedy for people."""
        return f"go on with: {shlex.join(['agent', 'pull', self.target, directory])}" if self.target else "pull again"

    def error(self, directory: str) -> DivergedError:
        """Return the error for a command that can do nothing with a directory between two states."""
        return DivergedError(self.what, subject=directory, remedy=self.remedy(directory))

    @property
    def what(self) -> str:
        """The text for people: what happened."""
        return f"a pull{f' of {self.target}' if self.target else ''} into this directory was interrupted"


def parse_interrupted_pull(value: dict[str, Any]) -> InterruptedPull | None:
    """Return the pull of a note that `to_json` made, None if another version made it."""
    try:
        device, inode = value["root"]
        sparse = tuple(bytes.fromhex(glob) for glob in value.get("sparse", ()))
        found = InterruptedPull(**{**value, "root": (int(device), int(inode)), "sparse": sparse})
    except (KeyError, TypeError, ValueError):
        return None
    words = found.target, found.goal, found.mark or ""
    return found if all(isinstance(word, str) for word in words) else None


def interrupted_pull(home: str, directory: str) -> InterruptedPull | None:
    """Return the pull that did not end in `directory`, by its note in the state's directory `home`; None if all did."""
    with suppress(OSError, WorkspaceError):
        about = os.stat(directory)
        found = parse_interrupted_pull(read_checksummed(os.path.join(home, "pulling")) or {})
        if found and found.root == (about.st_dev, about.st_ino):
            return found
    return None


def digest_of_changes(ids: Iterable[str]) -> str:
    """Return one digest for a set of changes."""
    return sha256("\n".join(sorted(ids)).encode()).hexdigest()
