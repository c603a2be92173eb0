"""What is remembered of a directory, in place of the layers of the changes that lie on it.

A squash says of its changes all that any other change can ask of them. Where every other change was made on top of them
all, that is no more than the tree: each path with its version. So the rows that are remembered serve as a squash, and
none of the layers below has to be looked into (docs/decisions/stand-in.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from agent.core.directory.state_row import Known
from agent.core.image.change_set import Union
from agent.core.merge.path_state import ABSENT
from agent.core.model.change import Grouped, Kept, Listed, Squash, SquashEntry, ancestor
from agent.core.model.entry import new_tuple

STATE: Final = "state"
"""Stands for the squash's id and for its layer: those of an image are never called so."""


@dataclass(frozen=True, eq=False)
class Rows(Iterable[SquashEntry]):
    """What is remembered of every path, as the entries of a squash; a row's place in the layer is its number.

    Attributes:
        known: in bytes order of paths, nothing left out; iterated more than once.
        may_have_links: whether several paths may be one file.
    """

    known: Iterable[Known]
    may_have_links: bool

    def __iter__(self) -> Iterator[SquashEntry]:
        for number, (path, node, version, _, group) in enumerate(self.known):
            if version is None:
                # A directory for the sake of what lies below it: whatever was made since says more of it.
                yield Listed(path, node, ABSENT)
                continue
            yield new_tuple(Kept, (path, node, version, number, group))
            if group:
                yield Grouped(path, version, STATE, group)


@dataclass(frozen=True)
class StandIn:
    """A directory that is the tree of a union."""

    union: Union
    rows: Rows

    @property
    def squash(self) -> Squash:
        """The union as one squash."""
        records = self.union.ancestry().records.values()
        past = tuple(map(ancestor, records))
        return Squash(STATE, frozenset(self.union.ids), frozenset(), past, self.rows, STATE)
