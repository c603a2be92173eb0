"""Times as image configs write them (image-spec, config.md, `created`)."""

from __future__ import annotations

from typing import Final

_LAST: Final = 253_402_300_799
"""The last second since 1970 that four digits of a year can write."""


def format_time(stamp: int) -> str:
    """Return a time (ns since 1970, UTC) in whole seconds, without a clock or a time zone.

    Days become a civil date by the proleptic Gregorian calendar. What lies beyond the year 9999 is written as its
    last second: other tools refuse an image with a time that they cannot read.
    """
    days, seconds = divmod(min(stamp // 1_000_000_000, _LAST), 86_400)
    era, day = divmod(days + 719_468, 146_097)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5 - 1
    year += era * 400 + (month >= 10)
    month += 3 if month < 10 else -9
    hours, seconds = divmod(seconds, 3600)
    return f"{year:04}-{month:02}-{day:02}T{hours:02}:{seconds // 60:02}:{seconds % 60:02}Z"
