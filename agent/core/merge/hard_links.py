"""Which paths are one file, across changes that each recorded link groups of their own (design, "Merge")."""

from __future__ import annotations

from typing import TypeAlias

from agent.core.model.entry import Version

Membership: TypeAlias = tuple[str, int]
"""A link group of one change: (the change's id, `group`)."""


class Links:
    """Joins the groups in which a path was recorded with one version.

    Being one file is transitive, so two groups that share a version of a path are one, visible or not: whoever had
    all names on the disk still has one file when the name that tied them is gone. One file has one mtime: the one
    that was said last of any of its names.
    """

    def __init__(self) -> None:
        self._joined: dict[Membership, Membership] = {}
        self._label: dict[Membership, int] = {}
        self._said: dict[Membership, tuple[Version, int]] = {}
        self._times: dict[Membership, tuple[Version, int]] = {}

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

    def say(self, membership: Membership, by: Version, mtime: int) -> None:
        """Say that `by` gave a visible name of the group this mtime (ns)."""
        self._said[membership] = max(self._said.get(membership, (by, mtime)), (by, mtime))

    def mtime(self, membership: Membership) -> int | None:
        """Return the mtime of the file that `membership` came to be a name of, None if nothing was said."""
        root = self._root(membership)
        if root not in self._times:
            self._times = {}
            for member, said in self._said.items():
                at = self._root(member)
                self._times[at] = max(self._times.get(at, said), said)
        return self._times[root][1] if root in self._times else None

    def _root(self, membership: Membership) -> Membership:
        while membership in self._joined:
            membership = self._joined[membership]
        return membership
