"""Plans, executed on a model of a disk."""

from hypothesis import given
from hypothesis import strategies as st

from agent.core.directory.fingerprint_table import FingerprintTable
from agent.core.directory.pull_plan import plan_pull
from agent.core.directory.sparse_globs import everything, selection
from agent.core.directory.state_after_change import UNKNOWN_FINGERPRINT
from agent.core.directory.state_row import StateRow
from agent.core.merge.path_order import join
from agent.core.model.entry import Kind, Node, kind_of
from agent.core.spelling.path import ancestors
from tests.property.disk import Disk, after_push, look, pull, tree_of, version
from tests.property.edits import PATHS, apply_edits, contents_of, edits, laws, many_edits


@st.composite
def histories(draw):
    """Two or three trees of one workspace in the order of its pushes, and every content in them."""
    disk, known, began, trees, contents = Disk(), [], 0, [], {}
    for number in range(1, draw(st.integers(2, 3)) + 1):
        apply_edits(disk, draw(many_edits if number == 1 else edits))
        disk.tick()
        seen = look(disk, known, began)
        known, began = after_push(known, seen, version(number)), seen.began
        contents_of(disk, contents)
        trees.append(_as_merged(draw, disk, tree_of(known)))
    return trees, contents


def _as_merged(draw, disk, tree):
    """A merge gives directories without a version of their own, and groups of which one name alone is visible."""
    for index, row in enumerate(tree):
        if row.node.kind is Kind.DIR and disk.below(row.path) and draw(st.booleans()):
            tree[index] = row._replace(version=None)
        elif row.node.kind is not Kind.DIR and row.group is None and draw(st.booleans()):
            tree[index] = row._replace(group=1000 + index)
    return tree


_selects = st.one_of(
    st.just(everything),
    st.lists(st.sampled_from((*PATHS, b"*", b"**/b", b"a*", b"?/a")), min_size=1, max_size=3).map(selection),
)


def taken(tree, selected):
    """What of a tree shall be on disk: what is selected, and what is above it."""
    chosen = {row.path for row in tree if selected(row.path)}
    above = {directory for path in chosen for directory in ancestors(path)}
    return [row for row in tree if row.path in chosen | above]


def check(disk, known, tree, selected):
    """The disk holds exactly what is selected of a tree, to the last attribute, and that is what is remembered."""
    wanted = taken(tree, selected)
    assert {path: disk.node(path) for path in disk.paths()} == {row.path: row.node for row in wanted}
    groups = {}
    for row in wanted:
        groups.setdefault(row.path if row.group is None else row.group, set()).add(row.path)
    assert disk.partition() == {frozenset(each) for each in groups.values()}
    assert [(row.path, row.node, row.version) for row in known] == [(e.path, e.node, e.version) for e in tree]
    on_disk = {row.path for row in known if row.fingerprint is not None}
    assert on_disk == set(disk.paths())
    assert look(disk, known, disk.now).entries == []


@laws
@given(histories(), st.lists(_selects, min_size=3, max_size=3))
def test_pulling_one_tree_over_another_gives_that_tree(history, selects):
    trees, contents = history
    disk, known = Disk(), []
    for tree, selected in zip(trees, selects, strict=False):
        disk.tick()
        known = pull(disk, known, tree, contents, selected)
        check(disk, known, tree, selected)


@laws
@given(histories(), st.lists(_selects, min_size=3, max_size=3))
def test_pulling_an_older_tree_over_a_newer_gives_the_older(history, selects):
    trees, contents = history
    disk, known = Disk(), []
    for tree, selected in zip(reversed(trees), selects, strict=False):
        disk.tick()
        known = pull(disk, known, tree, contents, selected)
        check(disk, known, tree, selected)


@laws
@given(histories(), _selects)
def test_what_is_the_tree_already_needs_no_step(history, selected):
    trees, contents = history
    disk = Disk()
    known = pull(disk, [], trees[-1], contents, selected)
    steps = plan_pull(known, trees[-1], selected)
    assert steps.changes_nothing
    assert steps.unselected == sum(row.fingerprint is None for row in known)
    assert list(FingerprintTable(len(steps.rows), steps.fingerprints).applied_to(steps.rows)) == known


@laws
@given(histories(), edits, st.booleans(), _selects)
def test_a_disk_that_is_not_trusted_becomes_the_tree(history, steps, remembers, selected):
    trees, contents = history
    disk = Disk()
    known = pull(disk, [], trees[0], contents)
    clean_before = disk.now
    disk.tick()
    apply_edits(disk, steps)
    disk.tick()
    doubted = distrusted(disk, known if remembers else [], clean_before)
    assert all(row.node.mode == -1 for row in doubted) or remembers
    check(disk, pull(disk, doubted, trees[-1], contents, selected), trees[-1], selected)


@laws
@given(histories(), st.randoms(use_true_random=False))
def test_a_pull_that_was_killed_anywhere_is_finished_by_the_next(history, random):
    trees, contents = history
    disk = Disk()
    known = pull(disk, [], trees[0], contents)
    clean_before = disk.now
    disk.tick()
    partial = Disk()
    partial.__dict__.update(names=dict(disk.names), inodes=dict(disk.inodes), now=disk.now)
    pull(partial, known, trees[-1], contents)
    for path in sorted(partial.names.keys() ^ disk.names.keys(), reverse=True):
        # Some of what the pull would remove is gone, and nothing that it would make is there yet.
        if path in disk.names and not disk.below(path) and random.random() < 0.5:
            disk.unlink(path)
    disk.tick()
    check(disk, pull(disk, distrusted(disk, known, clean_before), trees[-1], contents), trees[-1], everything)


def distrusted(disk, known, clean_before):
    """What is on a disk, as remembered where it stands untouched, else as something to replace."""
    rows = []
    for old, found in join(known, disk.scan()):
        if found is None:
            if old.fingerprint is None:
                rows.append(old)
        elif old is not None and old.fingerprint == found.fingerprint and found.fingerprint.ctime < clean_before:
            rows.append(old)
        else:
            rows.append(StateRow(found.path, Node(kind_of(found.fingerprint.mode), -1), None, found.fingerprint))
    return rows


@laws
@given(histories())
def test_a_disk_of_which_nothing_is_known_becomes_the_tree(history):
    trees, contents = history
    disk = Disk()
    pull(disk, [], trees[0], contents)
    disk.tick()
    unknown = [StateRow(path, Node(disk.at(path).kind, -1), None, UNKNOWN_FINGERPRINT) for path in disk.paths()]
    check(disk, pull(disk, unknown, trees[-1], contents), trees[-1], everything)


@laws
@given(histories(), edits)
def test_a_workspace_pulled_whole_and_pushed_is_that_disk_everywhere(history, steps):
    trees, contents = history
    here, there = Disk(), Disk()
    known = pull(here, [], trees[-1], contents)
    other = pull(there, [], trees[0], contents)
    began = here.now
    here.tick()
    apply_edits(here, steps)
    after = after_push(known, look(here, known, began), version(9))
    contents_of(here, contents)
    there.tick()
    pulled = pull(there, other, tree_of(after), contents)
    assert {path: there.node(path) for path in there.paths()} == {path: here.node(path) for path in here.paths()}
    assert there.partition() == here.partition()
    assert look(there, pulled, there.now).entries == []
