"""Histories of simulated writers, and the laws that every one of them must keep."""

from copy import deepcopy
from itertools import count

from agent.core.layers.flatten import flatten
from agent.core.layers.linearise import fix_up, layers
from agent.core.layers.squash_entries import squash
from agent.core.merge.merge import merge
from agent.core.model.attempts_and_ancestry import Ancestry
from agent.core.model.change import Grouped, Kept, Squash, Touched, squash_order
from agent.core.model.entry import Context, Kind, Touch, Write
from agent.core.spelling.path import ancestors
from tests.core.made import tar_items
from tests.property import overlay
from tests.property.writer import Disk, plain, pulled, shown, written


class History:
    """A set of changes that grows by writers who each pulled some of it."""

    def __init__(self, base=None):
        self.changes = []
        self.disks = {}
        self._names = count()
        if base is not None:
            self.push((), base, stamp=0)

    def past(self, parents):
        ids = Ancestry(self.changes).past(parents)
        return [change for change in self.changes if change.id in ids]

    def push(self, parents, edit, *, stamp=None, writer=None, leave_out=(), name=None):
        """Let a writer pull `parents`, apply `edit` to its disk and push; return the change."""
        past = self.past(parents)
        before = pulled(merge(past).tree(), leave_out)
        after = deepcopy(before)
        edit(after)
        stamp = len(self.changes) if stamp is None else stamp
        name = name or f"c{next(self._names)}"
        change = written(before, after, name, stamp, sorted(parents), writer)
        self.changes.append(change)
        self.disks[change.id] = after
        return change

    def frontier(self, ids):
        return Ancestry(self.changes).frontier(ids)


def check_own_disk(history, change):
    """Whoever saw everything gets back exactly the own disk (G10)."""
    merged = merge(history.past([change.id]))
    nodes, groups = shown(merged.tree())
    disk = history.disks[change.id]
    if disk.unpulled:
        nodes = {path: node for path, node in nodes.items() if path in disk.things or path not in disk.unpulled}
        groups = {frozenset(names & disk.things.keys()) for names in groups}
        groups = {names for names in groups if len(names) > 1}
    assert (nodes, groups) == disk.shown()


def check_tree(merged):
    """Every row's parent is a directory of the tree, rows are in order, one file is one node; return the rows."""
    rows = list(merged.tree())
    assert [row.path for row in rows] == sorted({row.path for row in rows})
    kinds = {row.path: row.node.kind for row in rows}
    for path in kinds:
        assert all(kinds.get(above) is Kind.DIR for above in ancestors(path)), path
    files = {}
    for row in rows:
        if row.group is not None:
            assert files.setdefault(row.group, row.node) == row.node
    return rows


def check_order(changes, squashes=()):
    """Order and duplicates mean nothing."""
    one = merge(changes, squashes)
    other = merge([*reversed(changes), *changes], [*reversed(list(squashes)), *squashes])
    assert list(one.tree()) == list(other.tree())
    assert one.conflicts == other.conflicts
    assert one.superseded == other.superseded
    return one


def check_layers(merged):
    """The layers with the fix-up give the merged tree, plainly and on a union file system (G4)."""
    rows = list(merged.tree())
    nodes, groups = shown(rows)
    touched = _touched([entry for layer in layers(merged) for entry in layer.entries])
    stack = [list(tar_items(layer.entries)) for layer in layers(merged)]
    last = fix_up(merged)
    if last is None:
        _compare(stack, nodes, groups, touched)
    else:
        _compare([*stack, list(last.items())], nodes, groups, touched)
        assert touched or _plain(stack) != (nodes, groups) or overlay.shown(_unpacked(stack))[2]
    return last


def _touched(entries):
    """Return the paths whose files were touched: a touch of one name is one of all names that the file ever had."""
    touched = {entry.path for entry in entries if isinstance(entry, Touch | Touched)}
    grouped = {entry.path for entry in entries if isinstance(entry, Write | Context | Grouped) and entry.group}
    return touched | grouped if touched & grouped else touched


def _unpacked(stack):
    return [overlay.unpacked(items) for items in stack]


def _compare(stack, nodes, groups, touched):
    assert _plain(stack, touched) == _untouched(nodes, groups, touched)
    seen, linked, dead = overlay.shown(_unpacked(stack))
    assert not dead
    assert _untouched({path: plain(node) for path, node in seen.items()}, linked, touched) == _untouched(
        nodes, groups, touched
    )


def _plain(stack, touched=()):
    writes = flatten((0, items) for items in stack)
    names = {}
    for write in writes:
        if write.group:
            names.setdefault(write.group, set()).add(write.path)
    return _untouched({w.path: plain(w.node) for w in writes}, {frozenset(g) for g in names.values()}, touched)


def _untouched(nodes, groups, touched):
    return {path: node._replace(mtime=0) if path in touched else node for path, node in nodes.items()}, groups


def packed(settled, covers, name="squash"):
    """Return a squash as its reader sees it."""
    plan = squash(settled, covers)
    numbers, entries = {}, []
    for entry, row in plan:
        if isinstance(entry, Kept):
            assert row is not None
            if entry.group:
                entry = entry._replace(group=numbers.setdefault(entry.group, len(numbers) + 1))
        entries.append(entry)
    assert entries == sorted(entries, key=squash_order)
    return Squash(name, plan.covers, plan.dropped, plan.records, entries, "layer:" + name)


def check_squash(changes, settled, covers):
    """A squash in place of what it covers changes nothing."""
    whole = merge(changes)
    taken = packed(merge(settled), covers)
    hidden = taken.covers | taken.dropped
    rest = [change for change in changes if change.id not in hidden]
    for several in (rest, changes):
        one = check_order(several, [taken])
        assert same(one) == same(whole)
        check_layers(one)
    return taken, rest


def same(merged):
    rows = list(merged.tree())
    _, groups = shown(rows)
    return (
        [(row.path, plain(row.node), row.version) for row in rows],
        groups,
        [(conflict.path, conflict.kind, conflict.ids, conflict.winner) for conflict in merged.conflicts],
        merged.superseded,
    )


__all__ = [
    "Disk",
    "History",
    "check_layers",
    "check_order",
    "check_own_disk",
    "check_squash",
    "check_tree",
    "packed",
    "same",
]
