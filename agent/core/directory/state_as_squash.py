"""A state used as a squash of the changes on the disk, in place of their layers (docs/decisions/stand-in.md).

A squash has all that a merge needs of its changes. If every other change was made on top of them all, that is only the
tree: each path with its version. So the rows of the state serve as a squash, and no layer below has to be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from agent.core.directory.state_row import StateRow
from agent.core.image.change_set import ChangeSet
from agent.core.merge.path_state import ABSENT
from agent.core.model.change import Grouped, Kept, Listed, Squash, SquashEntry, ancestor
from agent.core.model.entry import new_tuple

STATE_ID: Final = "state"
"""The id of the squash and of its layer; an image has no such ids."""


@dataclass(frozen=True, eq=False)
class StateSquashEntries(Iterable[SquashEntry]):
    """The rows of a state as the entries of a squash; the offset of a row is its number.

    Attributes:
        rows: all rows in bytes order of paths; iterated more than once.
        may_have_links: whether several paths may be one file.
    """

    rows: Iterable[StateRow]
    may_have_links: bool

    def __iter__(self) -> Iterator[SquashEntry]:
        for number, (path, node, version, _, group) in enumerate(self.rows):
            if version is None:
                # A directory that exists for paths below it: any later listing is newer.
                yield Listed(path, node, ABSENT)
                continue
            yield new_tuple(Kept, (path, node, version, number, group))
            if group:
                yield Grouped(path, version, STATE_ID, group)


@dataclass(frozen=True)
class StateAsSquash:
    """The state of a directory that equals the tree of a change set."""

    union: ChangeSet
    rows: StateSquashEntries

    @property
    def squash(self) -> Squash:
        """The change set as one squash."""
        records = self.union.ancestry().records.values()
        past = tuple(map(ancestor, records))
        return Squash(STATE_ID, frozenset(self.union.ids), frozenset(), past, self.rows, STATE_ID)
