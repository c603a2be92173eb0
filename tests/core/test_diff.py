"""Single cases of what a change says; laws are in tests/property/test_diff_laws.py."""

import stat

import pytest

from agent.core.directory.scan_diff import diff, node_to_record
from agent.core.directory.scan_join import ScanJoin, join_scan
from agent.core.directory.state_after_change import UNKNOWN_FINGERPRINT
from agent.core.directory.state_row import Fingerprint, ScannedPath, StateRow
from agent.core.merge.path_order import join
from agent.core.model.entry import UNPULLED, Context, Delete, Kind, Node, Touch, Version, Write, kind_of
from tests.property.disk import Disk, after_push, look, version

V1, V2 = version(1), version(2)


@pytest.fixture
def disk():
    return Disk()


def first_push(disk):
    """Push everything; return what is remembered. Whatever happens next happens later."""
    rows = after_push([], look(disk, [], 0), V1)
    disk.tick()
    return rows


def entries(disk, known, **how):
    return look(disk, known, disk.now + 1, **how).entries


def said(found):
    """Kind of entry, path and, where there is one, what was seen or what stands."""
    stands = {Write: "seen", Delete: "seen", Touch: "version", Context: "version"}
    return [(type(entry).__name__, entry.path, getattr(entry, stands[type(entry)])) for entry in found]


def unpulled(rows, *paths):
    return [row._replace(fingerprint=None) if row.path in paths else row for row in rows]


def test_everything_is_written_the_first_time(disk):
    disk.write(b"d/f", b"one")
    disk.symlink(b"l", b"d")
    assert said(entries(disk, [])) == [("Write", b"d", None), ("Write", b"d/f", None), ("Write", b"l", None)]


def test_a_changed_file_is_written_below_its_directories(disk):
    disk.write(b"a/b/f", b"one")
    disk.write(b"a/g", b"one")
    known = first_push(disk)
    disk.write(b"a/b/f", b"two")
    assert said(entries(disk, known)) == [("Context", b"a", None), ("Context", b"a/b", None), ("Write", b"a/b/f", V1)]


def test_a_change_of_one_tick_that_leaves_no_trace_is_found_when_the_tick_is_racy(disk):
    disk.write(b"f", b"one")
    looked = look(disk, [], 0)
    known = after_push([], looked, V1)
    disk.write(b"f", b"two")
    assert look(disk, known, looked.began + 1).entries == []
    assert said(look(disk, known, looked.began).entries) == [("Write", b"f", V1)]


def test_a_removed_tree_is_deleted_path_by_path(disk):
    disk.write(b"d/e/f", b"one")
    disk.write(b"g", b"one")
    known = first_push(disk)
    disk.remove(b"d")
    assert said(entries(disk, known)) == [("Delete", b"d", V1), ("Delete", b"d/e", V1), ("Delete", b"d/e/f", V1)]
    assert [entry.kind for entry in entries(disk, known)] == [Kind.DIR, Kind.DIR, Kind.FILE]


def test_a_directory_in_the_place_of_a_file_deletes_and_writes(disk):
    disk.write(b"a", b"one")
    known = first_push(disk)
    disk.write(b"a/b", b"one")
    assert said(entries(disk, known)) == [("Delete", b"a", V1), ("Write", b"a", V1), ("Write", b"a/b", None)]


@pytest.mark.parametrize("replacement", ["write", "symlink"])
def test_a_file_in_the_place_of_a_directory_deletes_and_writes(disk, replacement):
    disk.write(b"a/b", b"one")
    known = first_push(disk)
    disk.remove(b"a")
    getattr(disk, replacement)(b"a", b"x")
    assert said(entries(disk, known)) == [("Delete", b"a", V1), ("Write", b"a", V1), ("Delete", b"a/b", V1)]


def test_a_file_in_the_place_of_a_link_is_a_write_alone(disk):
    disk.symlink(b"a", b"x")
    known = first_push(disk)
    disk.write(b"a", b"x")
    assert said(entries(disk, known)) == [("Write", b"a", V1)]


def test_a_directory_is_listed_above_a_deletion_that_its_times_do_not_tell(disk):
    """Some file systems do not move a directory's times when its names change."""
    disk.write(b"a/b/f", b"one")
    disk.write(b"a/b-x/f", b"one")
    known = first_push(disk)
    found = [ScannedPath(row.path, row.fingerprint) for row in known if row.path != b"a/b/f"]
    scan_join = ScanJoin()
    assert list(join_scan(known, found, disk.now, scan_join)) == []
    assert scan_join.suspects == []
    assert said(diff(scan_join, [], {})) == [
        ("Context", b"a", None),
        ("Context", b"a/b", None),
        ("Delete", b"a/b/f", V1),
    ]


def test_what_stands_beside_a_change_is_not_kept(disk):
    for path in (b"a/f", b"a-x/f", b"a/b/f", b"c/f"):
        disk.write(path, b"one")
    known = first_push(disk)
    disk.alter(b"a/b/f", data=b"two", mtime=disk.now)
    assert list(look(disk, known, disk.now).scan_join.context) == [b"a", b"a/b"]


def test_an_mtime_alone_is_a_touch_and_of_a_directory_nothing(disk):
    disk.write(b"d/f", b"one")
    known = first_push(disk)
    disk.change(b"d/f", mtime=5)
    disk.change(b"d", mtime=5)
    assert entries(disk, known) == [Touch(b"d/f", V1, 5)]


@pytest.mark.parametrize("changed", [{"mode": 0o700}, {"uid": 5}, {"gid": 5}, {"xattrs": ((b"user.x", b"1"),)}])
@pytest.mark.parametrize("path", [b"d", b"d/f"])
def test_another_attribute_is_a_write(disk, changed, path):
    disk.write(b"d/f", b"one")
    known = first_push(disk)
    disk.change(path, **changed)
    assert ("Write", path, V1) in said(entries(disk, known))


def test_a_directory_without_a_version_is_written_with_what_changes_below_it(disk):
    disk.write(b"a/b/f", b"one")
    disk.write(b"c/f", b"one")
    known = [row._replace(version=None) if row.node.kind is Kind.DIR else row for row in first_push(disk)]
    assert entries(disk, known) == []
    disk.remove(b"a/b")
    assert said(entries(disk, known)) == [("Write", b"a", None), ("Delete", b"a/b/f", V1)]


# Link groups.


def linked(disk, *names):
    disk.write(names[0], b"one")
    for name in names[1:]:
        disk.hard_link(names[0], name)
    return first_push(disk)


def groups(found):
    return [(type(entry).__name__, entry.path, entry.group) for entry in found]


def test_a_new_name_writes_its_group_whole(disk):
    known = linked(disk, b"a", b"b")
    disk.hard_link(b"a", b"c")
    assert groups(entries(disk, known)) == [("Context", b"a", 1), ("Context", b"b", 1), ("Write", b"c", 1)]
    assert [entry.version for entry in entries(disk, known)[:2]] == [V1, V1]


def test_a_changed_content_is_written_under_every_name(disk):
    known = linked(disk, b"a", b"b")
    disk.write(b"b", b"two")
    assert groups(entries(disk, known)) == [("Write", b"a", 1), ("Write", b"b", 1)]


def test_a_name_that_goes_leaves_the_others_alone(disk):
    known = linked(disk, b"a", b"b", b"c")
    disk.remove(b"b")
    assert said(entries(disk, known)) == [("Delete", b"b", V1)]


def test_a_broken_link_is_a_write_of_the_name_that_left_though_content_is_the_same(disk):
    known = linked(disk, b"a", b"b", b"c")
    disk.copy_over(b"b")
    assert groups(entries(disk, known)) == [("Write", b"b", 0)]


def test_a_name_that_stays_alone_on_another_inode_is_no_change(disk):
    known = linked(disk, b"a", b"b")
    disk.remove(b"a")
    disk.copy_over(b"b")
    assert disk.print(b"b").ino != known[1].fingerprint.ino
    assert said(entries(disk, known)) == [("Delete", b"a", V1)]


def test_two_files_that_become_one_are_a_group(disk):
    disk.write(b"a", b"one")
    disk.write(b"b", b"one")
    known = first_push(disk)
    disk.remove(b"b")
    disk.hard_link(b"a", b"b")
    assert groups(entries(disk, known)) == [("Context", b"a", 1), ("Write", b"b", 1)]


def test_a_group_that_moves_to_another_inode_whole_is_no_change(disk):
    known = linked(disk, b"a", b"b")
    disk.copy_over(b"a")
    disk.hard_link(b"a", b"b")
    assert {disk.print(path).ino for path in disk.names} != {row.fingerprint.ino for row in known}
    assert entries(disk, known) == []


def test_a_touch_of_one_name_touches_every_name(disk):
    known = linked(disk, b"a", b"b")
    disk.change(b"a", mtime=5)
    assert entries(disk, known) == [Touch(b"a", V1, 5), Touch(b"b", V1, 5)]


def test_a_touched_group_with_a_new_name_is_listed_with_the_new_mtime(disk):
    known = linked(disk, b"a", b"b")
    disk.change(b"a", mtime=5)
    disk.hard_link(b"a", b"c")
    found = entries(disk, known)
    assert [(type(entry).__name__, entry.path) for entry in found] == [
        ("Context", b"a"),
        ("Touch", b"a"),
        ("Context", b"b"),
        ("Touch", b"b"),
        ("Write", b"c"),
    ]
    assert {entry.node.mtime for entry in found if isinstance(entry, Context | Write)} == {5}


def test_a_name_from_outside_joins_a_file_whose_times_do_not_tell(disk):
    """Some file systems do not move a file's ctime when one of its names is renamed."""
    disk.write(b"a", b"one")
    (row,) = first_push(disk)
    found = [ScannedPath(b"a", row.fingerprint, 2), ScannedPath(b"b", row.fingerprint, 2)]
    scan_join = ScanJoin()
    assert [new.path for new in join_scan([row], found, row.fingerprint.ctime + 1, scan_join)] == [b"b"]
    assert scan_join.suspects == []
    assert list(scan_join.context) == [b"a"]


def test_a_file_with_names_elsewhere_is_no_group(disk):
    disk.write(b"a", b"one")
    (row,) = first_push(disk)
    scan_join = ScanJoin()
    assert list(join_scan([row], [ScannedPath(b"a", row.fingerprint, 2)], row.fingerprint.ctime + 1, scan_join)) == []
    assert scan_join.names == {row.fingerprint.ino: [b"a"]}
    disk.alter(b"a", mtime=5)
    assert entries(disk, [row]) == [Touch(b"a", V1, 5)]


def test_link_groups_are_numbered_in_the_order_of_their_first_names(disk):
    for name in (b"d", b"b", b"c", b"a"):
        disk.write(name, b"one")
    disk.hard_link(b"b", b"z")
    disk.hard_link(b"a", b"y")
    assert [(e.path, e.group) for e in entries(disk, [])] == [
        (b"a", 1), (b"b", 2), (b"c", 0), (b"d", 0), (b"y", 1), (b"z", 2),
    ]  # fmt: skip


# What was not pulled.


def test_what_was_not_pulled_is_neither_deleted_nor_seen(disk):
    disk.write(b"a", b"one")
    disk.write(b"b", b"one")
    known = unpulled(first_push(disk), b"b")
    disk.remove(b"b")
    assert entries(disk, known) == []
    disk.write(b"b", b"two")
    assert said(entries(disk, known)) == [("Write", b"b", UNPULLED)]


@pytest.mark.parametrize("kind", ["write", "mkdir"])
def test_something_in_the_place_of_a_directory_that_was_not_pulled_deletes_nothing(disk, kind):
    disk.write(b"d/f", b"one")
    known = unpulled(first_push(disk), b"d", b"d/f")
    disk.remove(b"d")
    disk.write(b"d", b"") if kind == "write" else disk.mkdir(b"d")
    assert said(entries(disk, known)) == [("Write", b"d", UNPULLED)]


def test_a_file_in_the_place_of_a_directory_hides_what_was_not_pulled_below_it(disk):
    disk.write(b"d/f", b"one")
    disk.write(b"e/f", b"one")
    known = unpulled(first_push(disk), b"d/f", b"e/f")
    disk.remove(b"d")
    disk.remove(b"e/f")
    disk.write(b"d", b"two")
    looked = look(disk, known, disk.now + 1)
    assert ("Delete", b"d", V1) in said(looked.entries)
    assert [row.path for row in after_push(known, looked, V2)] == [b"d", b"e", b"e/f"]


def test_what_was_not_pulled_outlives_its_directory(disk):
    disk.write(b"d/f", b"one")
    known = unpulled(first_push(disk), b"d/f")
    disk.remove(b"d")
    looked = look(disk, known, disk.now + 1)
    assert said(looked.entries) == [("Delete", b"d", V1)]
    assert [row.path for row in after_push(known, looked, V2)] == [b"d/f"]


# Remembering.


def test_written_paths_get_the_new_version_and_others_keep_theirs(disk):
    disk.write(b"a", b"one")
    disk.write(b"b", b"one")
    known = first_push(disk)
    disk.write(b"b", b"two")
    rows = after_push(known, look(disk, known, 0), V2)
    assert [(row.path, row.version, row.node) for row in rows] == [
        (b"a", V1, disk.node(b"a")),
        (b"b", V2, disk.node(b"b")),
    ]


def test_a_name_that_is_alone_again_leaves_its_group(disk):
    known = linked(disk, b"a", b"b")
    assert [row.group for row in known] == [1, 1]
    disk.remove(b"b")
    assert [row.group for row in after_push(known, look(disk, known, 0), V2)] == [0]


def test_a_group_keeps_apart_from_one_that_was_not_pulled(disk):
    disk.write(b"a", b"one")
    disk.hard_link(b"a", b"b")
    disk.write(b"c", b"two")
    disk.hard_link(b"c", b"d")
    known = unpulled(first_push(disk), b"a", b"b")
    disk.remove(b"a")
    disk.remove(b"b")
    groups_now = [row.group for row in after_push(known, look(disk, known, 0), V2)]
    assert groups_now[0] == groups_now[1] != groups_now[2] == groups_now[3] != 0


# Attributes that a disk cannot hold.

MODE = stat.S_IFREG | 0o644
STOOD = Fingerprint(1, 3, MODE, 500, 500, 10, 10)
NODE = Node(Kind.FILE, 0o4644, 7, 8, 9, 3, b"x" * 32)
OLD = StateRow(b"f", NODE, V1, STOOD)
SEEN = Node(Kind.FILE, 0o644, 500, 500, 10, 3, b"x" * 32)


@pytest.mark.parametrize("privileged", [True, False])
def test_attributes_that_the_disk_shows_as_before_stay_as_recorded(privileged):
    assert node_to_record(OLD, STOOD, SEEN, privileged=privileged) == NODE


@pytest.mark.parametrize(("privileged", "owner"), [(True, 600), (False, 0)])
def test_an_owner_that_changed_is_recorded_only_with_privilege(privileged, owner):
    now = STOOD._replace(uid=600)
    node = node_to_record(OLD, now, SEEN._replace(uid=600), privileged=privileged)
    assert (node.uid, node.gid) == (owner, 8)


@pytest.mark.parametrize("old", [None, OLD._replace(fingerprint=None), OLD._replace(node=Node(Kind.DIR, 0o755))])
def test_what_is_new_has_the_owner_that_it_shows_or_none(old):
    assert node_to_record(old, STOOD, SEEN, privileged=True) == SEEN
    assert node_to_record(old, STOOD, SEEN, privileged=False) == SEEN._replace(uid=0, gid=0)


def test_modes_and_times_that_changed_are_recorded():
    now = STOOD._replace(mode=stat.S_IFREG | 0o600, mtime=11)
    node = node_to_record(OLD, now, SEEN._replace(mode=0o600, mtime=11), privileged=False)
    assert (node.mode, node.mtime, node.uid) == (0o600, 11, 7)


def test_where_it_is_not_known_what_the_disk_showed_it_counts_what_it_shows():
    old = OLD._replace(fingerprint=UNKNOWN_FINGERPRINT)
    assert node_to_record(old, STOOD, SEEN, privileged=True) == SEEN
    assert node_to_record(old, STOOD, SEEN, privileged=False) == SEEN._replace(uid=7, gid=8)
    locked = node_to_record(old, STOOD._replace(mode=stat.S_IFREG), SEEN._replace(mode=0), privileged=True)
    assert locked.mode == 0


CAPABILITY = (b"security.capability", b"1")
USER = (b"user.x", b"2")


@pytest.mark.parametrize(
    ("privileged", "mtime", "seen", "kept"),
    [
        (False, 10, (), (CAPABILITY,)),
        (False, 10, (USER,), (CAPABILITY, USER)),
        (False, 10, (CAPABILITY,), (CAPABILITY,)),
        (False, 10, ((CAPABILITY[0], b"9"),), ((CAPABILITY[0], b"9"),)),
        (False, 11, (), ()),
        (True, 10, (), ()),
    ],
)
def test_capabilities_that_could_not_be_set_stay_while_the_content_does(privileged, mtime, seen, kept):
    old = OLD._replace(node=NODE._replace(xattrs=(CAPABILITY,)))
    now = STOOD._replace(mtime=mtime)
    assert node_to_record(old, now, SEEN._replace(xattrs=seen), privileged=privileged).xattrs == kept


@pytest.mark.parametrize("new", [b"0", b"z"])
def test_a_new_name_without_privilege_takes_the_owner_that_is_recorded_for_the_file(disk, new):
    disk.write(b"a", b"one")
    (row,) = first_push(disk)
    known = [row._replace(node=row.node._replace(uid=7, gid=8))]
    disk.hard_link(b"a", new)
    found = entries(disk, known, privileged=False)
    assert {type(entry) for entry in found} == {Context, Write}
    assert {(entry.node.uid, entry.node.gid) for entry in found} == {(7, 8)}


def test_a_name_that_joins_a_file_takes_the_owner_of_that_file(disk):
    disk.write(b"a", b"one")
    disk.write(b"b", b"one")
    known = [
        row._replace(node=row.node._replace(uid=owner)) for row, owner in zip(first_push(disk), (1, 2), strict=True)
    ]
    disk.remove(b"a")
    disk.hard_link(b"b", b"a")
    found = entries(disk, known, privileged=False)
    assert [(type(entry), entry.path, entry.node.uid) for entry in found] == [(Write, b"a", 2), (Context, b"b", 2)]


# Parts.


def test_join_pairs_equal_paths():
    def rows(*paths):
        return [StateRow(path, NODE, None, None) for path in paths]

    def paths(pairs):
        return [(old and old.path, new and new.path) for old, new in pairs]

    assert paths(join(rows(b"a", b"c"), rows(b"b", b"c", b"d"))) == [
        (b"a", None), (None, b"b"), (b"c", b"c"), (None, b"d"),
    ]  # fmt: skip
    assert paths(join([], rows(b"a"))) == [(None, b"a")]
    assert paths(join(rows(b"a"), [])) == [(b"a", None)]
    assert paths(join([], [])) == []


@pytest.mark.parametrize(
    ("format_", "kind"),
    [
        (stat.S_IFREG, Kind.FILE),
        (stat.S_IFDIR, Kind.DIR),
        (stat.S_IFLNK, Kind.LINK),
        (stat.S_IFIFO, Kind.FIFO),
        (stat.S_IFCHR, Kind.CHAR),
        (stat.S_IFBLK, Kind.BLOCK),
    ],
)
def test_kinds_are_told_by_the_mode(format_, kind):
    assert kind_of(format_ | 0o4755) is kind


def test_a_scan_is_counted(disk):
    disk.write(b"a", b"one")
    disk.write(b"b", b"one")
    known = first_push(disk)
    disk.remove(b"a")
    disk.write(b"c", b"one")
    scan_join = look(disk, known, 0).scan_join
    assert (scan_join.total, scan_join.present, len(scan_join.gone)) == (2, 1, 1)
    assert isinstance(known[0].version, Version)
