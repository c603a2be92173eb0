from agent.core.directory.state_row import Fingerprint, StateRow
from agent.core.layers.whiteouts import mark_whiteouts, whiteouts
from agent.core.model.change import Kept, Listed, Tombstone
from agent.core.model.entry import Context, Delete, Kind, Node, Version, Write
from agent.core.model.tar_item import Linked, Placed, Whiteout
from tests.core.made import tar_items

V = Version(1, "a")
FILE, DIR = Node(Kind.FILE, 0o644), Node(Kind.DIR, 0o755)
ON_DISK = Fingerprint(1, 0, 0, 0, 0, 0, 0)


def gone(path, kind=Kind.FILE):
    return Delete(path, kind, V)


def known(*paths, unpulled=()):
    rows = [StateRow(path, DIR if path.endswith(b"d") else FILE, V, ON_DISK) for path in paths]
    rows += [StateRow(path, FILE, V, None) for path in unpulled]
    return sorted(rows, key=lambda row: row.path)


def marked(entries, *paths, unpulled=()):
    return list(whiteouts(mark_whiteouts(entries, known(*paths, unpulled=unpulled))))


def test_a_deleted_file_becomes_a_whiteout():
    assert marked([gone(b"f")], b"f") == [b"f"]


def test_deleted_dir_becomes_one_whiteout():
    entries = [gone(b"d", Kind.DIR), gone(b"d-x"), gone(b"d/d", Kind.DIR), gone(b"d/d/y"), gone(b"d/x")]
    assert marked(entries, b"d", b"d-x", b"d/d", b"d/d/y", b"d/x") == [b"d", b"d-x"]


def test_a_directory_removed_and_made_again_gets_whiteouts_path_by_path():
    entries = [Context(b"d", DIR), gone(b"d/d", Kind.DIR), gone(b"d/d/y"), gone(b"d/x")]
    assert marked(entries, b"d", b"d/d", b"d/d/y", b"d/x") == [b"d/d", b"d/x"]


def test_what_a_file_replaced_needs_no_whiteout():
    entries = [gone(b"d", Kind.DIR), Write(b"d", FILE, V), gone(b"d.x"), gone(b"d/x")]
    assert marked(entries, b"d", b"d.x", b"d/x") == [b"d.x"]


def test_a_file_replaced_by_a_directory_needs_no_whiteout():
    assert marked([gone(b"f"), Write(b"f", DIR, V), Write(b"f/x", FILE)], b"f") == []


def test_a_directory_with_unpulled_paths_is_listed_and_gets_whiteouts_path_by_path():
    entries = mark_whiteouts(
        [gone(b"d", Kind.DIR), gone(b"d/x"), gone(b"e")], known(b"d", b"d/x", b"e", unpulled=[b"d/y"])
    )
    assert list(whiteouts(entries)) == [b"d/x", b"e"]
    assert entries[1] == Context(b"d", DIR)


def test_a_directory_without_a_version_that_is_gone_is_listed_above_its_whiteouts():
    rows = [StateRow(b"d", DIR, None, ON_DISK), StateRow(b"d/x", FILE, V, ON_DISK)]
    assert mark_whiteouts([gone(b"d/x")], rows) == [Context(b"d", DIR), Delete(b"d/x", Kind.FILE, V, whiteout=True)]


def test_no_whiteout_and_entry_share_a_name_and_entries_stay_as_they_are_without_deletions():
    entries = [Write(b"a", FILE), Write(b"b", FILE)]
    assert mark_whiteouts(entries, iter(())) == entries


def test_a_tar_holds_whiteouts_first_then_entries_and_later_names_of_a_file_as_links():
    entries = [
        Write(b"a", FILE, None, 512, 1),
        Context(b"b", FILE, V, 1024, 1),
        Delete(b"c", Kind.FILE, V, whiteout=True),
        Delete(b"d", Kind.FILE, V),
        Write(b"e", DIR, None, 1536),
    ]
    assert list(tar_items(entries)) == [
        Whiteout(b"c"),
        Placed(b"a", FILE, 512),
        Linked(b"b", b"a", 1024),
        Placed(b"e", DIR, 1536),
    ]


def test_the_tar_of_a_squash_holds_what_is_kept_and_the_directories_above_it():
    entries = [
        Listed(b"d", DIR, V, 512, placed=True),
        Kept(b"d/x", FILE, V, 1024),
        Tombstone(b"d/y", Kind.FILE, V, whiteout=True),
        Tombstone(b"d/z", Kind.FILE, V),
        Listed(b"e", DIR, V),
    ]
    assert list(tar_items(entries)) == [Whiteout(b"d/y"), Placed(b"d", DIR, 512), Placed(b"d/x", FILE, 1024)]
