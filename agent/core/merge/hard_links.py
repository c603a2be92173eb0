"""Which paths are one file, across changes that each recorded link groups of their own (design, "Merge")."""

from __future__ import annotations

from typing import TypeAlias

from agent.core.model.entry import Version

Membership: TypeAlias = tuple[str, int]
"""A link group of one change: (the change's id, `group`)."""


class LinkGroups:
    """Joins the groups in which a path was recorded with one version.

    Two groups that share a version of a path are one file, visible or not: a writer that had all names on its disk
    still has one file if the shared name is deleted. One file has one mtime: the last one of any of its names.
    """

    def __init__(self) -> None:
        self._joined: dict[Membership, Membership] = {}
        self._label: dict[Membership, int] = {}
        self._mtimes: dict[Membership, tuple[Version, int]] = {}
        self._times: dict[Membership, tuple[Version, int]] = {}

    def join(self, memberships: list[Membership]) -> None:
        """Join groups that have one path in common."""
        first = self._root(memberships[0])
        for other in memberships[1:]:
            root = self._root(other)
            if root != first:
                first, root = min(first, root), max(first, root)
                self._joined[root] = first

    def number(self, membership: Membership) -> int:
        """Return the number of the joined group that `membership` is in."""
        root = self._root(membership)
        return self._label.setdefault(root, len(self._label) + 1)

    def record_mtime(self, membership: Membership, by: Version, mtime: int) -> None:
        """Note that the change `by` gave a visible name of the group this mtime (ns)."""
        self._mtimes[membership] = max(self._mtimes.get(membership, (by, mtime)), (by, mtime))

    def mtime(self, membership: Membership) -> int | None:
        """Return the mtime (ns) of the file of `membership`, None if none was noted."""
        root = self._root(membership)
        if root not in self._times:
            self._times = {}
            for member, recorded in self._mtimes.items():
                at = self._root(member)
                self._times[at] = max(self._times.get(at, recorded), recorded)
        return self._times[root][1] if root in self._times else None

    def _root(self, membership: Membership) -> Membership:
        while membership in self._joined:
            membership = self._joined[membership]
        return membership
