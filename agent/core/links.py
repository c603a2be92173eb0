"""Which visible paths are one file, across changes that each recorded link groups of their own (design section 4)."""

from __future__ import annotations

Membership = tuple[int, int]
"""A link group of one source: (index of the source, its `group`)."""


class Links:
    """Joins the groups in which a visible path was recorded with its exact version.

    Being one file is transitive, so two groups that share a visible path are one.
    """

    def __init__(self) -> None:
        self._joined: dict[Membership, Membership] = {}
        self._label: dict[Membership, int] = {}

    def join(self, memberships: list[Membership]) -> None:
        """Say that one path stands in all these groups."""
        first = self._root(memberships[0])
        for other in memberships[1:]:
            root = self._root(other)
            if root != first:
                first, root = min(first, root), max(first, root)
                self._joined[root] = first

    def label(self, membership: Membership) -> int:
        """Return the number of the group that `membership` came to be part of."""
        root = self._root(membership)
        return self._label.setdefault(root, len(self._label) + 1)

    def _root(self, membership: Membership) -> Membership:
        while membership in self._joined:
            membership = self._joined[membership]
        return membership
