import pytest

from agent.core.layers import flatten as flattening
from agent.core.layers.flatten import base_change, flatten
from agent.core.merge.merge import merge
from agent.core.model.entry import Kind, Node, Version, Write
from agent.core.model.tar_item import Linked, Opaque, Placed, Whiteout
from agent.errors import IntegrityError, UnsafeArchiveError

IMPLIED = Node(Kind.DIR, 0o755)


def file(text="x", mode=0o644):
    return Node(Kind.FILE, mode, sha256=text.encode(), size=len(text))


def directory(mode=0o750):
    return Node(Kind.DIR, mode)


def link(target):
    return Node(Kind.LINK, 0o777, target=target)


def tree(*layers):
    return {write.path: write.node for write in flatten((0, layer) for layer in layers)}


def test_rows_come_in_bytes_order_of_paths():
    rows = flatten([(0, [Placed(b"a/b", file()), Placed(b"a-b", file()), Placed(b"a", directory())])])
    assert [row.path for row in rows] == [b"a", b"a-b", b"a/b"]


def test_upper_layers_win_and_a_directory_over_a_directory_updates_its_attributes():
    lower = [Placed(b"d", directory(0o700)), Placed(b"d/x", file("1")), Placed(b"d/y", file("2"))]
    assert tree(lower, [Placed(b"d", directory(0o755)), Placed(b"d/x", file("3"))]) == {
        b"d": directory(0o755),
        b"d/x": file("3"),
        b"d/y": file("2"),
    }


def test_a_file_over_a_directory_removes_all_below_and_a_directory_over_a_file_replaces_it():
    lower = [Placed(b"d", directory()), Placed(b"d/x", file()), Placed(b"f", file())]
    upper = [Placed(b"d", file("now")), Placed(b"f", directory()), Placed(b"f/y", file("y"))]
    assert tree(lower, upper) == {b"d": file("now"), b"f": directory(), b"f/y": file("y")}


def test_within_one_layer_the_last_entry_of_a_name_wins():
    assert tree([Placed(b"a", file("1")), Placed(b"a", file("2"))]) == {b"a": file("2")}


@pytest.mark.parametrize("late", [False, True])
def test_a_whiteout_hides_lower_layers_only_wherever_it_stands_in_the_tar(late):
    lower = [Placed(b"d", directory(0o700)), Placed(b"d/old", file()), Placed(b"f", file("old"))]
    entries = [Placed(b"d", directory()), Placed(b"d/new", file("new"))]
    whiteouts = [Whiteout(b"d"), Whiteout(b"f")]
    upper = entries + whiteouts if late else whiteouts + entries
    assert tree(lower, upper) == {b"d": directory(), b"d/new": file("new")}


@pytest.mark.parametrize("late", [False, True])
def test_an_opaque_directory_hides_what_lower_layers_have_in_it(late):
    lower = [Placed(b"d", directory()), Placed(b"d/s", directory()), Placed(b"d/s/old", file()), Placed(b"e", file())]
    entries = [Placed(b"d", directory()), Placed(b"d/new", file("new"))]
    upper = [*entries, Opaque(b"d")] if late else [Opaque(b"d"), *entries]
    assert tree(lower, upper) == {b"d": directory(), b"d/new": file("new"), b"e": file()}


def test_an_opaque_root_hides_everything_below():
    assert tree([Placed(b"a", file()), Placed(b"d/x", file())], [Opaque(b""), Placed(b"b", file())]) == {b"b": file()}


def test_a_whiteout_keeps_a_lower_directory_that_holds_something_of_its_own_layer():
    lower = [Placed(b"d", directory(0o700)), Placed(b"d/old", file())]
    assert tree(lower, [Placed(b"d/new", file()), Whiteout(b"d")]) == {b"d": directory(0o700), b"d/new": file()}


def test_whiteouts_of_nothing_do_nothing():
    assert tree([Whiteout(b"a"), Whiteout(b"d/x"), Opaque(b"e")]) == {}


def test_directories_that_no_layer_lists_belong_to_root_with_mode_0755():
    assert tree([Placed(b"a/b/c", file())]) == {b"a": IMPLIED, b"a/b": IMPLIED, b"a/b/c": file()}


def test_a_hard_link_shares_group_node_and_offset_with_a_file_of_any_layer_so_far():
    rows = flatten(
        [
            (0, [Placed(b"b", file("b"), 512)]),
            (4096, [Linked(b"a", b"b", 0), Placed(b"c", file("c"), 1024), Linked(b"d", b"c", 2048)]),
        ]
    )
    assert rows == [
        Write(b"a", file("b"), None, 512, 1),
        Write(b"b", file("b"), None, 512, 1),
        Write(b"c", file("c"), None, 5120, 2),
        Write(b"d", file("c"), None, 5120, 2),
    ]


def test_a_link_group_of_which_one_name_is_left_is_none():
    rows = flatten([(0, [Placed(b"a", file()), Linked(b"b", b"a")]), (0, [Whiteout(b"a")])])
    assert rows == [Write(b"b", file(), None, 0, 0)]


def test_a_name_written_again_leaves_its_link_group():
    rows = flatten([(0, [Placed(b"a", file()), Linked(b"b", b"a")]), (0, [Placed(b"a", file("new"))])])
    assert [(row.path, row.group) for row in rows] == [(b"a", 0), (b"b", 0)]


@pytest.mark.parametrize("to", [b"gone", b"a", b"d"])
def test_a_hard_link_to_nothing_to_itself_or_to_a_directory_is_refused(to):
    with pytest.raises(IntegrityError):
        tree([Placed(b"d", directory()), Linked(b"a", to)])


def test_an_entry_below_a_file_is_refused():
    with pytest.raises(IntegrityError):
        tree([Placed(b"f", file()), Placed(b"f/x", file())])


def test_a_symbolic_link_above_an_entry_is_followed_inside_the_root():
    lower = [Placed(b"usr/lib", directory()), Placed(b"lib", link(b"/usr/lib")), Placed(b"up", link(b"../../usr"))]
    upper = [Placed(b"lib/x", file("x")), Placed(b"up/lib/y", file("y")), Linked(b"z", b"lib/x")]
    found = tree(lower, upper)
    assert found[b"usr/lib/x"] == file("x")
    assert found[b"usr/lib/y"] == file("y")
    assert found[b"z"] == file("x")
    assert found[b"lib"] == link(b"/usr/lib")


def test_a_whiteout_below_a_symbolic_link_removes_what_it_leads_to():
    lower = [Placed(b"real/x", file()), Placed(b"l", link(b"real"))]
    assert tree(lower, [Whiteout(b"l/x")]) == {b"l": link(b"real"), b"real": IMPLIED}


def test_a_directory_entry_over_a_symbolic_link_replaces_it():
    lower = [Placed(b"real/x", file()), Placed(b"l", link(b"real"))]
    found = tree(lower, [Placed(b"l", directory()), Placed(b"l/y", file("y"))])
    assert found[b"l"] == directory()
    assert b"real/y" not in found


def test_symbolic_links_that_lead_in_circles_are_refused():
    with pytest.raises(UnsafeArchiveError):
        tree([Placed(b"a", link(b"b")), Placed(b"b", link(b"a")), Placed(b"a/x", file())])


def test_links_that_lead_through_very_many_names_are_refused(monkeypatch):
    long = [Placed(b"d", directory()), Placed(b"a", link(b"d/../" * 800 + b"d"))]
    entries = [Placed(b"a/%d" % number, file()) for number in range(10)]
    assert len(tree([*long, *entries])) == 12
    monkeypatch.setattr(flattening, "_FOLLOWED_MAX", 10_000)
    with pytest.raises(UnsafeArchiveError, match="too many names"):
        tree([*long, *entries])


@pytest.mark.parametrize("marker", [Opaque(b"d"), Whiteout(b"d")])
def test_what_is_said_a_thousand_times_is_done_once(marker):
    lower = [Placed(b"d/%d" % number, file()) for number in range(5000)]
    upper = [Placed(b"d/new/%d" % number, file()) for number in range(5000)]
    found = tree(lower, [*upper, *[marker] * 100_000])  # else it takes many minutes
    assert len(found) == 5002


def test_a_base_is_one_change_of_stamp_0_and_merges_into_its_own_tree():
    change = base_change("sha256:b", [(0, [Placed(b"d/x", file(), 512)]), (2048, [Placed(b"y", file("y"), 0)])])
    assert (change.version, change.parents, change.layer) == (Version(0, "sha256:b"), (), "sha256:b")
    assert [(row.path, row.offset, row.version) for row in merge([change]).tree()] == [
        (b"d", 0, change.version),
        (b"d/x", 512, change.version),
        (b"y", 2048, change.version),
    ]


def test_a_deep_tree_is_no_matter_of_recursion():
    path = b"/".join([b"d"] * 3000)
    assert len(tree([Placed(path, file())])) == 3000
    assert tree([Placed(path, file())], [Whiteout(b"d")]) == {}
