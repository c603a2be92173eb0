from agent.core.layers.linearise import FixUp, fix_up, layers
from agent.core.merge.merge import merge
from agent.core.model.change import Ancestor, Change, Kept, Squash
from agent.core.model.entry import Context, Delete, Kind, Node, Touch, TreeEntry, Version, Write
from agent.core.model.tar_item import Linked, Placed, Whiteout

B = Version(0, "b")
DIR = Node(Kind.DIR, 0o755)


def file(text="x", mtime=1):
    return Node(Kind.FILE, 0o644, mtime=mtime, size=len(text), sha256=text.encode())


def change(name, stamp, parents, *entries, lane=None, attempt=None):
    return Change(name, stamp, tuple(parents), entries, "L" + name, lane, attempt)


BASE = change(
    "b", 0, "", Write(b"d", DIR, None, 0), Write(b"d/x", file(), None, 512), Write(b"f", file("f"), None, 1536)
)


def test_layers_lie_in_stamp_and_id_order_without_superseded_ones():
    one = change("z", 1, "b")
    two = change("a", 2, "b", lane="m", attempt=0)
    three = change("c", 2, "b", lane="m", attempt=1)
    assert [layer.id for layer in layers(merge([three, one, two, BASE]))] == ["b", "z", "c"]


def test_a_squash_lies_at_its_largest_covered_change():
    records = (Ancestor("x", 1, ("b",)), Ancestor("y", 3, ("x",)))
    squash = Squash("s", frozenset("xy"), frozenset(), records, [Kept(b"n", file(), Version(1, "x"))], "Ls")
    order = layers(merge([BASE, change("p", 2, "b"), change("q", 4, "b")], [squash]))
    assert [layer.id for layer in order] == ["b", "p", "s", "q"]


def test_a_chain_needs_no_fix_up():
    gone = change("n", 1, "b", Context(b"d", DIR), Delete(b"d/x", Kind.FILE, B, whiteout=True))
    assert fix_up(merge([BASE, gone])) is None


def test_a_file_that_a_directory_whiteout_of_a_later_layer_hides_is_placed_again():
    kept = change("k", 1, "b", Context(b"d", DIR, None, 0), Write(b"d/y", file("y"), None, 512))
    gone = change("g", 2, "b", Delete(b"d", Kind.DIR, B, whiteout=True), Delete(b"d/x", Kind.FILE, B))
    assert fix_up(merge([BASE, kept, gone])) == FixUp(
        (), (TreeEntry(b"d", DIR, None, "Lk", 0), TreeEntry(b"d/y", file("y"), kept.version, "Lk", 512))
    )


def test_what_plain_application_has_too_much_is_removed_by_one_whiteout_at_its_top():
    made = change("m", 1, "b", Write(b"d", file("d"), B), Delete(b"d", Kind.DIR, B), Delete(b"d/x", Kind.FILE, B))
    sub = change("n", 2, "b", Write(b"e", DIR), Write(b"e/s", DIR), Write(b"e/s/x", file()))
    gone = change(
        "g",
        3,
        "n",
        Context(b"e", DIR),
        Delete(b"e/s", Kind.DIR, sub.version),
        Delete(b"e/s/x", Kind.FILE, sub.version),
    )
    found = fix_up(merge([BASE, made, sub, gone]))
    assert found is not None
    assert found.whiteouts == (b"e/s",)
    assert [row.path for row in found.rows] == [b"e"]


def test_a_directory_whose_whiteouts_a_union_file_system_would_show_is_listed():
    lone = change("s", 1, "b", Write(b"n", DIR), Write(b"n/x", file()), lane="m", attempt=0)
    gone = change("g", 2, "s", Write(b"n", DIR, lone.version), Delete(b"n/x", Kind.FILE, lone.version, whiteout=True))
    again = change("t", 3, "b", lane="m", attempt=1)
    found = fix_up(merge([BASE, lone, gone, again]))
    assert found is not None
    assert found.whiteouts == ()
    assert [row.path for row in found.rows] == [b"n"]


def test_whiteouts_at_the_root_of_a_lone_layer_get_a_layer_over_them():
    lone = change("s", 1, "", Write(b"x", file()), lane="m", attempt=0)
    gone = change("g", 2, "s", Delete(b"x", Kind.FILE, lone.version, whiteout=True))
    again = change("t", 3, "", lane="m", attempt=1)
    assert fix_up(merge([lone, gone])) is None
    assert fix_up(merge([lone, gone, again])) is None
    assert fix_up(merge([gone])) == FixUp((), ())


def test_touches_and_times_of_directories_are_no_reason_for_a_fix_up():
    other = Node(Kind.DIR, 0o755, mtime=99)
    touched = change("t", 1, "b", Touch(b"f", B, 77))
    listed = change("n", 2, "b", Context(b"d", other), Write(b"d/y", file("y")))
    older = change("o", 1, "b", Context(b"d", DIR), Write(b"d/z", file("z")))
    assert fix_up(merge([BASE, touched, listed, older])) is None


def test_a_link_group_that_layers_tear_apart_is_placed_whole():
    base = change("b", 0, "", Write(b"m", file(), None, 0))
    one = change("x", 1, "b", Write(b"a", file(), None, 0, 1), Context(b"m", file(), B, 512, 1))
    other = change("y", 2, "b", Context(b"m", file(), B, 0, 1), Write(b"z", file(), None, 512, 1))
    found = fix_up(merge([base, one, other]))
    assert found is not None
    assert list(found.items()) == [Placed(b"a", file()), Linked(b"m", b"a"), Linked(b"z", b"a")]


def test_the_items_of_a_fix_up_are_whiteouts_first():
    rows = (TreeEntry(b"a", file(), B, "L", 0, 1), TreeEntry(b"b", file(), B, "L", 0, None))
    assert list(FixUp((b"c",), rows).items()) == [Whiteout(b"c"), Placed(b"a", file()), Placed(b"b", file())]
