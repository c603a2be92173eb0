import pytest

from agent.core.spelling.rfc3339 import format_time

_DAY = 86_400 * 10**9


@pytest.mark.parametrize(
    ("stamp", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (999_999_999, "1970-01-01T00:00:00Z"),
        (_DAY - 1, "1970-01-01T23:59:59Z"),
        (1_000_000_000_123_456_789, "2001-09-09T01:46:40Z"),
        (11_016 * _DAY, "2000-02-29T00:00:00Z"),
        (47_541 * _DAY, "2100-03-01T00:00:00Z"),
        (253_402_300_799 * 10**9, "9999-12-31T23:59:59Z"),
    ],
)
def test_times_are_written_in_utc(stamp, text):
    assert format_time(stamp) == text


@pytest.mark.parametrize("stamp", [253_402_300_800 * 10**9, 2**70, 10**40])
def test_a_time_that_four_digits_cannot_write_is_the_last_that_they_can(stamp):
    assert format_time(stamp) == "9999-12-31T23:59:59Z"
