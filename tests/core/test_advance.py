"""Single cases of what is remembered without a scan; laws are in tests/property/test_diff_laws.py."""

from agent.core.directory.state_after_change import (
    UNKNOWN_FINGERPRINT,
    AdvancedState,
    lies_below,
    rows_without_fingerprints,
)
from agent.core.directory.state_row import Fingerprint, StateRow
from agent.core.model.entry import Context, Delete, Kind, Node, Touch, TreeEntry, Write
from tests.property.disk import version

V1, V2 = version(1), version(2)
FILE, DIR = Node(Kind.FILE, 0o644, size=1, sha256=b"x" * 32), Node(Kind.DIR, 0o755)
STOOD = Fingerprint(5, 1, 0o100644, 500, 500, 10, 10)


def row(path, node=FILE, stands=V1, print_=STOOD, group=0):
    return StateRow(path, node, stands, print_, group)


def after(rows, *entries):
    return list(AdvancedState(rows, entries, V2))


def test_what_no_entry_names_stays():
    rows = [row(b"a"), row(b"d", DIR), row(b"d/f"), row(b"n", print_=None)]
    assert after(rows) == rows


def test_deletions_and_writes_and_touches_are_followed():
    rows = [row(b"a"), row(b"b"), row(b"c")]
    new = FILE._replace(mtime=9)
    assert after(rows, Delete(b"a", Kind.FILE, V1), Write(b"b", new, V1), Touch(b"c", V1, 7), Write(b"d", new)) == [
        row(b"b", new, V2, STOOD._replace(ino=-1)),
        row(b"c", FILE._replace(mtime=7), V1, STOOD._replace(ino=-1)),
        row(b"d", new, V2, UNKNOWN_FINGERPRINT),
    ]


def test_what_was_written_is_looked_at_again_though_what_its_disk_could_hold_is_known():
    (found,) = after([row(b"a")], Write(b"a", FILE, V1))
    assert found.fingerprint != STOOD
    assert found.fingerprint._replace(ino=STOOD.ino) == STOOD
    (found,) = after([row(b"a", DIR)], Delete(b"a", Kind.DIR, V1), Write(b"a", FILE, V1))
    assert found.fingerprint == UNKNOWN_FINGERPRINT
    (found,) = after([row(b"a", print_=None)], Write(b"a", FILE, "unpulled"))
    assert found.fingerprint == UNKNOWN_FINGERPRINT


def test_a_file_hides_everything_below_it():
    rows = [row(b"d", DIR), row(b"d-x"), row(b"d/e", DIR, None), row(b"d/e/f", print_=None)]
    found = after(rows, Delete(b"d", Kind.DIR, V1), Write(b"d", FILE, V1))
    assert [each.path for each in found] == [b"d", b"d-x"]


def test_a_directory_without_a_version_goes_with_the_last_thing_below_it():
    rows = [row(b"d", DIR, None), row(b"d/e", DIR, None), row(b"d/e/f")]
    assert [each.path for each in after(rows, Delete(b"d/e/f", Kind.FILE, V1))] == []
    assert [each.path for each in after(rows, Write(b"d", DIR), Delete(b"d/e/f", Kind.FILE, V1))] == [b"d"]


def test_groups_of_a_change_are_none_that_there_were():
    rows = [row(b"a", group=1), row(b"b", group=1), row(b"c", group=1)]
    found = after(rows, Context(b"a", FILE, V1, group=1), Write(b"d", FILE, group=1))
    groups = {each.path: each.group for each in found}
    assert groups[b"b"] == groups[b"c"] == 1
    assert groups[b"a"] == groups[b"d"] not in (0, 1)


def test_a_written_name_leaves_its_group():
    rows = [row(b"a", group=1), row(b"b", group=1)]
    assert [each.group for each in after(rows, Write(b"b", FILE, V1))] == [1, 0]


def test_a_listing_gives_a_directory_its_attributes():
    listed = DIR._replace(mtime=9)
    assert after([row(b"d", DIR)], Context(b"d", listed)) == [row(b"d", listed)]
    assert after([], Context(b"d", listed)) == []


def test_nothing_is_known_of_an_unexamined_disk():
    tree = [TreeEntry(b"a", FILE, V1, group=0), TreeEntry(b"b", FILE, V1, group=0), TreeEntry(b"c", FILE, V1)]
    found = list(rows_without_fingerprints(tree))
    assert {each.fingerprint for each in found} == {UNKNOWN_FINGERPRINT}
    assert found[0].group == found[1].group != found[2].group == 0


def test_below_means_below():
    assert lies_below(b"a/b", {b"a"})
    assert not lies_below(b"a", {b"a"})
    assert not lies_below(b"a-b", {b"a"})
    assert not lies_below(b"a/b", ())
