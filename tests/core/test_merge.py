"""What the vectors leave open: where contents lie, link groups, times of directories, who won, memory."""

import tracemalloc

import pytest

from agent.core.merge.conflict import Conflict, ConflictKind
from agent.core.merge.merge import merge
from agent.core.model.change import Ancestor, Change, Claim, Kept, Squash
from agent.core.model.entry import UNPULLED, Context, Delete, Kind, Node, Touch, TreeEntry, Version, Write
from agent.errors import IntegrityError


def file(text="x", mtime=1, mode=0o644):
    return Node(Kind.FILE, mode, mtime=mtime, size=len(text), sha256=text.encode())


def directory(mode=0o755, mtime=0):
    return Node(Kind.DIR, mode, mtime=mtime)


def change(name, stamp, parents, *entries, lane=None, attempt=None):
    return Change(name, stamp, tuple(parents), entries, "L" + name, lane, attempt)


B = Version(0, "b")


def rows(*changes, squashes=()):
    return list(merge(changes, squashes).tree())


def test_nothing_merges_into_nothing():
    assert rows() == []
    assert merge([]).conflicts == ()


def test_a_row_says_in_which_layer_its_content_lies():
    base = change("b", 0, "", Write(b"a", file("1"), None, 512), Write(b"c", file("2"), None, 2048))
    newer = change("n", 1, "b", Write(b"a", file("3"), B, 1024))
    assert rows(base, newer) == [
        TreeEntry(b"a", file("3"), newer.version, "Ln", 1024, None),
        TreeEntry(b"c", file("2"), B, "Lb", 2048, None),
    ]


def test_a_needed_directory_has_no_version_and_the_place_of_its_newest_listing():
    base = change("b", 0, "", Write(b"d", directory(0o700), None, 0), Write(b"d/x", file(), None, 512))
    gone = change("g", 1, "b", Delete(b"d", Kind.DIR, B, whiteout=True), Delete(b"d/x", Kind.FILE, B))
    kept = change("k", 2, "b", Context(b"d", directory(0o700), None, 0), Write(b"d/y", file("y"), None, 512))
    assert rows(base, gone, kept) == [
        TreeEntry(b"d", directory(0o700), None, "Lk", 0, None),
        TreeEntry(b"d/y", file("y"), kept.version, "Lk", 512, None),
    ]


def test_a_directory_has_the_mtime_of_its_newest_listing_and_the_attributes_of_its_version():
    base = change("b", 0, "", Write(b"d", directory(0o700, 5)), Write(b"d/x", file()))
    newer = change("n", 1, "b", Context(b"d", directory(0o700, 9)), Write(b"d/x", file("2"), B))
    older = change("o", 1, "b", Context(b"d", directory(0o700, 7)), Write(b"d/y", file("2")))
    assert rows(base, newer, older)[0] == TreeEntry(b"d", directory(0o700, 7), B, "Lb", 0, None)


def test_a_file_between_two_versions_of_a_directory_hides_what_was_below_the_first():
    base = change("b", 0, "")
    first = change("f", 1, "b", Write(b"d", directory()), Write(b"d/x", file()))
    between = change("o", 2, "b", Write(b"d", file("o")))
    again = change("g", 3, "f", Write(b"d", directory(0o700), first.version))
    assert rows(base, first, between, again) == [TreeEntry(b"d", directory(0o700), again.version, "Lg")]


def test_in_bytes_order_a_sibling_stands_between_a_path_and_what_is_below_it():
    base = change("b", 0, "", Write(b"a", file()), Write(b"a-b", file()), Write(b"a.c", file()))
    below = change("n", 1, "b", Context(b"a", directory()), Write(b"a", directory(), B), Write(b"a/x", file("x")))
    found = rows(base, below)
    assert [(row.path, row.node.kind) for row in found] == [
        (b"a", Kind.DIR),
        (b"a-b", Kind.FILE),
        (b"a.c", Kind.FILE),
        (b"a/x", Kind.FILE),
    ]


def test_names_of_one_file_share_a_group_and_the_place_of_its_content():
    base = change(
        "b",
        0,
        "",
        Write(b"a", file(), None, 512, 1),
        Write(b"c", file("o"), None, 1024),
        Write(b"d", file(), None, 1536, 1),
    )
    one, other, last = rows(base)
    assert one.group == last.group != other.group is None
    assert (one.offset, last.offset) == (512, 512)


def test_the_place_of_the_content_stays_when_the_name_that_carries_it_is_gone():
    base = change("b", 0, "", Write(b"a", file(), None, 512, 1), Write(b"d", file(), None, 1536, 1))
    assert rows(base, change("n", 1, "b", Delete(b"a", Kind.FILE, B)))[0][3:5] == ("Lb", 512)


def test_concurrent_names_of_one_file_are_all_one_file():
    base = change("b", 0, "", Write(b"m", file()))
    one = change("x", 1, "b", Write(b"a", file(), None, 0, 1), Context(b"m", file(), B, 512, 1))
    other = change("y", 2, "b", Context(b"m", file(), B, 0, 1), Write(b"z", file(), None, 512, 1))
    assert len({row.group for row in rows(base, one, other)}) == 1
    assert len({row.group for row in rows(other, base)}) == 1
    # … also when the name that tied them goes: whoever had all three on the disk still has one file.
    gone = change("g", 3, "xy", Delete(b"m", Kind.FILE, B))
    left = rows(base, one, other, gone)
    assert [row.path for row in left] == [b"a", b"z"]
    assert left[0].group == left[1].group is not None


def test_a_name_written_anew_leaves_its_file():
    base = change("b", 0, "", Write(b"a", file(), None, 0, 1), Write(b"d", file(), None, 512, 1))
    found = rows(base, change("n", 1, "b", Write(b"d", file(), B)))
    assert found[0].group != found[1].group


def test_a_touch_of_one_name_is_a_touch_of_the_file():
    base = change("b", 0, "", Write(b"a", file(), None, 0, 1), Write(b"d", file(), None, 512, 1))
    assert {row.node.mtime for row in rows(base, change("n", 1, "b", Touch(b"d", B, 9)))} == {9}


def test_a_conflict_names_both_lanes_and_who_won():
    base = change("b", 0, "", Write(b"a", file()))
    one = change("x", 1, "b", Write(b"a", file("1"), B), lane="run/one")
    other = change("y", 2, "b", Write(b"a", file("2"), B), lane="run/other")
    assert merge([base, one, other]).conflicts == (
        Conflict(b"a", ConflictKind.CONTENT, ("x", "y"), ("run/one", "run/other"), "y"),
    )


def test_a_hidden_write_is_won_by_what_hides_it():
    base = change("b", 0, "")
    below = change("x", 1, "b", Write(b"d", directory()), Write(b"d/f", file("f")), lane="one")
    over = change("y", 2, "b", Write(b"d", file("d")), lane="two")
    found = merge([base, below, over]).conflicts
    assert found == (
        Conflict(b"d", ConflictKind.TYPE, ("x", "y"), ("one", "two"), "y"),
        Conflict(b"d/f", ConflictKind.HIDDEN, ("x", "y"), ("one", "two"), "y"),
    )


def test_a_conflict_is_reported_beside_another_that_the_loser_is_part_of():
    base = change("b", 0, "")
    one = change("x", 1, "b", Write(b"d", file("1")))
    other = change("y", 2, "b", Write(b"d", file("2")))
    below = change("z", 3, "b", Write(b"d", directory()), Write(b"d/f", file("f")))
    late = change("w", 4, "z", Delete(b"d", Kind.DIR, below.version), Delete(b"d/f", Kind.FILE, below.version))
    kinds = {(c.path, str(c.kind), c.ids) for c in merge([base, one, other, below, late]).conflicts}
    assert (b"d", "content", ("x", "y")) in kinds
    assert (b"d", "hidden", ("y", "z")) in kinds
    assert (b"d", "delete", ("w", "x", "y")) in kinds


def test_an_unpulled_write_settles_nothing():
    base = change("b", 0, "", Write(b"a", file("1")))
    assert merge([base, change("x", 1, "b", Write(b"a", file("2"), UNPULLED))]).conflicts != ()


def test_one_squash_alone_still_has_the_conflicts_of_what_it_covers():
    records = (Ancestor("x", 1, ()), Ancestor("y", 2, ()))
    values = [claim_of("x", "1"), claim_of("y", "2")]
    squash = Squash("s", frozenset("xy"), frozenset(), records, [Kept(b"a", file("2"), Version(2, "y")), *values], "Ls")
    assert [conflict.ids for conflict in merge([], [squash]).conflicts] == [("x", "y")]


def claim_of(name, text):
    return Claim(b"a", name, Node(Kind.FILE, 0o644, sha256=text.encode()), None)


def test_a_squash_of_which_another_covers_everything_is_no_layer():
    record = (Ancestor("x", 1, ()),)
    kept = [Kept(b"a", file(), Version(1, "x"))]
    small = Squash("a", frozenset("x"), frozenset(), record, kept, "La")
    same = Squash("b", frozenset("x"), frozenset(), record, kept, "Lb")
    assert [squash.id for squash in merge([], [same, small]).squashes] == ["a"]


def test_entries_out_of_order_are_refused():
    with pytest.raises(IntegrityError):
        rows(change("b", 0, "", Write(b"c", file()), Write(b"a", file())))


def test_a_tree_without_end_needs_no_memory():
    class Endless:
        def __iter__(self):
            return (Write(b"%09d" % n, file()) for n in range(60_000))

    small = change("n", 1, "b", Write(b"000000005", file("n"), B))
    merged = merge([Change("b", 0, (), Endless(), "Lb"), small])
    tracemalloc.start()
    assert sum(1 for _ in merged.tree()) == 60_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
