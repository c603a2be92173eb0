"""The files that remember a directory, and whether they are about the very directory that stands there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from agent.core.directory.identity import Identity, is_same
from agent.errors import IntegrityError
from agent.sync.local.directory_state import Memory, parse_memory
from agent.sync.operation.workspace_context import Site
from agent.workspace.filesystem.durable_files import read_sealed, remove_file, write_sealed
from agent.workspace.filesystem.mark import Mark, is_name, new_mark
from agent.workspace.filesystem.root import Root
from agent.workspace.state.other_states import Owner, owners_aside, path_aside, set_aside, take_back
from agent.workspace.state.state import State, StateDamagedError, read_state, senseless, write_state

STATE, INTENT, PULLING = "state", "intent", "pulling"


class Notes:
    """What is remembered of an open, locked directory: its state, a push and a pull that are under way.

    Each of these files says which directory it is about. One about another directory is never believed and never lost:
    it is set aside before anything takes its place.

    Attributes:
        root: the directory.
        memory: what is remembered of it, None for a directory that is not ours.
        damage: why nothing is remembered although there is a state; None if there is none or it is fine.
        other: (st_dev, st_ino) of the other directory that the state is about; None if it is not about another one.
        mark: what the directory says of itself, None if it has no mark.
        owners: under which (st_dev, st_ino) this very directory was known.
    """

    def __init__(self, site: Site, root: Root) -> None:
        self._site = site
        self._state: State | None = None
        self.root = root
        self.memory: Memory | None = None
        self.damage: StateDamagedError | None = None
        self.other: Owner | None = None
        self.mark: Mark | None = root.mark
        self.owners: set[Owner] = {root.identity}
        self._read()
        self._take_back()

    def close(self) -> None:
        """Close what is open."""
        self._close_state()
        self.root.close()

    @property
    def rows(self) -> int:
        """How many paths are remembered."""
        return self._state.rows if self._state is not None else 0

    def keep_rows(self) -> None:
        """Keep what is remembered in memory when it is read, if it is little."""
        if self._state is not None:
            self._state.keep()

    def remember(self, memory: Memory) -> None:
        """Replace what is remembered, in one step; whatever `memory` says, it is of this directory."""
        self._set_other_aside(STATE)
        memory = memory.now(root=self.root.identity, mark=self.ensure_mark())
        write_state(self._path(STATE), memory.header(), memory.known)
        self._close_state()
        self._read()

    def ensure_mark(self) -> str | None:
        """Return what names the last pull that wrote into the directory, after marking one that has no mark.

        None if it cannot be marked. One whose mark was taken away gets the same again: the state still fits it.
        """
        if self.mark is None:
            before = self.memory.mark if self.memory else None
            self.set_mark(Mark(before) if before else new_mark())
        return self.mark.pulled if self.mark else None

    def set_mark(self, mark: Mark) -> None:
        """Mark the directory, if it can be marked."""
        self.root.set_mark(mark)
        self.mark = self.root.mark

    def note(self, name: str) -> dict[str, Any] | None:
        """Return what a small file says about this directory.

        None if there is none, or it is about another one; empty if there is one that makes no sense.
        """
        value = read_sealed(self._path(name))
        if value is None or owner_in(value) is None:
            return {} if os.path.lexists(self._path(name)) else None
        return value if self._is_about(value) else None

    def take_note(self, name: str, value: Mapping[str, Any]) -> None:
        """Replace a small file, in one step. `root` and `mark` in it say which directory it is about."""
        self._set_other_aside(name)
        write_sealed(self._path(name), value)

    def forget(self, name: str) -> None:
        """Remove a small file, unless it is about another directory."""
        self._set_other_aside(name)
        remove_file(self._path(name))

    def _read(self) -> None:
        """Read the state, and see whether it is about this directory."""
        self.memory = self.other = self.damage = None
        try:
            self._state, memory = _opened(self._path(STATE))
            is_mine = memory is None or self._is_mine(memory)
        except StateDamagedError as error:
            self._close_state()
            self.damage = error
            return
        if memory is not None and not is_mine:
            self.other = memory.root
            self._close_state()
            return
        self.memory = memory
        if memory is not None:
            self.owners.add(memory.root)

    def _is_mine(self, memory: Memory) -> bool:
        now = Identity(*self.root.identity, self.mark.pulled if self.mark else None)
        return is_same(Identity(*memory.root, memory.mark), now, lambda: self._has_untouched_path(memory))

    def _has_untouched_path(self, memory: Memory) -> bool:
        """Say whether anything that is remembered stands there untouched."""
        for row in memory.known:
            with suppress(ValueError):  # no path at all
                found = self.root.lstat(row.path) if row.fingerprint is not None else None
                if found is not None and found.fingerprint == row.fingerprint:
                    return True
        return False

    def _is_about(self, note: Mapping[str, Any]) -> bool:
        """Say whether a small file is about this directory.

        Where no state tells, the mark must fit: a new directory may have the inode number of one that was removed.
        """
        owner, mark = owner_in(note), note.get("mark")
        if self.memory is not None or mark is None:
            return owner in self.owners
        return owner is not None and owner[1] == self.root.identity[1] and mark == (self.mark and self.mark.pulled)

    def _set_other_aside(self, name: str) -> None:
        """Set a file aside that is about another directory, before another one takes its place."""
        if name == STATE:
            owner = self.other
        else:
            value = read_sealed(self._path(name)) or {}
            owner = None if self._is_about(value) else owner_in(value)
        if owner is None:
            return
        kept = set_aside(self._site.state, name, owner)
        if name == STATE:
            said = f"what was remembered of another directory, which was here before, is kept in {kept}"
            self._site.progress.notice(f"{self._site.directory}: {said}")

    def _take_back(self) -> None:
        """Go on with what was set aside about this directory, if it stands here again."""
        home = self._site.state
        if self.memory is None and self.damage is None:
            kept = next(filter(self._is_kept, owners_aside(home, self.root.identity[1])), None)
            if kept is not None:
                self._set_other_aside(STATE)
                take_back(home, STATE, kept)
                self._read()
        for name in (INTENT, PULLING):
            for owner in sorted(self.owners):
                value = read_sealed(path_aside(home, name, owner))
                if value is not None and self._is_about(value):
                    self._set_other_aside(name)
                    take_back(home, name, owner)

    def _is_kept(self, owner: Owner) -> bool:
        """Say whether the state that was set aside about `owner` is about this directory, as nothing has pulled since.

        With another mark it may be that of a directory that is gone, and this one has its inode number.
        """
        with suppress(StateDamagedError):
            state, memory = _opened(path_aside(self._site.state, STATE, owner))
            if state is not None and memory is not None:
                with state:
                    return memory.mark == (self.mark and self.mark.pulled) and self._is_mine(memory)
        return False

    def _close_state(self) -> None:
        if self._state is not None:
            self._state.close()
        self._state = None

    def _path(self, name: str) -> str:
        return os.path.join(self._site.state, name)


def remembered_target(home: str) -> str | None:
    """Return a target that something in a state's directory is about, of whatever workspace; None if there is nothing.

    Raises:
        StateDamagedError: the state is damaged or makes no sense.
        WorkspaceError: the directory cannot be read.
    """
    for name in sorted(os.listdir(home), key=lambda name: (name != STATE, name)):
        path = os.path.join(home, name)
        if name.partition("-")[0] == PULLING:
            value = (read_sealed(path) or {}).get("target")
        elif name.partition("-")[0] == STATE:
            state = read_state(path)
            if state is None:
                continue
            with state:
                value = state.header.get("target")
            if not isinstance(value, str):
                raise senseless(path)
        else:
            continue
        if value:
            return str(value)
    return None


def owner_in(value: Mapping[str, Any]) -> Owner | None:
    """Return the directory that a small file is about, None if it does not say that."""
    try:
        device, inode = value["root"]
        return int(device), int(inode)
    except (KeyError, TypeError, ValueError):
        return None


def _opened(path: str) -> tuple[State | None, Memory | None]:
    """Open a state, and return what it says.

    Raises:
        StateDamagedError: it is damaged or makes no sense.
    """
    state = read_state(path)
    if state is None:
        return None, None
    try:
        memory = parse_memory(state.header, state)
        if memory.mark is not None and not is_name(memory.mark):
            raise ValueError("mark")
        return state, memory
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, IntegrityError) as error:
        state.close()
        raise senseless(path) from error
