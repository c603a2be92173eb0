from __future__ import annotations

import pytest

from agent.core.directory.identity import Identity, is_same


@pytest.mark.parametrize(
    ("then", "now", "stands", "expected"),
    [
        # Without marks, device and inode decide, as long as the device is the same.
        ((1, 5, None), (1, 5, None), False, True),
        ((1, 5, None), (1, 6, None), True, False),
        ((1, 5, None), (2, 5, None), False, False),
        ((1, 5, None), (2, 5, None), True, True),
        # The mark says that it is the same under another device, never under another inode.
        ((1, 5, "a"), (2, 5, "a"), False, True),
        ((1, 5, "a"), (1, 6, "a"), True, False),
        ((1, 5, "a"), (2, 5, "b"), False, False),
        ((1, 5, "a"), (2, 5, "b"), True, True),
        # A mark that is gone: a new directory with an old number, unless something remembered stands there.
        ((1, 5, "a"), (1, 5, None), False, False),
        ((1, 5, "a"), (1, 5, None), True, True),
        # A mark that came: somebody else pulled into it.
        ((1, 5, None), (1, 5, "a"), False, True),
        ((1, 5, "a"), (1, 5, "b"), False, True),
    ],
)
def test_what_is_the_same_directory(
    then: tuple[int, int, str | None], now: tuple[int, int, str | None], stands: bool, expected: bool
) -> None:
    assert is_same(Identity(*then), Identity(*now), lambda: stands) is expected


def test_nothing_is_looked_at_where_the_numbers_tell() -> None:
    def look() -> bool:
        raise AssertionError("looked at the disk")

    assert is_same(Identity(1, 5, "a"), Identity(1, 5, "a"), look)
    assert is_same(Identity(1, 5, None), Identity(1, 5, None), look)
    assert not is_same(Identity(1, 5, "a"), Identity(1, 6, "a"), look)
