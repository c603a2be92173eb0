"""Durations as people write them: a number and a unit, such as 90s, 30m, 1h or 2d."""

from __future__ import annotations

import re

_WRITTEN = re.compile(r"([0-9]{1,9})([smhd]?)")
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1, "": 1}
EXAMPLES = "90s, 30m, 1h or 2d"


def parse_duration(text: str) -> int | None:
    """Return the seconds that a text means; a number alone is seconds. None if the text is no duration."""
    found = _WRITTEN.fullmatch(text)
    return int(found[1]) * _SECONDS[found[2]] if found else None


def format_duration(seconds: float) -> str:
    """Return seconds, rounded, in the largest unit that needs no fraction."""
    whole = round(seconds)
    unit = next((unit for unit, size in _SECONDS.items() if whole and whole % size == 0), "s")
    return f"{whole // _SECONDS[unit]}{unit}"
