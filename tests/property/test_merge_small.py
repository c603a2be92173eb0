"""The laws of merging, checked on every small history."""

import os
from itertools import combinations, product

import pytest

from agent.core.merge.merge import merge
from tests.property.histories import History, check_layers, check_order, check_own_disk, check_squash, check_tree
from tests.property.writer import directory, file, link

EVERY = bool(os.environ.get("INSTEP_EVERY_HISTORY"))


def _base(disk):
    disk.put(b"d", directory())
    disk.put(b"d/x", file("x"))
    disk.hard_link(b"e", b"d/x")


EDITS = {
    "write d/x": lambda n: lambda disk: disk.put(b"d/x", file(f"x{n}")),
    "edit e through its links": lambda n: lambda disk: disk.edit(b"e", file(f"e{n}")),
    "file over d": lambda n: lambda disk: disk.put(b"d", file(f"d{n}")),
    "chmod d": lambda n: lambda disk: disk.put(b"d", directory(0o700 + n)),
    "delete d": lambda n: lambda disk: disk.remove(b"d"),
    "delete d/x": lambda n: lambda disk: disk.remove(b"d/x"),
    "directory over e": lambda n: lambda disk: disk.put(b"e/y", link(f"e{n}")),
    "delete e": lambda n: lambda disk: disk.remove(b"e"),
    "link e to d/x": lambda n: lambda disk: disk.hard_link(b"e", b"d/x"),
    "link d-x to d/x": lambda n: lambda disk: disk.hard_link(b"d-x", b"d/x"),
    "touch d/x": lambda n: lambda disk: disk.touch(b"d/x", 100 - n),
    "rename d": lambda n: lambda disk: _rename(disk, b"d", b"e"),
}


def _rename(disk, old, new):
    moved = {path: thing for path, thing in disk.things.items() if path == old or path.startswith(old + b"/")}
    disk.remove(old)
    disk.remove(new)
    if moved:
        disk.things.update({new + path[len(old) :]: thing for path, thing in moved.items()})


def _pasts(size):
    """Yield, for each of `size` changes after the base, the indices of what its writer had pulled."""

    def closed(seen, before):
        return all(set(before[one]) <= set(seen) for one in seen)

    def grow(before):
        if len(before) == size:
            yield tuple(before)
            return
        now = range(len(before))
        for number in range(len(before) + 1):
            for seen in combinations(now, number):
                if closed(seen, before):
                    yield from grow([*before, seen])

    yield from grow([])


def _check(edits, pasts, squashes):
    history = History(_base)
    for number, (edit, seen) in enumerate(zip(edits, pasts, strict=True), 1):
        parents = history.frontier([history.changes[0].id, *(history.changes[one + 1].id for one in seen)])
        change = history.push(parents, EDITS[edit](number))
        check_own_disk(history, change)
    merged = check_order(history.changes)
    check_tree(merged)
    check_layers(merged)
    if squashes:
        for change in history.changes[1:]:
            settled = history.past([change.id])
            check_squash(history.changes, settled, [one.id for one in settled])
            check_squash(history.changes, settled, [change.id])
            check_squash(history.changes, settled, [settled[0].id])


def _histories(size, stride, offset=0):
    for number, (edits, pasts) in enumerate(product(product(EDITS, repeat=size), _pasts(size))):
        if number % stride == offset:
            yield edits, pasts


@pytest.mark.sweep(2)
@pytest.mark.parametrize("past", list(_pasts(2)), ids=str)
def test_laws_hold_for_every_history_of_two_changes(past):
    for edits in product(EDITS, repeat=2):
        _check(edits, past, squashes=True)


@pytest.mark.sweep(4)
@pytest.mark.timeout(3600 if EVERY else 120)
@pytest.mark.parametrize("share", range(8))
def test_laws_hold_for_histories_of_three_changes(share):
    for edits, pasts in _histories(3, 8 if EVERY else 8 * 4 + 1, share):
        _check(edits, pasts, squashes=EVERY or share == 0)


if EVERY:

    @pytest.mark.timeout(7200)
    @pytest.mark.parametrize("share", range(8))
    def test_laws_hold_for_histories_of_four_changes(share):
        for edits, pasts in _histories(4, 8 * 97, share):
            _check(edits, pasts, squashes=False)


def test_there_are_seven_ways_to_have_seen_each_other_among_three():
    assert len(list(_pasts(3))) == 7
    assert merge([]).conflicts == ()
