"""Plan a pull: the operations that make a directory equal a tree, from its state (design, "State and scan")."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from agent.core.directory.fetch_list import FetchList
from agent.core.directory.sparse_globs import Select, everything
from agent.core.directory.state_row import AppendableRows, Fingerprint, StateRow
from agent.core.merge.path_order import join
from agent.core.model.entry import Kind, Node, TreeEntry, new_tuple
from agent.core.spelling.path import parent

_Place: TypeAlias = "tuple[TreeEntry, StateRow | None, int]"
"""A row of the tree, the row of the state at its path, and its number in the tree."""


@dataclass(slots=True)
class PullPlan:
    """Operations, to be applied in the order of the fields.

    Attributes:
        remove: paths to remove, children before their directories.
        directories: directories to make or whose attributes are to be set at the end, parents first.
        fetch: files to fetch, by the layer (diff_id) that has the content.
        make: links, FIFOs and devices to make.
        link: further names of a file that exists by then: (row, first name).
        attributes: paths with the right content and wrong attributes.
        rows: the state after the pull: the whole tree, selected or not, with the fingerprints of unchanged paths.
            The operations give new fingerprints to the paths that they change.
        fingerprints: those of directories that stay; their rows have none.
        unselected: how many paths of the tree are not selected.
    """

    remove: list[tuple[bytes, Kind]] = field(default_factory=list)
    directories: list[TreeEntry] = field(default_factory=list)
    fetch: dict[str, FetchList] = field(default_factory=lambda: defaultdict(FetchList))
    make: list[TreeEntry] = field(default_factory=list)
    link: list[tuple[TreeEntry, bytes]] = field(default_factory=list)
    attributes: list[TreeEntry] = field(default_factory=list)
    rows: AppendableRows = field(default_factory=list[StateRow])
    fingerprints: dict[bytes, Fingerprint] = field(default_factory=dict)
    unselected: int = 0

    @property
    def changes_nothing(self) -> bool:
        """Whether the directory is the tree already."""
        return not (self.remove or self.directories or self.fetch or self.make or self.link or self.attributes)


def plan_pull(
    state: Iterable[StateRow],
    tree: Iterable[TreeEntry],
    selected: Select,
    *,
    toc_layers: Collection[str] = (),
    rows: AppendableRows | None = None,
) -> PullPlan:
    """Compare the state with the tree, both in bytes order of paths.

    Args:
        toc_layers: diff_ids of the layers whose table of contents gives the paths when files are fetched.
        rows: an empty store for the plan's `rows`.
    """
    steps = PullPlan() if rows is None else PullPlan(rows=rows)
    directories: list[tuple[TreeEntry, StateRow | None]] = []
    needed: set[bytes] = set()
    groups: dict[int, list[_Place]] = defaultdict(list)
    changed_in: set[bytes] = set()
    number = -1
    for old, new in join(state, tree):
        here = old if old is not None and old.fingerprint is not None else None
        is_directory = new is not None and new.node.kind is Kind.DIR
        taken = new is not None and (is_directory or selected(new.path))
        if here is not None and (new is None or not taken or here.node.kind is not new.node.kind):
            steps.remove.append((here.path, here.node.kind))
            changed_in.add(parent(here.path))
            here = None
        if new is None:
            continue
        path, node, version, layer, _, group = new
        number += 1
        group_number = 0 if group is None else group + 1
        fingerprint = here.fingerprint if here is not None and not is_directory else None
        steps.rows.append(new_tuple(StateRow, (path, node, version, fingerprint, group_number)))
        if is_directory:
            # Handled last: only then it is clear whether something below it is selected.
            directories.append((new, here))
            continue
        if not taken:
            steps.unselected += 1
            continue
        if selected is not everything:
            needed.add(parent(path))
        if group is not None:
            groups[group].append((new, here, number))
        else:
            _place(steps, (new, here, number), changed_in, toc_has_path=layer in toc_layers)
    kept_groups: set[int] = set()
    for names in groups.values():
        _place_group(steps, names, changed_in, kept_groups)
    _place_directories(steps, directories, needed, selected, changed_in)
    steps.remove.sort(reverse=True)
    return steps


def _place(steps: PullPlan, place: _Place, changed_in: set[bytes], *, toc_has_path: bool = False) -> None:
    new, here, number = place
    # A name with others on the disk is recreated: to change it in place would change those, too.
    if here is not None and not here.group:
        if here.version == new.version and here.node == new.node:
            return
        if _same_content(here, new.node):
            steps.attributes.append(new)
            return
    changed_in.add(parent(new.path))
    if new.node.kind is Kind.FILE:
        steps.fetch[new.layer].add(new, number, toc_has_path=toc_has_path)
    else:
        steps.make.append(new)


def _same_content(here: StateRow, new: Node) -> bool:
    # Without a version, the content, the number of names and the device of what is there are not recorded.
    old = here.node
    return (
        here.version is not None
        and old.kind is new.kind
        and (old.size, old.sha256, old.target, old.device) == (new.size, new.sha256, new.target, new.device)
        and (new.kind is not Kind.FILE or bool(new.sha256))
    )


def _place_group(steps: PullPlan, names: list[_Place], changed_in: set[bytes], kept_groups: set[int]) -> None:
    """Keep a correct link group; else recreate it: make its first name anew and link the others to it.

    `kept_groups` are the groups on disk that were kept: if one becomes several, only the first of these can be it.
    """
    disk_groups = {here.group if here is not None else 0 for _, here, _ in names}
    if (
        len(disk_groups) == 1
        and not disk_groups <= kept_groups
        and 0 not in disk_groups
        and all(here is not None and (here.version, here.node) == (new.version, new.node) for new, here, _ in names)
    ):
        kept_groups.update(disk_groups)
        return
    if len(names) == 1:
        _place(steps, names[0], changed_in)
        return
    first, _, number = names[0]
    changed_in.update(parent(new.path) for new, _, _ in names)
    if first.node.kind is Kind.FILE:
        steps.fetch[first.layer].add(first, number)
    else:
        steps.make.append(first)
    steps.link.extend((new, first.path) for new, _, _ in names[1:])


def _place_directories(
    steps: PullPlan,
    directories: list[tuple[TreeEntry, StateRow | None]],
    needed: set[bytes],
    selected: Select,
    changed_in: set[bytes],
) -> None:
    """Take the directories, those below before those above: each that is selected, or above something selected."""
    for new, here in reversed(directories):
        if new.path in needed or selected(new.path):
            needed.add(parent(new.path))
            _place_directory(steps, new, here, changed_in)
        else:
            _leave_directory(steps, new, here, changed_in)
    steps.directories.reverse()


def _place_directory(steps: PullPlan, new: TreeEntry, here: StateRow | None, changed_in: set[bytes]) -> None:
    if here is not None and here.fingerprint is not None:
        steps.fingerprints[here.path] = here.fingerprint
    # An operation in a directory changes its mtime, so that it must be set.
    if here is not None and here.node == new.node and new.path not in changed_in:
        return
    steps.directories.append(new)
    if here is None:
        changed_in.add(parent(new.path))


def _leave_directory(steps: PullPlan, new: TreeEntry, here: StateRow | None, changed_in: set[bytes]) -> None:
    steps.unselected += 1
    if here is not None:
        steps.remove.append((new.path, Kind.DIR))
        changed_in.add(parent(new.path))
