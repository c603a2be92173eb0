"""The merge of a set of changes: one pure function, commutative, associative, idempotent (design, "Merge")."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from agent.core.merge.conflict import Conflict, ConflictCollector
from agent.core.merge.hard_links import LinkGroups
from agent.core.merge.merge_pass import collect_conflicts, merged_rows
from agent.core.merge.path_state import MergeSource
from agent.core.model.attempts_and_ancestry import Ancestry
from agent.core.model.change import Change, Squash
from agent.core.model.entry import TreeEntry


class Merged:
    """A set of changes, merged. The tree is computed while it is read, so that it need not fit into memory.

    Attributes:
        ancestry: of every record in the set, of the squashed and the superseded too.
        superseded: ids of the changes that a later attempt replaced; their effect is left out.
        covered: ids of the changes whose effect a squash holds.
        changes: the changes that have an effect of their own, in (stamp, id) order.
        squashes: the squashes, by id, without those of which another covers everything.
    """

    def __init__(self, changes: Iterable[Change], squashes: Iterable[Squash], *, agreed: bool = False) -> None:
        every = {change.id: change for change in changes}
        found = {squash.id: squash for squash in squashes}
        self.squashes = tuple(found[id_] for id_ in sorted(found) if not _is_within_another(found[id_], found.values()))
        self.ancestry = Ancestry([*every.values(), *(record for squash in found.values() for record in squash.records)])
        self.covered = frozenset(id_ for squash in found.values() for id_ in squash.covers)
        dropped = frozenset(id_ for squash in found.values() for id_ in squash.dropped)
        self.superseded = self.ancestry.superseded(self.covered, dropped)
        effective = every.keys() - self.covered - self.superseded
        self.changes = tuple(sorted((every[id_] for id_ in effective), key=lambda change: change.version))
        origins: tuple[Change | Squash, ...] = (*self.changes, *self.squashes)
        self._sources = tuple(MergeSource(origin) for origin in origins)
        self._conflicts: tuple[Conflict, ...] | None = () if agreed else None
        self._links = LinkGroups()

    def tree(self) -> Iterator[TreeEntry]:
        """Yield the rows of the merged tree, in bytes order of paths.

        A row's `layer` and `offset` are the place of the content; for a further name of a link group it is the
        place of the group's first name in that layer.
        """
        self._survey()
        return merged_rows(self._sources, self._links)

    def __iter__(self) -> Iterator[TreeEntry]:
        return self.tree()

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """Where concurrent changes disagree, sorted by path and kind; one value for each path and kind."""
        return self._survey()

    def _survey(self) -> tuple[Conflict, ...]:
        """Go through all paths once, for conflicts and for link groups that several changes made.

        One change alone has no conflict; a squash holds the claims of many.
        """
        if self._conflicts is None and len(self._sources) < 2 and not self.squashes:
            self._conflicts = ()
        if self._conflicts is None:
            conflicts = ConflictCollector(self.ancestry, self.superseded)
            collect_conflicts(self._sources, self._links, conflicts)
            self._conflicts = conflicts.conflicts()
        return self._conflicts


def _is_within_another(squash: Squash, among: Collection[Squash]) -> bool:
    return any(
        squash.covers < other.covers or (squash.covers == other.covers and other.id < squash.id) for other in among
    )


def merge(changes: Iterable[Change], squashes: Iterable[Squash] = (), *, agreed: bool = False) -> Merged:
    """Return the merge of a set of changes and squashes; order and duplicates mean nothing.

    Args:
        agreed: the set is a chain (`ChangeSet.is_chain`) and has no link groups, so that the first pass, for conflicts
            and link groups, is left out.

    Raises:
        IntegrityError: a stamp is not larger than a parent's.
    """
    return Merged(changes, squashes, agreed=agreed)
