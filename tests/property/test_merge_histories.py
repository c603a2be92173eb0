"""The laws of merging, on larger random histories: many paths, lanes, attempts and pods, sparse writers, squashes."""

import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.directory.state_as_squash import STATE_ID, StateSquashEntries
from agent.core.directory.state_row import StateRow
from agent.core.merge.merge import merge
from agent.core.model.attempts_and_ancestry import Ancestry, Writer
from agent.core.model.change import Ancestor, Claim, Squash
from agent.core.model.entry import Kind
from agent.core.model.pod import Pod
from agent.core.spelling.path import parent
from tests.fakes.soaking import some
from tests.property.histories import (
    History,
    check_layers,
    check_order,
    check_own_disk,
    check_squash,
    check_tree,
    packed,
    same,
)
from tests.property.reference_merge import Reference
from tests.property.writer import ON_DISK, directory, file, link, plain

EXAMPLES = 2000 if os.environ.get("INSTEP_EVERY_HISTORY") else some(60)
pytestmark = pytest.mark.timeout(3600 if EXAMPLES > 1000 else 120)
LAWS = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

PATHS = [b"a", b"a-b", b"a/b", b"a/b/c", b"a/b-c", b"a/b/c/d", b"z", b"a.x"]
paths = st.sampled_from(PATHS)
texts = st.sampled_from(["1", "2", "3"])
nodes = st.one_of(
    st.builds(file, texts, st.sampled_from([0o644, 0o755]), st.integers(1, 3)),
    st.builds(directory, st.sampled_from([0o755, 0o700])),
    st.builds(link, texts),
)
edits = st.one_of(
    st.tuples(st.just("put"), paths, nodes),
    st.tuples(st.just("put"), paths, nodes),
    st.tuples(st.just("edit"), paths, st.builds(file, texts)),
    st.tuples(st.just("remove"), paths),
    st.tuples(st.just("hard_link"), paths, st.sampled_from([b"a/b/c", b"a/b-c", b"z"])),
    st.tuples(st.just("hard_link"), paths, paths),
    st.tuples(st.just("touch"), paths, st.integers(10, 99)),
)
pods = st.none() | st.builds(Pod, st.integers(0, 2), st.sampled_from(["p", "q"]))
writers = st.builds(Writer, st.sampled_from(["m", "n"]), st.integers(0, 2), pods)
steps = st.tuples(
    st.lists(st.integers(0, 7), max_size=3),
    st.lists(edits, max_size=4),
    st.one_of(st.none(), st.none(), writers),
    st.one_of(st.just(()), st.just(()), st.just(()), st.tuples(paths)),
)
histories = st.tuples(st.lists(edits, max_size=6), st.lists(steps, min_size=1, max_size=7))


def _base(disk):
    """Leave something to change: a directory in a directory, a link group across both."""
    disk.put(b"a/b/c", file("base"))
    disk.hard_link(b"a/b-c", b"a/b/c")
    disk.put(b"z", file("z"))


def _edit(what):
    def run(disk):
        for method, *arguments in what:
            if not _collides(disk, method, *arguments):
                getattr(disk, method)(*arguments)

    return run


def _collides(disk, method, path, *arguments):
    """Say whether a sparse writer's edit would need what it did not pull; it may only write files over files."""
    if path in disk.unpulled:
        node = disk.unpulled[path][0]
        return method != "put" or Kind.DIR in (node.kind, arguments[0].kind) or parent(path) in disk.unpulled
    return any(
        other.startswith(path + b"/") or path.startswith(other + b"/") or arguments[:1] == (other,)
        for other in disk.unpulled
    )


def _history(value, *, attempts=True, sparse=True):
    base, rest = value
    history = History(lambda disk: (_base(disk), _edit(base)(disk)))
    for seen, what, writer, leave_out in rest:
        writer = writer if attempts else None
        wanted = {history.changes[one % len(history.changes)].id for one in seen} | {history.changes[0].id}
        ancestry = Ancestry(history.changes)
        past = ancestry.past(wanted)
        if writer is not None:
            later = {c.id for c in history.changes if Writer(c.lane, c.attempt, c.pod).replaces(writer)}
            after = {id_ for id_ in past if later & ancestry.past([id_])}
            past = past - ancestry.outdated(writer) - after
        gone = Ancestry([change for change in history.changes if change.id in past]).superseded()
        parents = history.frontier(past - gone)
        history.push(parents, _edit(what), writer=writer, leave_out=leave_out if sparse else ())
    return history


@LAWS
@given(histories)
def test_each_writer_gets_back_exactly_its_own_disk(value):
    history = _history(value)
    for change in history.changes:
        check_own_disk(history, change)


@LAWS
@given(histories)
def test_order_and_duplicates_mean_nothing_and_the_tree_is_valid(value):
    history = _history(value)
    check_tree(check_order(history.changes))


@LAWS
@given(histories)
def test_layers_with_the_fix_up_give_the_merged_tree_plainly_and_as_a_union(value):
    history = _history(value)
    check_layers(merge(history.changes))
    for change in history.changes:
        check_layers(merge(history.past([change.id])))


@LAWS
@given(histories, st.data())
def test_squashes_change_nothing(value, data):
    history = _history(value)
    ancestry = Ancestry(history.changes)
    writers = data.draw(st.lists(st.sampled_from(history.changes), min_size=1, max_size=2), label="writers")
    taken = []
    for number, writer in enumerate(writers):
        settled_ids = ancestry.settled(after=[writer.id]) & ancestry.past([writer.id])
        settled = [change for change in history.changes if change.id in settled_ids]
        ids = [change.id for change in settled if change.id not in merge(settled).superseded]
        covers = data.draw(st.sets(st.sampled_from(ids), min_size=1), label="covers")
        if merge(history.changes).superseded & set(ids):
            continue  # What was settled cannot be superseded any more; this writer was told wrong.
        check_squash(history.changes, settled, covers)
        taken.append(packed(merge(settled), covers, f"s{number}"))
    if len(taken) == 2:
        one = check_order(history.changes, taken)
        assert same(one) == same(merge(history.changes))
        check_layers(one)
        again = packed(one, ancestry.records, "joined")
        assert same(merge([], [again])) == same(merge(history.changes))


@LAWS
@given(histories, st.integers(0, 4), st.data())
def test_a_tree_stands_in_for_all_changes_that_every_other_was_made_on(value, below, data):
    base, steps = value
    below = min(below, len(steps))
    on_one_another = [([number], what, None, ()) for number, (_, what, _, _) in enumerate(steps[:below])]
    on_these = [
        ([below, *(max(below, one % (number + 1)) for one in seen)], what, lane, ())
        for number, (seen, what, lane, _) in enumerate(steps[below:], below)
    ]
    history = _history((base, on_one_another + on_these))
    older, newer = history.changes[: below + 1], history.changes[below + 1 :]
    tree = list(merge(older).tree())
    stands = _standing(older, tree)
    whole = merge(history.changes)
    for squashes in ([], _one_squash(data, whole, newer)):
        one = merge(newer, [*squashes, stands])
        assert same(one) == same(whole)
        # Not only what is the tree: a pull restores what was said last of a directory's mtime, too.
        assert [row[:3] for row in one.tree()] == [row[:3] for row in whole.tree()]
        for row in one.tree():
            if row.layer == STATE_ID:
                assert tree[row.offset].node.sha256 == row.node.sha256
            else:
                assert row[:5] in {there[:5] for there in whole.tree()} or squashes


def _standing(changes, tree):
    """What is remembered of a disk that is `tree`, as a squash."""
    rows = [StateRow(*row[:3], ON_DISK, 0 if row.group is None else row.group + 1) for row in tree]
    records = tuple(Ancestor(c.id, c.stamp, c.parents) for c in changes)
    return Squash(
        STATE_ID, frozenset(c.id for c in changes), frozenset(), records, StateSquashEntries(rows, True), STATE_ID
    )


def _one_squash(data, whole, changes):
    free = [change.id for change in changes if change.attempt is None and change.id not in whole.superseded]
    if not free or any(change.attempt is not None for change in changes):
        return []
    return [packed(whole, data.draw(st.sets(st.sampled_from(free), min_size=1), label="covers"))]


@LAWS
@given(histories)
def test_the_tree_needs_no_claims(value):
    history = _history(value, attempts=False)
    taken = packed(merge(history.changes), [change.id for change in history.changes[1:]] or [history.changes[0].id])
    rest = [change for change in history.changes if change.id not in taken.covers]
    silent = replace(taken, entries=[entry for entry in taken.entries if type(entry) is not Claim])
    assert list(merge(rest, [silent]).tree()) == list(merge(rest, [taken]).tree())


@LAWS
@given(histories)
def test_merging_in_any_grouping_gives_the_same(value):
    history = _history(value, attempts=False)
    whole = same(merge(history.changes))
    for split in range(1, len(history.changes)):
        part = history.past([change.id for change in history.changes[:split]])
        squash = packed(merge(part), [change.id for change in part])
        rest = [change for change in history.changes if change.id not in squash.covers]
        assert same(merge(rest, [squash])) == whole


@LAWS
@given(histories)
def test_the_sweep_agrees_with_the_rules_written_down_naively(value):
    history = _history(value)
    merged, reference = merge(history.changes), Reference(history.changes)
    linked = {path for change in history.changes for path in _grouped(change)}
    # The one file of a link group has one mtime, which the reference does not know.
    rows = {row.path: (plain(row.node), row.version) for row in merged.tree()}
    assert _timeless(rows, linked) == _timeless({p: (plain(n), v) for p, (n, v) in reference.tree.items()}, linked)
    assert [(c.path, c.kind, c.ids) for c in merged.conflicts] == reference.conflicts
    assert merged.superseded == reference.superseded


def _grouped(change):
    return [entry.path for entry in change.entries if getattr(entry, "group", 0)]


def _timeless(rows, linked):
    return {path: (node._replace(mtime=0) if path in linked else node, v) for path, (node, v) in rows.items()}
