import pytest

from agent.core.model.attempts_and_ancestry import Ancestry, Writer
from agent.core.model.change import Ancestor
from agent.core.model.pod import Pod
from agent.errors import IntegrityError


def made(*rows):
    """Return an ancestry of (id, parents, lane, attempt, pod) rows; stamps grow."""
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
    assert ancestry.outdated(Writer("m", 1)) == {"x", "y"}
    assert ancestry.outdated(Writer("m", 2)) == {"x", "y", "w"}
    assert ancestry.outdated(Writer("m", 0)) == set()
    assert ancestry.outdated(Writer("m", None)) == set()
    assert ancestry.outdated(Writer("m", 1), covered={"x"}) == set()


EARLY, LATE = Pod(5, "z"), Pod(6, "a")


def test_a_later_pod_supersedes_an_earlier_one_of_its_attempt_whichever_comes_first():
    for first, second in ((EARLY, LATE), (LATE, EARLY)):
        ancestry = made(("x", "", "m", 0, first), ("y", "", "m", 0, second))
        assert ancestry.superseded() == ({"x"} if first is EARLY else {"y"})


def test_pods_of_one_time_are_ordered_by_their_uids():
    assert made(("x", "", "m", 0, Pod(5, "b")), ("y", "", "m", 0, Pod(5, "a"))).superseded() == {"y"}


def test_the_attempt_counts_more_than_the_pod():
    assert made(("x", "", "m", 1, EARLY), ("y", "", "m", 0, LATE)).superseded() == {"y"}


def test_several_changes_of_one_pod_stay():
    ancestry = made(("x", "", "m", 0, LATE), ("y", "x", "m", 0, LATE), ("z", "", "m", 0, EARLY))
    assert ancestry.superseded() == {"z"}


@pytest.mark.parametrize("other", [None, LATE])
def test_a_change_whose_pod_nobody_knows_supersedes_no_pods_and_is_not_superseded_by_one(other):
    assert made(("x", "", "m", 0, None), ("y", "", "m", 0, other)).superseded() == set()
    assert made(("x", "", "m", None, None), ("y", "", "m", None, other)).superseded() == set()


def test_a_superseded_pod_supersedes_nothing():
    ancestry = made(("x", "", "m", 0, EARLY), ("y", "", "m", 0, LATE), ("z", "x", "m", 1, None))
    assert ancestry.superseded() == {"y"}


def test_what_a_squash_covers_is_not_superseded_by_a_later_pod_and_supersedes_an_earlier_one():
    ancestry = made(("x", "", "m", 0, EARLY), ("y", "", "m", 0, LATE))
    assert ancestry.superseded(covered={"x"}) == set()
    assert ancestry.superseded(covered={"y"}) == {"x"}


def test_a_pull_by_a_pod_leaves_out_earlier_pods_and_what_was_built_on_them():
    ancestry = made(("b", ""), ("x", "b", "m", 0, EARLY), ("y", "x"), ("w", "b", "m", 0, LATE), ("v", "b", "m", 0))
    assert ancestry.outdated(Writer("m", 0, Pod(7, "q"))) == {"x", "y", "w"}
    assert ancestry.outdated(Writer("m", 0, LATE)) == {"x", "y"}
    assert ancestry.outdated(Writer("m", 0)) == set()
    assert ancestry.outdated(Writer("m", 1)) == {"x", "y", "w", "v"}
    assert ancestry.outdated(Writer("n", 0, Pod(7, "q"))) == set()


def test_who_replaces_whom_is_an_order():
    tries = [Writer(lane, attempt, pod) for lane in "mn" for attempt in (None, 0, 1) for pod in (None, EARLY, LATE)]
    for one in tries:
        assert not one.replaces(one)
        for other in tries:
            assert not (one.replaces(other) and other.replaces(one))
            assert all(one.replaces(third) for third in tries if one.replaces(other) and other.replaces(third))


def test_a_pod_starts_after_what_it_sees():
    assert EARLY.after(3) == EARLY
    assert EARLY.after(5) == Pod(6, "z")
    assert EARLY.after(9) == Pod(10, "z")


def test_settled_is_what_has_no_attempt_in_its_past_or_lies_in_the_past_of_a_finished_lane():
    ancestry = made(("b", ""), ("x", "b", "m", 0), ("y", "x"), ("z", "b"), ("w", ["lost"]))
    assert ancestry.settled() == {"b", "z"}
    assert ancestry.settled(after=["y"]) == {"b", "z", "x", "y"}


def test_a_thousand_changes_in_a_row_are_quick_and_no_matter_of_recursion():
    ancestry = Ancestry(Ancestor(f"{n:05}", n, (f"{n - 1:05}",) if n else ()) for n in range(3000))
    assert ancestry.precedes("00000", "02999")
    assert ancestry.frontier(ancestry.records) == ("02999",)
