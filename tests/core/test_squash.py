from agent.core.layers.squash_entries import squash
from agent.core.merge.merge import merge
from agent.core.model.change import Change, Claim, Grouped, Kept, Listed, Tombstone, Touched
from agent.core.model.entry import Context, Delete, Kind, Node, Touch, Version, Write

B = Version(0, "b")
DIR = Node(Kind.DIR, 0o755)


def file(text="x", mtime=1):
    return Node(Kind.FILE, 0o644, mtime=mtime, size=len(text), sha256=text.encode())


def value(text):
    return Node(Kind.FILE, 0o644, sha256=text.encode())


def change(name, stamp, parents, *entries, lane=None, attempt=None):
    return Change(name, stamp, tuple(parents), entries, "L" + name, lane, attempt)


BASE = change(
    "b", 0, "", Write(b"d", DIR, None, 0), Write(b"d/x", file(), None, 512), Write(b"f", file("f"), None, 1536)
)


def entries(plan):
    return [piece.entry for piece in plan]


def test_what_stands_keeps_its_origin_and_the_row_says_where_its_content_lies():
    newer = change("n", 1, "b", Write(b"f", file("2"), B, 1024))
    pieces = list(squash(merge([BASE, newer]), ["n"]))
    assert [piece.entry for piece in pieces] == [Kept(b"f", file("2"), newer.version), Claim(b"f", "n", value("2"), B)]
    assert pieces[0].row is not None
    assert (pieces[0].row.layer, pieces[0].row.offset) == ("Ln", 1024)


def test_what_fell_is_a_tombstone_with_a_whiteout_where_a_lower_layer_has_it():
    gone = change("n", 1, "b", Context(b"d", DIR), Delete(b"d/x", Kind.FILE, B, whiteout=True))
    assert entries(squash(merge([BASE, gone]), ["n"])) == [
        Listed(b"d", DIR, gone.version, placed=True),
        Tombstone(b"d/x", Kind.FILE, B, whiteout=True),
        Claim(b"d/x", "n", None, B),
    ]


def test_a_squash_that_reaches_down_to_the_base_holds_no_whiteout():
    gone = change("n", 1, "b", Delete(b"f", Kind.FILE, B, whiteout=True))
    found = entries(squash(merge([BASE, gone])))
    assert Tombstone(b"f", Kind.FILE, B) in found
    assert not any(isinstance(entry, Tombstone) and entry.whiteout for entry in found)


def test_touches_stay_with_who_said_them():
    touched = change("t", 1, "b", Touch(b"f", B, 77))
    assert entries(squash(merge([BASE, touched]), ["t"])) == [Touched(b"f", B, 77, touched.version)]


def test_the_link_groups_of_each_change_are_recorded():
    linked = change("n", 1, "b", Write(b"a", file("f"), None, 0, 1), Context(b"f", file("f"), B, 512, 1))
    found = entries(squash(merge([BASE, linked]), ["n"]))
    assert Grouped(b"a", linked.version, "n", 1) in found
    assert Grouped(b"f", B, "n", 1) in found
    assert [entry.path for entry in found if isinstance(entry, Kept)] == [b"a", b"f"]
    assert len({entry.group for entry in found if isinstance(entry, Kept)}) == 1


def test_superseded_changes_are_named_as_dropped_with_their_records():
    one = change("x", 1, "b", Write(b"n", file()), lane="m", attempt=0)
    two = change("y", 2, "b", Write(b"n", file("2")), lane="m", attempt=1)
    plan = squash(merge([BASE, one, two]))
    assert (plan.covers, plan.dropped) == ({"b", "y"}, {"x"})
    assert [(record.id, record.lane, record.attempt) for record in plan.records] == [
        ("b", None, None),
        ("x", "m", 0),
        ("y", "m", 1),
    ]


def test_a_plan_can_be_read_twice():
    plan = squash(merge([BASE]))
    assert list(plan) == list(plan) != []


def test_the_deletion_of_a_superseded_version_leaves_no_tombstone():
    one = change("x", 1, "b", Write(b"f", file("1"), B), lane="m", attempt=0)
    gone = change("g", 2, "x", Delete(b"f", Kind.FILE, one.version, whiteout=True))
    two = change("y", 3, "b", lane="m", attempt=1)
    found = entries(squash(merge([BASE, one, gone, two])))
    assert Kept(b"f", file("f"), B) in found
    assert not any(isinstance(entry, Tombstone) for entry in found)


def test_no_whiteout_lies_below_a_directory_that_the_covered_changes_do_not_list():
    over = change("n", 1, "b", Write(b"d", file("d"), B), Delete(b"d", Kind.DIR, B), Delete(b"d/x", Kind.FILE, B))
    back = change("o", 2, "n", Delete(b"d", Kind.FILE, over.version), Write(b"d", DIR, over.version))
    found = entries(squash(merge([BASE, over, back]), ["n"]))
    assert Tombstone(b"d/x", Kind.FILE, B) in found
    assert not any(isinstance(entry, Tombstone) and entry.whiteout for entry in found)
