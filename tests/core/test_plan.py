"""Single cases of what a pull must do; laws are in tests/property/test_plan_laws.py."""

from agent.core.directory.fingerprint_table import FingerprintTable
from agent.core.directory.pull_plan import plan_pull
from agent.core.directory.sparse_globs import everything, selection
from agent.core.directory.state_row import Fingerprint, StateRow
from agent.core.model.entry import Kind, Node, TreeEntry
from tests.property.disk import in_order, version

V1, V2 = version(1), version(2)


def node(kind=Kind.FILE, content=b"x", **attributes):
    if kind is Kind.FILE:
        attributes = {"size": len(content), "sha256": content.ljust(32), **attributes}
    return Node(kind, 0o755 if kind is Kind.DIR else 0o644, **attributes)


def known(path, its=None, stands=V1, *, group=0, pulled=True):
    return StateRow(path, its or node(), stands, Fingerprint(1, 2, 3, 4, 5, 6, 7) if pulled else None, group)


def entry(path, its=None, stands=V1, *, layer="l", offset=0, group=None):
    return TreeEntry(path, its or node(), stands, layer, offset, group)


DIR = node(Kind.DIR)


def steps(made):
    """The steps by name, those that are empty left out."""
    found = {
        "remove": [path for path, _ in made.remove],
        "directories": [row.path for row in made.directories],
        "fetch": [row.path for files in made.fetch.values() for row in in_order(files)],
        "make": [row.path for row in made.make],
        "link": [(row.path, to) for row, to in made.link],
        "attributes": [row.path for row in made.attributes],
    }
    return {name: paths for name, paths in found.items() if paths}


def remembered(made):
    """The rows with what is known of the directories among them."""
    return list(FingerprintTable(len(made.rows), made.fingerprints).applied_to(made.rows))


def test_a_tree_that_stands_needs_nothing():
    made = plan_pull([known(b"d", DIR), known(b"d/f")], [entry(b"d", DIR), entry(b"d/f")], everything)
    assert steps(made) == {}
    assert made.changes_nothing
    assert [row.fingerprint is not None for row in remembered(made)] == [True, True]


def test_an_empty_directory_gets_everything_parents_first():
    tree = [entry(b"d", DIR), entry(b"d/e", DIR), entry(b"d/e/f"), entry(b"d/l", node(Kind.LINK, target=b"x"))]
    made = plan_pull([], tree, everything)
    assert steps(made) == {"directories": [b"d", b"d/e"], "fetch": [b"d/e/f"], "make": [b"d/l"]}
    assert [row.fingerprint for row in remembered(made)] == [None] * 4


def test_contents_are_fetched_by_layer_in_order_of_their_place():
    tree = [
        entry(b"a", layer="1", offset=9),
        entry(b"b", layer="2", offset=5),
        entry(b"c", layer="1", offset=3),
    ]
    fetch = plan_pull([], tree, everything).fetch
    assert {layer: [row.path for row in in_order(files)] for layer, files in fetch.items()} == {
        "1": [b"c", b"a"],
        "2": [b"b"],
    }


def test_what_goes_is_removed_deepest_first():
    made = plan_pull([known(b"d", DIR), known(b"d/e", DIR), known(b"d/e/f"), known(b"g")], [], everything)
    assert steps(made) == {"remove": [b"g", b"d/e/f", b"d/e", b"d"]}


def test_a_directory_that_loses_or_gets_a_name_gets_its_mtime_again():
    rows = [known(b"d", DIR), known(b"d/f"), known(b"e", DIR)]
    assert steps(plan_pull(rows, [entry(b"d", DIR), entry(b"e", DIR)], everything)) == {
        "remove": [b"d/f"],
        "directories": [b"d"],
    }
    tree = [entry(b"d", DIR), entry(b"d/f"), entry(b"e", DIR), entry(b"e/n", DIR)]
    assert steps(plan_pull(rows, tree, everything)) == {"directories": [b"e", b"e/n"]}


def test_another_kind_is_removed_and_made():
    file_to_dir = plan_pull([known(b"a")], [entry(b"a", DIR)], everything)
    assert steps(file_to_dir) == {"remove": [b"a"], "directories": [b"a"]}
    dir_to_file = plan_pull([known(b"a", DIR), known(b"a/b")], [entry(b"a")], everything)
    assert steps(dir_to_file) == {"remove": [b"a/b", b"a"], "fetch": [b"a"]}


def test_the_same_content_under_other_attributes_is_not_fetched():
    made = plan_pull([known(b"f")], [entry(b"f", node(mtime=5), V2)], everything)
    assert steps(made) == {"attributes": [b"f"]}
    link = node(Kind.LINK, target=b"x")
    assert steps(plan_pull([known(b"l", link)], [entry(b"l", link._replace(uid=5), V2)], everything)) == {
        "attributes": [b"l"]
    }


def test_another_content_is_fetched_and_another_link_made():
    assert steps(plan_pull([known(b"f")], [entry(b"f", node(content=b"yy"), V2)], everything)) == {"fetch": [b"f"]}
    before, after = node(Kind.LINK, target=b"x"), node(Kind.LINK, target=b"y")
    assert steps(plan_pull([known(b"l", before)], [entry(b"l", after, V2)], everything)) == {"make": [b"l"]}
    before, after = node(Kind.CHAR, device=(1, 3)), node(Kind.CHAR, device=(1, 5))
    assert steps(plan_pull([known(b"c", before)], [entry(b"c", after, V2)], everything)) == {"make": [b"c"]}


def test_a_version_alone_moves_nothing_of_a_directory():
    made = plan_pull([known(b"d", DIR, V1)], [entry(b"d", DIR, V2)], everything)
    assert made.changes_nothing
    (row,) = remembered(made)
    assert (row.version, row.fingerprint is None) == (V2, False)


def test_what_stands_there_unknown_is_made_anew_even_if_its_like_is_wanted():
    for its in (node(Kind.FIFO), node(Kind.CHAR, device=(0, 0)), node()):
        doubted = known(b"x", Node(its.kind, -1), None)
        assert steps(plan_pull([doubted], [entry(b"x", its)], everything)) in ({"make": [b"x"]}, {"fetch": [b"x"]})


# Link groups.


def test_a_group_is_fetched_once_and_linked():
    tree = [entry(b"a", group=4), entry(b"b", group=4), entry(b"c", group=4)]
    assert steps(plan_pull([], tree, everything)) == {"fetch": [b"a"], "link": [(b"b", b"a"), (b"c", b"a")]}


def test_a_group_of_links_is_made_once_and_linked():
    link = node(Kind.LINK, target=b"x")
    tree = [entry(b"a", link, group=4), entry(b"b", link, group=4)]
    assert steps(plan_pull([], tree, everything)) == {"make": [b"a"], "link": [(b"b", b"a")]}


def test_a_group_that_stands_is_left_alone_whatever_its_number():
    rows = [known(b"a", group=1), known(b"b", group=1)]
    assert plan_pull(rows, [entry(b"a", group=9), entry(b"b", group=9)], everything).changes_nothing


def test_a_name_that_leaves_a_group_is_made_anew():
    rows = [known(b"a", group=1), known(b"b", group=1), known(b"c", group=1)]
    tree = [entry(b"a", group=1), entry(b"b", group=1), entry(b"c")]
    assert steps(plan_pull(rows, tree, everything)) == {"fetch": [b"c"]}


def test_a_group_that_becomes_two_is_kept_once():
    rows = [known(path, group=1) for path in (b"a", b"b", b"c", b"d")]
    tree = [entry(b"a", group=1), entry(b"b", group=1), entry(b"c", group=2), entry(b"d", group=2)]
    assert steps(plan_pull(rows, tree, everything)) == {"fetch": [b"c"], "link": [(b"d", b"c")]}
    alone = [entry(b"a", group=1), entry(b"b", group=1), entry(b"c", group=2), entry(b"d", group=3)]
    assert steps(plan_pull(rows, alone, everything)) == {"fetch": [b"c", b"d"]}


def test_two_groups_that_become_one_are_linked_anew():
    rows = [known(b"a", group=1), known(b"b", group=1), known(b"c", group=2), known(b"d", group=2)]
    tree = [entry(path, group=1) for path in (b"a", b"b", b"c", b"d")]
    assert steps(plan_pull(rows, tree, everything)) == {
        "fetch": [b"a"],
        "link": [(b"b", b"a"), (b"c", b"a"), (b"d", b"a")],
    }


def test_attributes_of_a_name_among_several_are_not_changed_in_place():
    rows = [known(b"a", group=1), known(b"b", group=1)]
    tree = [entry(b"a", node(mtime=5), V2), entry(b"b")]
    assert steps(plan_pull(rows, tree, everything)) == {"fetch": [b"a", b"b"]}


def test_a_visible_name_alone_in_its_group_is_a_file_like_others():
    assert steps(plan_pull([known(b"a")], [entry(b"a", group=3)], everything)) == {}
    assert steps(plan_pull([known(b"a", group=1)], [entry(b"a", group=3)], everything)) == {}
    assert steps(plan_pull([], [entry(b"a", group=3)], everything)) == {"fetch": [b"a"]}


# Sparse pulls.


def test_what_is_not_selected_is_counted_and_remembered_without_a_print():
    tree = [entry(b"a"), entry(b"d", DIR), entry(b"d/f"), entry(b"e", DIR)]
    made = plan_pull([], tree, selection([b"d/f"]))
    assert steps(made) == {"directories": [b"d"], "fetch": [b"d/f"]}
    assert made.unselected == 2
    assert [row.path for row in made.rows] == [b"a", b"d", b"d/f", b"e"]


def test_what_is_no_longer_selected_is_removed():
    rows = [known(b"a"), known(b"d", DIR), known(b"d/f")]
    tree = [entry(b"a"), entry(b"d", DIR), entry(b"d/f")]
    made = plan_pull(rows, tree, selection([b"a"]))
    assert steps(made) == {"remove": [b"d/f", b"d"]}
    assert [(row.path, row.fingerprint is not None) for row in remembered(made)] == [
        (b"a", True),
        (b"d", False),
        (b"d/f", False),
    ]


def test_a_directory_above_what_is_selected_stays_and_one_that_is_not_goes():
    rows = [known(b"d", DIR), known(b"d/e", DIR), known(b"d/e/f"), known(b"d/g", DIR), known(b"d/g/h")]
    tree = [entry(row.path, row.node) for row in rows]
    made = plan_pull(rows, tree, selection([b"d/e/*"]))
    assert steps(made) == {"remove": [b"d/g/h", b"d/g"], "directories": [b"d"]}
    assert made.unselected == 2
    assert [row.path for row in remembered(made) if row.fingerprint is not None] == [b"d", b"d/e", b"d/e/f"]


def test_what_was_not_pulled_is_fetched_when_selected_and_never_removed():
    rows = [known(b"a", pulled=False), known(b"b", pulled=False)]
    assert steps(plan_pull(rows, [entry(b"a")], everything)) == {"fetch": [b"a"]}


def test_a_directory_that_was_not_pulled_gives_way_to_a_file():
    rows = [known(b"d", DIR, pulled=False), known(b"d/f", pulled=False)]
    assert steps(plan_pull(rows, [entry(b"d", stands=V2)], everything)) == {"fetch": [b"d"]}


def test_the_selected_names_of_a_group_are_linked_among_themselves():
    tree = [entry(b"a", group=1), entry(b"b", group=1), entry(b"c", group=1)]
    assert steps(plan_pull([], tree, selection([b"[bc]"]))) == {"fetch": [b"b"], "link": [(b"c", b"b")]}
