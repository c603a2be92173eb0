"""Counting a lane's pointers."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.model.pointer_numbers import Place, first_missing, has_rival, place_of, places
from tests.core.made import record_of


def numbered(number, place, **more):
    record = record_of(number, **more)
    return replace(record, number=place)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_the_first_missing_number_is_found_with_few_questions(one, other):
    start, end = sorted((one, other))
    asked = []

    def is_there(number):
        asked.append(number)
        return number < end

    assert first_missing(is_there, start) == end
    assert min(asked) >= start
    assert len(asked) <= 2 * (end - start + 1).bit_length()
    assert len(asked) == len(set(asked))


def test_where_nothing_is_there_one_question_is_enough():
    asked = []
    assert first_missing(asked.append, 7) == 7
    assert asked == [7]


@pytest.mark.parametrize(("attempt", "place"), [(None, Place(0, 4)), (0, Place(0, 4)), (3, Place(3, 4))])
def test_a_lane_without_attempts_counts_as_a_first_one(attempt, place):
    assert place_of(numbered(1, 4, attempt=attempt)) == place


def test_a_layer_of_others_has_no_place():
    assert place_of(record_of(1)) is None


def test_the_places_are_those_of_one_lane_at_one_target():
    mine = [numbered(1, 0, lane="a"), numbered(2, 1, lane="a", attempt=2)]
    others = [numbered(3, 5, lane="b"), numbered(4, 6, lane="a", target="other"), record_of(5, lane="a")]
    assert places([*mine, *others], "main", "a") == {Place(0, 0): mine[0], Place(2, 1): mine[1]}


def test_a_rival_is_another_change_at_the_same_place():
    mine = numbered(1, 3, lane="a")
    assert not has_rival(mine, [mine, numbered(2, 4, lane="a"), numbered(3, 3, lane="b"), record_of(4, lane="a")])
    assert not has_rival(mine, [numbered(2, 3, lane="a", target="other"), numbered(5, 3, lane="a", attempt=1)])
    assert has_rival(mine, [numbered(2, 3, lane="a", attempt=0)])
    assert not has_rival(record_of(1), [record_of(2)])
