from __future__ import annotations

import random
from functools import cache

import pytest

from agent.core.spelling.nearest import MOST, distance, nearest


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("", "", 0),
        ("main", "main", 0),
        ("mian", "main", 1),
        ("main", "mains", 1),
        ("main", "ain", 1),
        ("main", "mein", 1),
        ("ca", "abc", 3),  # no letter is moved twice
        ("v1.2", "v2.1", 2),
        ("", "main", 4),
    ],
)
def test_distances(one: str, other: str, expected: int) -> None:
    assert distance(one, other) == distance(other, one) == expected


def told(one: str, other: str) -> int:
    """The definition, letter by letter from the ends."""

    @cache
    def rest(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        found = min(rest(i - 1, j) + 1, rest(i, j - 1) + 1, rest(i - 1, j - 1) + (one[i - 1] != other[j - 1]))
        if i > 1 and j > 1 and one[i - 1] == other[j - 2] and one[i - 2] == other[j - 1]:
            found = min(found, rest(i - 2, j - 2) + 1)
        return found

    return rest(len(one), len(other))


def test_the_distance_is_what_its_definition_says_and_the_nearest_has_the_smallest() -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)

    def word() -> str:
        return "".join(chance.choices("abc", k=chance.randrange(6)))

    for _ in range(300):
        one, words = word(), [word() for _ in range(chance.randrange(1, 8))]
        assert [distance(one, other) for other in words] == [told(one, other) for other in words], seed
        assert nearest(one, words) == min(words, key=lambda other: (told(one, other), other)), seed


def test_there_is_none_without_words() -> None:
    assert nearest("main", []) is None


def test_one_swap_is_found_among_very_many() -> None:
    words = [f"run-{number:05d}" for number in range(20 * MOST)]
    assert nearest("mian", [*words, "main"]) == "main"
    assert nearest("rnu-01234", words) == "run-01234"
