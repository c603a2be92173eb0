"""The files of a directory's state, and whether they are about this directory or another at the same path."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from agent.core.directory.identity import Identity, is_same
from agent.errors import IntegrityError
from agent.sync.local.directory_state import DirectoryState, parse_state
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.workspace.filesystem.directory_mark import DirectoryMark, is_name, new_mark
from agent.workspace.filesystem.durable_files import read_checksummed, remove_file, write_checksummed
from agent.workspace.filesystem.root import Root
from agent.workspace.state.other_states import Owner, owners_aside, path_aside, set_aside, take_back
from agent.workspace.state.state_file import State, StateDamagedError, invalid_header, read_state, write_state

STATE, INTENT, PULLING = "state", "intent", "pulling"


class StateFiles:
    """The files of an open, locked directory: its state, the intent of a push, the note of a pull.

    Each file says which directory it is about. A file about another directory is not used and not lost: it is set aside
    before another takes its place.

    Attributes:
        root: the directory.
        state: the state, None if there is none, it is damaged, or about another directory.
        damage: the error, if the state is damaged.
        other: (st_dev, st_ino) of the other directory that the state is about; None if it is not about another one.
        mark: the mark on the directory, None if it has none.
        owners: each (st_dev, st_ino) that this very directory had.
    """

    def __init__(self, context: WorkspaceContext, root: Root) -> None:
        self._context = context
        self._rows: State | None = None
        self.root = root
        self.state: DirectoryState | None = None
        self.damage: StateDamagedError | None = None
        self.other: Owner | None = None
        self.mark: DirectoryMark | None = root.mark
        self.owners: set[Owner] = {root.identity}
        self._read()
        self._restore()

    def close(self) -> None:
        """Close the state and the directory."""
        self._close_state()
        self.root.close()

    @property
    def row_count(self) -> int:
        """How many rows the state has."""
        return self._rows.rows if self._rows is not None else 0

    def cache_rows(self) -> None:
        """Keep the rows in memory when they are read, if they are few."""
        if self._rows is not None:
            self._rows.cache()

    def save(self, state: DirectoryState) -> None:
        """Replace the state, in one step; its `root` and `mark` become those of this directory.

        Raises:
            WorkspaceError: it cannot be written.
        """
        self._set_other_aside(STATE)
        state = state._replace(root=self.root.identity, mark=self.ensure_mark())
        write_state(self._path(STATE), state.header(), state.rows)
        self._close_state()
        self._read()

    def ensure_mark(self) -> str | None:
        """Return the name of the last pull that wrote into the directory; None if it cannot be marked.

        A directory without a mark gets one: the state's, if a mark was removed, because the state still fits.
        """
        if self.mark is None:
            before = self.state.mark if self.state else None
            self.set_mark(DirectoryMark(before) if before else new_mark())
        return self.mark.pulled if self.mark else None

    def set_mark(self, mark: DirectoryMark) -> None:
        """Mark the directory, if it can be marked."""
        self.root.set_mark(mark)
        self.mark = self.root.mark

    def read_note(self, name: str) -> dict[str, Any] | None:
        """Return the content of a small file about this directory.

        None if there is none, or it is about another directory; empty if it cannot be read.
        """
        value = read_checksummed(self._path(name))
        if value is None or owner_in(value) is None:
            return {} if os.path.lexists(self._path(name)) else None
        return value if self._is_about(value) else None

    def write_note(self, name: str, value: Mapping[str, Any]) -> None:
        """Replace a small file, in one step. Its `root` and `mark` say which directory it is about."""
        self._set_other_aside(name)
        write_checksummed(self._path(name), value)

    def forget(self, name: str) -> None:
        """Remove a small file, unless it is about another directory."""
        self._set_other_aside(name)
        remove_file(self._path(name))

    def _read(self) -> None:
        """Read the state, and check whether it is about this directory."""
        self.state = self.other = self.damage = None
        try:
            self._rows, state = _opened(self._path(STATE))
            is_mine = state is None or self._is_mine(state)
        except StateDamagedError as error:
            self._close_state()
            self.damage = error
            return
        if state is not None and not is_mine:
            self.other = state.root
            self._close_state()
            return
        self.state = state
        if state is not None:
            self.owners.add(state.root)

    def _is_mine(self, state: DirectoryState) -> bool:
        now = Identity(*self.root.identity, self.mark.pulled if self.mark else None)
        return is_same(Identity(*state.root, state.mark), now, lambda: self._has_untouched_path(state))

    def _has_untouched_path(self, state: DirectoryState) -> bool:
        """Say whether any path of the state is in the directory, untouched."""
        for row in state.rows:
            with suppress(ValueError):  # no path at all
                found = self.root.lstat(row.path) if row.fingerprint is not None else None
                if found is not None and found.fingerprint == row.fingerprint:
                    return True
        return False

    def _is_about(self, note: Mapping[str, Any]) -> bool:
        """Say whether a small file is about this directory.

        Without a state the mark must fit: a new directory may have the inode number of a removed one.
        """
        owner, mark = owner_in(note), note.get("mark")
        if self.state is not None or mark is None:
            return owner in self.owners
        return owner is not None and owner[1] == self.root.identity[1] and mark == (self.mark and self.mark.pulled)

    def _set_other_aside(self, name: str) -> None:
        """Set a file aside that is about another directory, before another one takes its place."""
        if name == STATE:
            owner = self.other
        else:
            value = read_checksummed(self._path(name)) or {}
            owner = None if self._is_about(value) else owner_in(value)
        if owner is None:
            return
        path = set_aside(self._context.state, name, owner)
        if name == STATE:
            text = f"what was remembered of another directory, which was here before, is kept in {path}"
            self._context.progress.notice(f"{self._context.directory}: {text}")

    def _restore(self) -> None:
        """Use what was set aside about this directory, if it is at its path again."""
        home = self._context.state
        if self.state is None and self.damage is None:
            owner = next(filter(self._is_own, owners_aside(home, self.root.identity[1])), None)
            if owner is not None:
                self._set_other_aside(STATE)
                take_back(home, STATE, owner)
                self._read()
        for name in (INTENT, PULLING):
            for owner in sorted(self.owners):
                value = read_checksummed(path_aside(home, name, owner))
                if value is not None and self._is_about(value):
                    self._set_other_aside(name)
                    take_back(home, name, owner)

    def _is_own(self, owner: Owner) -> bool:
        """Say whether the state that was set aside about `owner` is about this directory, and no pull came since.

        A state with another mark may be about a removed directory with the same inode number.
        """
        with suppress(StateDamagedError):
            file, state = _opened(path_aside(self._context.state, STATE, owner))
            if file is not None and state is not None:
                with file:
                    return state.mark == (self.mark and self.mark.pulled) and self._is_mine(state)
        return False

    def _close_state(self) -> None:
        if self._rows is not None:
            self._rows.close()
        self._rows = None

    def _path(self, name: str) -> str:
        return os.path.join(self._context.state, name)


def target_of_state(home: str) -> str | None:
    """Return a target that a file in a state's directory names, of whatever workspace; None if there is none.

    Raises:
        StateDamagedError: the state is damaged or makes no sense.
        WorkspaceError: the directory cannot be read.
    """
    for name in sorted(os.listdir(home), key=lambda name: (name != STATE, name)):
        path = os.path.join(home, name)
        if name.partition("-")[0] == PULLING:
            value = (read_checksummed(path) or {}).get("target")
        elif name.partition("-")[0] == STATE:
            file = read_state(path)
            if file is None:
                continue
            with file:
                value = file.header.get("target")
            if not isinstance(value, str):
                raise invalid_header(path)
        else:
            continue
        if value:
            return str(value)
    return None


def owner_in(value: Mapping[str, Any]) -> Owner | None:
    """Return (st_dev, st_ino) of the directory that a small file is about, None if it does not name one."""
    try:
        device, inode = value["root"]
        return int(device), int(inode)
    except (KeyError, TypeError, ValueError):
        return None


def _opened(path: str) -> tuple[State | None, DirectoryState | None]:
    """Open a state file, and return its rows and its value.

    Raises:
        StateDamagedError: it is damaged or makes no sense.
    """
    file = read_state(path)
    if file is None:
        return None, None
    try:
        state = parse_state(file.header, file)
        if state.mark is not None and not is_name(state.mark):
            raise ValueError("mark")
        return file, state
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, IntegrityError) as error:
        file.close()
        raise invalid_header(path) from error
