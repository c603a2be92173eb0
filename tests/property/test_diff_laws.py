"""Diff, remembered and advance, against a model of a disk."""

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from agent.core.directory.scan_join import ScanJoin, combine_parts, join_scan
from agent.core.directory.state_after_change import AdvancedState, rows_without_fingerprints
from agent.core.directory.state_row import StateRow
from agent.core.merge.merge import merge
from agent.core.model.change import Change
from agent.core.model.entry import Kind, Touch
from tests.property.applied import apply, check_self_contained, tree_from
from tests.property.disk import Disk, after_push, look, pull, tree_of, version
from tests.property.edits import apply_edits, contents_of, edited, edits, laws, many_edits


def pushed(disk, known, clean_before, number):
    """Push a disk; return (what is remembered then, from when on it is racy)."""
    seen = look(disk, known, clean_before)
    return after_push(known, seen, version(number)), seen.began


def timeless(node):
    return node._replace(mtime=0) if node.kind is Kind.DIR else node


def groups_of(rows):
    """Link groups as a partition of what is pulled; numbers mean nothing."""
    sets = {}
    for row in rows:
        if row.fingerprint is not None:
            sets.setdefault(row.group or row.path, set()).add(row.path)
    return {frozenset(each) for each in sets.values()}


@st.composite
def workspaces(draw, *, sparse=True):
    """A directory after a pull, perhaps a sparse one: (disk, known, clean_before).

    Directories with something below them may have no version of their own.
    """
    source = edited(draw(many_edits))
    source.tick()
    rows, _ = pushed(source, [], 0, 1)
    if draw(st.booleans()):
        rows, _ = pushed(apply_edits(source, draw(edits)), rows, 0, 2)
    for index, row in enumerate(rows):
        if row.node.kind is Kind.DIR and source.below(row.path) and draw(st.booleans()):
            rows[index] = row._replace(version=None)
    left_out = set(draw(st.lists(st.sampled_from(source.paths()), max_size=4))) if sparse and source.names else set()
    gone = {below for path in left_out for below in (path, *source.below(path))}
    disk = Disk()
    known = pull(disk, [], tree_of(rows), contents_of(source, {}), lambda path: path not in gone)
    return disk, known, disk.now


@st.composite
def changed_workspaces(draw, *, sparse=True):
    disk, known, clean_before = draw(workspaces(sparse=sparse))
    return apply_edits(disk, draw(edits)), known, clean_before


@laws
@given(changed_workspaces())
def test_entries_applied_to_what_is_remembered_give_the_disk(case):
    disk, known, clean_before = case
    seen = look(disk, known, clean_before)
    tree = apply(tree_from(known), seen.entries, version(3))
    unpulled = {row.path for row in known if row.fingerprint is None}
    here = {path: timeless(node) for path, (node, _) in tree.nodes.items() if path in disk.names}
    assert here == {path: timeless(disk.node(path)) for path in disk.paths()}
    for path in tree.nodes.keys() - disk.names.keys():
        # What was not pulled stays, and so does a directory that only it needs.
        assert path in unpulled or any(other.startswith(path + b"/") for other in unpulled & tree.nodes.keys())
    for path in unpulled - tree.nodes.keys():
        assert any(path.startswith(name + b"/") and not disk.is_dir(name) for name in disk.names)
    assert tree.partition(disk.paths()) == disk.partition()


@laws
@given(changed_workspaces(), st.data())
def test_parts_of_a_directory_say_together_what_the_whole_says(case, data):
    disk, known, clean_before = case
    whole = ScanJoin()
    fresh = list(join_scan(known, disk.scan(), clean_before, whole))
    paths = sorted({row.path for row in known} | disk.names.keys())
    cuts = data.draw(st.sets(st.sampled_from(paths), max_size=6) if paths else st.just(set()))
    starts = [b"", *sorted(cuts)]
    parts, entered = [], []
    for start, stop in zip(starts, [*starts[1:], None], strict=True):
        rows, found = (
            [each for each in some if start <= each.path and (stop is None or each.path < stop)]
            for some in (known, disk.scan())
        )
        parts.append(ScanJoin())
        entered += join_scan(rows, found, clean_before, parts[-1], start)
    assert entered == fresh
    assert replace(combine_parts(parts), context_above=set(), open_directories={}) == replace(
        whole, context_above=set(), open_directories={}
    )


@laws
@given(changed_workspaces())
def test_entries_stand_alone(case):
    disk, known, clean_before = case
    check_self_contained(disk, look(disk, known, clean_before).entries)


@laws
@given(changed_workspaces(sparse=False))
def test_merging_what_is_remembered_with_the_entries_gives_the_disk(case):
    disk, known, clean_before = case
    assume(all(row.version for row in known))
    origins = {row.version for row in known}
    changes = [_origin(known, origin) for origin in origins]
    seen = look(disk, known, clean_before)
    changes.append(Change(version(9).id, 9, tuple(sorted(origin.id for origin in origins)), seen.entries))
    tree = list(merge(changes).tree())
    assert {row.path: timeless(row.node) for row in tree} == {p: timeless(disk.node(p)) for p in disk.paths()}
    linked = {}
    for row in tree:
        linked.setdefault(row.path if row.group is None else row.group, set()).add(row.path)
    assert {frozenset(each) for each in linked.values()} == disk.partition()


def _origin(known, origin):
    """The change that wrote some of what is remembered; groups are recorded by the newest of those in them."""
    from agent.core.model.entry import Context, Write

    newest = {}
    for row in known:
        newest[row.group] = max(newest.get(row.group, row.version), row.version)
    entries = [
        Write(row.path, row.node, group=row.group if newest[row.group] == origin else 0)
        if row.version == origin
        else Context(row.path, row.node, row.version, group=row.group)
        for row in known
        if row.version == origin or (row.group and newest[row.group] == origin)
    ]
    return Change(origin.id, origin.stamp, (), entries)


@laws
@given(workspaces(), st.booleans())
def test_an_unchanged_disk_has_no_entries(case, privileged):
    disk, known, clean_before = case
    assert look(disk, known, clean_before, privileged=privileged).entries == []


@laws
@given(workspaces(), st.booleans())
def test_nothing_is_examined_on_a_disk_that_stood_still_since_it_was_clean(case, privileged):
    disk, known, _ = case
    disk.tick()
    assert look(disk, known, disk.now, privileged=privileged).scan_join.suspects == []


@laws
@given(changed_workspaces())
def test_what_is_remembered_after_a_push_is_the_disk(case):
    disk, known, clean_before = case
    seen = look(disk, known, clean_before)
    rows = after_push(known, seen, version(3))
    assert [row.path for row in rows] == sorted({row.path for row in rows})
    here = [row for row in rows if row.fingerprint is not None]
    assert {row.path: row.fingerprint for row in here} == {path: disk.print(path) for path in disk.paths()}
    assert {row.path: row.node for row in here} == {path: disk.node(path) for path in disk.paths()}
    assert groups_of(rows) == disk.partition()
    tree = apply(tree_from(known), seen.entries, version(3))
    for row in rows:
        node, stands = tree.nodes[row.path]
        assert (timeless(row.node), row.version) == (timeless(node), stands)
    # Directories that stand only because of something not pulled are forgotten: they are not on the disk.
    forgotten = tree.nodes.keys() - {row.path for row in rows}
    assert all(tree.nodes[path][0].kind is Kind.DIR and path not in disk.names for path in forgotten)
    assert look(disk, rows, seen.began).entries == []


@laws
@given(changed_workspaces())
def test_link_groups_of_what_is_not_pulled_stay_apart_from_those_on_disk(case):
    disk, known, clean_before = case
    rows = after_push(known, look(disk, known, clean_before), version(3))
    unpulled = {row.group for row in rows if row.fingerprint is None and row.group}
    assert not unpulled & {row.group for row in rows if row.fingerprint is not None}


@laws
@given(workspaces(), st.lists(edits, min_size=2, max_size=3))
def test_pushes_one_after_another_never_lose_the_thread(case, rounds):
    disk, known, clean_before = case
    tree = tree_from(known)
    for number, steps in enumerate(rounds, start=3):
        apply_edits(disk, steps)
        seen = look(disk, known, clean_before)
        check_self_contained(disk, seen.entries)
        tree = apply(tree, seen.entries, version(number))
        known, clean_before = after_push(known, seen, version(number)), seen.began
        assert tree.partition(disk.paths()) == disk.partition()
        assert {p: timeless(n) for p, (n, _) in tree.nodes.items() if p in disk.names} == {
            path: timeless(disk.node(path)) for path in disk.paths()
        }


@laws
@given(changed_workspaces())
def test_advancing_by_entries_remembers_what_a_push_does_save_fingerprints(case):
    disk, known, clean_before = case
    seen = look(disk, known, clean_before)

    def kept(rows):
        # That a directory without a version is gone, entries do not say while something not pulled needs it.
        return [row for row in rows if row.version or row.path in disk.names]

    def bare(rows):
        return [(row.path, timeless(row.node), row.version, row.fingerprint is None) for row in rows]

    pushed_rows = kept(after_push(known, seen, version(3)))
    advanced = kept(AdvancedState(known, seen.entries, version(3)))
    assert bare(advanced) == bare(pushed_rows)
    assert groups_of(advanced) == groups_of(pushed_rows)


@laws
@given(changed_workspaces(), st.booleans())
def test_a_disk_is_unchanged_after_advancing_by_its_own_entries(case, privileged):
    disk, known, clean_before = case
    seen = look(disk, known, clean_before, privileged=privileged)
    advanced = list(AdvancedState(known, seen.entries, version(3)))
    assert look(disk, advanced, clean_before, privileged=privileged).entries == []


@laws
@given(workspaces(sparse=False))
def test_a_disk_that_is_the_tree_is_unchanged_though_nothing_is_remembered(case):
    disk, known, _ = case
    assert look(disk, list(rows_without_fingerprints(tree_of(known))), 0).entries == []


def unprivileged(disk, known, owner):
    """Let the disk be one on which an agent without privilege left out the owners that are recorded."""
    disk.owner = 500
    for path in disk.names:
        disk.alter(path, uid=500, gid=500)
    return [
        row._replace(node=row.node._replace(uid=owner, gid=owner), fingerprint=row.fingerprint and disk.print(row.path))
        for row in known
    ]


@laws
@given(workspaces(sparse=False), st.sampled_from((0, 7)))
def test_without_privilege_owners_that_could_not_be_set_are_no_change(case, owner):
    disk, known, _ = case
    foreign = unprivileged(disk, known, owner)
    assert look(disk, foreign, 0, privileged=False).entries == []
    assert look(disk, list(rows_without_fingerprints(tree_of(foreign))), 0, privileged=False).entries == []


@laws
@given(workspaces(), edits.map(lambda steps: [step for step in steps if step[1][0] != "uid"]))
def test_without_privilege_owners_stay_as_recorded_through_every_edit(case, steps):
    disk, known, clean_before = case
    known = unprivileged(disk, known, 7)
    disk.tick()
    apply_edits(disk, steps)
    before = {row.path: row.node.kind for row in known if row.fingerprint}
    seen = look(disk, known, clean_before, privileged=False)
    after = after_push(known, seen, version(3))
    for row in after:
        if row.fingerprint is not None and not row.group:
            owner = 7 if before.get(row.path) is row.node.kind else 0
            assert (row.node.uid, row.node.gid) == (owner, owner)
    for group in groups_of(after):
        # All names of a file have one owner.
        assert len({row.node.uid for row in after if row.path in group}) == 1
    for rows in (after, list(AdvancedState(known, seen.entries, version(3)))):
        assert look(disk, rows, disk.now + 1, privileged=False).entries == []


@laws
@given(changed_workspaces())
def test_touches_are_of_files_whose_mtime_alone_changed(case):
    disk, known, clean_before = case
    rows = {row.path: row for row in known}
    for entry in look(disk, known, clean_before).entries:
        if isinstance(entry, Touch):
            old, now = rows[entry.path].node, disk.node(entry.path)
            assert old.kind is not Kind.DIR
            assert now == old._replace(mtime=entry.mtime) != old
            assert entry.version == rows[entry.path].version


def test_the_model_sees_a_link():
    disk = edited([(True, ("write", b"a", b"one")), (True, ("hard_link", b"a", b"b"))])
    rows, _ = pushed(disk, [], 0, 1)
    assert groups_of(rows) == {frozenset({b"a", b"b"})}
    assert all(isinstance(row, StateRow) and row.group for row in rows)
