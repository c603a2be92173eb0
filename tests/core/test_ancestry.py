import pytest

from agent.core.ancestry import Ancestry
from agent.core.change import Ancestor
from agent.errors import IntegrityError


def made(*rows):
    """Return an ancestry of (id, parents, lane, attempt) rows; stamps grow."""
    return Ancestry(
        Ancestor(row[0], stamp, tuple(row[1]), *(row[2:] or (None, None))) for stamp, row in enumerate(rows)
    )


def test_the_past_goes_through_every_generation():
    ancestry = made(("b", ""), ("a", "b"), ("c", "a"), ("d", "ac"))
    assert ancestry.precedes("a", "d")
    assert not ancestry.precedes("d", "a")
    assert not ancestry.precedes("a", "a")
    assert ancestry.past(["c"]) == {"c", "a", "b"}


def test_a_parent_without_a_record_belongs_to_the_past():
    ancestry = made(("c", ["gone"]))
    assert ancestry.precedes("gone", "c")
    assert ancestry.past(["c"]) == {"c", "gone"}
    assert ancestry.frontier(["c", "gone"]) == ("c",)


def test_the_frontier_is_what_lies_in_no_others_past():
    ancestry = made(("a", ""), ("b", "a"), ("c", "a"), ("d", "b"))
    assert ancestry.frontier("abcd") == ("c", "d")
    assert ancestry.frontier("ab") == ("b",)
    assert ancestry.frontier("") == ()


def test_the_frontier_sees_through_changes_that_are_not_among_the_given():
    ancestry = made(("a", ""), ("b", "a"), ("c", "b"))
    assert ancestry.frontier("ac") == ("c",)


def test_a_stamp_not_above_a_parents_is_refused():
    with pytest.raises(IntegrityError):
        Ancestry([Ancestor("a", 5, ()), Ancestor("b", 5, ("a",))])


def test_a_later_attempt_supersedes_an_earlier_one_of_its_lane_only():
    ancestry = made(("x", "", "m", 0), ("y", "", "m", 1), ("z", "", "n", 0), ("u", ""))
    assert ancestry.superseded() == {"x"}


def test_an_attempt_built_on_its_predecessor_does_not_supersede_it():
    assert made(("x", "", "m", 0), ("y", "x", "m", 1)).superseded() == set()


def test_a_superseded_attempt_supersedes_nothing():
    assert made(("x", "", "m", 0), ("y", "", "m", 1), ("z", "x", "m", 2)).superseded() == {"y"}


def test_what_a_squash_covers_is_not_superseded_and_what_it_dropped_is():
    ancestry = made(("x", "", "m", 0), ("y", "", "m", 1), ("z", "", "n", 0))
    assert ancestry.superseded(covered={"x"}) == set()
    assert ancestry.superseded(dropped={"z"}) == {"x", "z"}
    assert ancestry.superseded(covered={"z", "x"}, dropped={"z"}) == set()


def test_a_pull_by_an_attempt_leaves_out_earlier_attempts_and_what_was_built_on_them():
    ancestry = made(("b", ""), ("x", "b", "m", 0), ("y", "x"), ("z", "b"), ("w", "b", "m", 1))
    assert ancestry.outdated("m", 1) == {"x", "y"}
    assert ancestry.outdated("m", 2) == {"x", "y", "w"}
    assert ancestry.outdated("m", 0) == set()
    assert ancestry.outdated("m", 1, covered={"x"}) == set()


def test_settled_is_what_has_no_attempt_in_its_past_or_lies_in_the_past_of_a_finished_lane():
    ancestry = made(("b", ""), ("x", "b", "m", 0), ("y", "x"), ("z", "b"), ("w", ["lost"]))
    assert ancestry.settled() == {"b", "z"}
    assert ancestry.settled(after=["y"]) == {"b", "z", "x", "y"}


def test_a_thousand_changes_in_a_row_are_quick_and_no_matter_of_recursion():
    ancestry = Ancestry(Ancestor(f"{n:05}", n, (f"{n - 1:05}",) if n else ()) for n in range(3000))
    assert ancestry.precedes("00000", "02999")
    assert ancestry.frontier(ancestry.records) == ("02999",)
