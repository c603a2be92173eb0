"""Which of several words is most like a given one: a hint for a name with a typing error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import nsmallest
from typing import Final

MOST: Final = 200
"""Words that are compared letter by letter. A repository may have many thousands of tags."""


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return the one of `words` with the smallest edit distance to `word`, the first in order of several.

    None if there are no words.
    """
    letters = Counter(word)
    closest = nsmallest(MOST, words, key=lambda other: (_letters_apart(letters, other), other))
    return min(closest, key=lambda other: (distance(word, other), other), default=None)


def distance(one: str, other: str) -> int:
    """Return how many letters must be inserted, removed, replaced or swapped with their neighbour to get `other`.

    No letter is moved twice (the optimal string alignment distance).
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, above, row = row, before, [i]
        for j, opposite in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != opposite))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == opposite:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]


def _letters_apart(letters: Counter[str], other: str) -> int:
    """Return a number that is never more than the distance, and takes no account of the letters' order."""
    there = Counter(other)
    return max((letters - there).total(), (there - letters).total())
