"""What a pull must do to a directory: what is remembered of it beside the tree it shall be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from agent.core.directory.fetch_list import Wanted
from agent.core.directory.select import Select, everything
from agent.core.directory.state_row import Fingerprint, Keeper, Known
from agent.core.merge.path_order import join
from agent.core.model.entry import Kind, Node, TreeEntry, new_tuple
from agent.core.spelling.path import parent

_Place: TypeAlias = "tuple[TreeEntry, Known | None, int]"
"""What shall be, what stands there, and which row of the tree it is."""


@dataclass(slots=True)
class Plan:
    """Steps, to be taken in the order of the fields.

    Attributes:
        remove: paths to remove, children before their directories.
        directories: directories to make or whose attributes are to be set at the end, parents first.
        fetch: files whose content must come, by the layer (diff_id) that has it.
        make: links, FIFOs and devices to make.
        link: names to give to a file that stands by then: (path, name it has already).
        attributes: what stands with the right content and wrong attributes.
        rows: the whole tree, selected or not, with the print that is remembered of what stays. The steps give new ones
            to what they touch.
        prints: those that are remembered of directories that stay; their rows have none.
        left: how many paths of the tree are not selected.
    """

    remove: list[tuple[bytes, Kind]] = field(default_factory=list)
    directories: list[TreeEntry] = field(default_factory=list)
    fetch: dict[str, Wanted] = field(default_factory=lambda: defaultdict(Wanted))
    make: list[TreeEntry] = field(default_factory=list)
    link: list[tuple[TreeEntry, bytes]] = field(default_factory=list)
    attributes: list[TreeEntry] = field(default_factory=list)
    rows: Keeper = field(default_factory=list[Known])
    prints: dict[bytes, Fingerprint] = field(default_factory=dict)
    left: int = 0

    @property
    def changes_nothing(self) -> bool:
        """Whether the directory is the tree already."""
        return not (self.remove or self.directories or self.fetch or self.make or self.link or self.attributes)


def plan(
    known: Iterable[Known],
    tree: Iterable[TreeEntry],
    selected: Select,
    *,
    told: Collection[str] = (),
    rows: Keeper | None = None,
) -> Plan:
    """Compare what is remembered with the tree that shall be, both in bytes order of paths.

    Args:
        told: the layers whose tables of contents tell the paths of files again when these are fetched.
        rows: where to keep the plan's `rows`.
    """
    steps = Plan() if rows is None else Plan(rows=rows)
    directories: list[tuple[TreeEntry, Known | None]] = []
    needed: set[bytes] = set()
    groups: dict[int, list[_Place]] = defaultdict(list)
    stirred: set[bytes] = set()
    number = -1
    for old, new in join(known, tree):
        here = old if old is not None and old.print is not None else None
        is_directory = new is not None and new.node.kind is Kind.DIR
        taken = new is not None and (is_directory or selected(new.path))
        if here is not None and (new is None or not taken or here.node.kind is not new.node.kind):
            steps.remove.append((here.path, here.node.kind))
            stirred.add(parent(here.path))
            here = None
        if new is None:
            continue
        path, node, version, layer, _, group = new
        number += 1
        numbered = 0 if group is None else group + 1
        stands = here.print if here is not None and not is_directory else None
        steps.rows.append(new_tuple(Known, (path, node, version, stands, numbered)))
        if is_directory:
            # For last: whether something below it is selected is not known yet.
            directories.append((new, here))
            continue
        if not taken:
            steps.left += 1
            continue
        if selected is not everything:
            needed.add(parent(path))
        if group is not None:
            groups[group].append((new, here, number))
        else:
            _place(steps, (new, here, number), stirred, told=layer in told)
    kept_groups: set[int] = set()
    for names in groups.values():
        _place_group(steps, names, stirred, kept_groups)
    _place_directories(steps, directories, needed, selected, stirred)
    steps.remove.sort(reverse=True)
    return steps


def _place(steps: Plan, place: _Place, stirred: set[bytes], *, told: bool = False) -> None:
    new, here, number = place
    # A name that had others on disk is made anew: changing it in place would change those, too.
    if here is not None and not here.group:
        if here.version == new.version and here.node == new.node:
            return
        if _same_content(here, new.node):
            steps.attributes.append(new)
            return
    stirred.add(parent(new.path))
    if new.node.kind is Kind.FILE:
        steps.fetch[new.layer].add(new, number, told=told)
    else:
        steps.make.append(new)


def _same_content(here: Known, new: Node) -> bool:
    # Without a version it is not known what stands there, how many names it has, nor which device it is.
    old = here.node
    return (
        here.version is not None
        and old.kind is new.kind
        and (old.size, old.sha256, old.target, old.device) == (new.size, new.sha256, new.target, new.device)
        and (new.kind is not Kind.FILE or bool(new.sha256))
    )


def _place_group(steps: Plan, names: list[_Place], stirred: set[bytes], kept_groups: set[int]) -> None:
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
        _place(steps, names[0], stirred)
        return
    first, _, number = names[0]
    stirred.update(parent(new.path) for new, _, _ in names)
    if first.node.kind is Kind.FILE:
        steps.fetch[first.layer].add(first, number)
    else:
        steps.make.append(first)
    steps.link.extend((new, first.path) for new, _, _ in names[1:])


def _place_directories(
    steps: Plan,
    directories: list[tuple[TreeEntry, Known | None]],
    needed: set[bytes],
    selected: Select,
    stirred: set[bytes],
) -> None:
    """Take the directories, those below before those above: each that is selected, or above something selected."""
    for new, here in reversed(directories):
        if new.path in needed or selected(new.path):
            needed.add(parent(new.path))
            _place_directory(steps, new, here, stirred)
        else:
            _leave_directory(steps, new, here, stirred)
    steps.directories.reverse()


def _place_directory(steps: Plan, new: TreeEntry, here: Known | None, stirred: set[bytes]) -> None:
    if here is not None and here.print is not None:
        steps.prints[here.path] = here.print
    # Making or removing something in a directory moved its mtime, so that it must be set again.
    if here is not None and here.node == new.node and new.path not in stirred:
        return
    steps.directories.append(new)
    if here is None:
        stirred.add(parent(new.path))


def _leave_directory(steps: Plan, new: TreeEntry, here: Known | None, stirred: set[bytes]) -> None:
    steps.left += 1
    if here is not None:
        steps.remove.append((new.path, Kind.DIR))
        stirred.add(parent(new.path))
