"""When to try again, and how long to wait: exponential backoff with jitter, and what `Retry-After` says."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from agent.errors import UnavailableError


class Timing(NamedTuple):
    """Time and chance, so that tests need neither.

    Attributes:
        sleep: waits, seconds.
        clock: monotonic seconds.
        wall: seconds since the epoch.
        jitter: a random number from 0 to 1.
    """

    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    jitter: Callable[[], float] = random.random


class Limits(NamedTuple):
    """How long and how often.

    Attributes:
        connect: seconds until a connection must stand.
        read: seconds of silence on a connection before it counts as broken.
        commit: seconds that the registry may take to answer the end of an upload; object stores copy then.
        attempts: tries of one request, the first included.
        backoff: seconds before the second try at most; doubled each time.
        patience: seconds that one wait may last where the registry asks for it (`Retry-After`).
    """

    connect: float = 10.0
    read: float = 60.0
    commit: float = 300.0
    attempts: int = 6
    backoff: float = 0.25
    patience: float = 120.0


class Patience:
    """What is left to one request."""

    def __init__(self, limits: Limits, timing: Timing) -> None:
        self._limits = limits
        self._timing = timing
        self._failures = 0

    def wait(self, failure: UnavailableError, after: float | None = None) -> None:
        """Wait before another try.

        Args:
            failure: what went wrong; it is raised if trying again is no use or has been tried often enough.
            after: seconds that the registry asks for.
        """
        self._failures += 1
        if not failure.retryable or self._failures >= self._limits.attempts:
            raise failure
        if after is not None:
            if after > self._limits.patience:
                raise UnavailableError(
                    f"{failure.what} and asks to wait {after:.0f} s", subject=failure.subject, remedy="try again later"
                ) from failure
            self._timing.sleep(after)
            return
        longest = self._limits.backoff * 2 ** (self._failures - 1)
        self._timing.sleep(longest * (0.5 + 0.5 * self._timing.jitter()))

    def restore(self) -> None:
        """Start afresh, because there was progress."""
        self._failures = 0


def retry_after(headers: Mapping[str, str], timing: Timing) -> float | None:
    """Return the seconds that `Retry-After` asks for (RFC 9110 section 10.2.3: a number or a date), if it does.

    A date is compared with the answer's own Date, since a clock here may be wrong by a year.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    until = _seconds(text)
    if until is None:
        return None
    now = _seconds(headers.get("Date", ""))
    return max(0.0, until - (timing.wall() if now is None else now))


def _seconds(date: str) -> float | None:
    """Return the seconds since the epoch that an HTTP date means, None if it is none."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
