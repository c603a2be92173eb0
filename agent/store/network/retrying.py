"""When to try again, and for how long: one patience for each command, exponential backoff, and `Retry-After`.

A command's patience is spent while nothing moves. It begins to run with the first try that fails, and is whole again as
soon as something moves: a call of the store is done, or 64 KiB of content are there that were not there before. However
many loops try again inside each other, their waits come out of the same patience (docs/decisions/one-patience.md).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from agent.core.spelling.duration import format_duration
from agent.errors import PatienceError, UnavailableError

PATIENCE_S = 120.0
"""Seconds of patience where nobody says otherwise."""
PROGRESS = 64 << 10
"""Bytes of new content that count as a move: the pace that each answer must keep (`wire.PACE`)."""
_TELL_S = 2.0
_TICK_S = 0.001
_SHARE = 4


Hopeless = Callable[[], bool]
"""Says that waiting is no use, although what failed is of the kind that passes."""


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
    """How long one try may take, and the pauses between tries; patience shortens all of it. Seconds.

    Attributes:
        connect: until a connection is open.
        read: of silence, after which a connection counts as broken. Only patience bounds the silence at the end of an
            upload, where a registry may store a large blob.
        least: of silence that every try is allowed, the last one too.
        backoff: before the second try at most; doubled each time.
        pause: the longest that the doubling comes to.
    """

    connect: float = 10.0
    read: float = 60.0
    least: float = 1.0
    backoff: float = 0.25
    pause: float = 5.0


class Patience:
    """The time that one command may wait, for all of its stores together. Safe for several threads.

    Args:
        seconds: how long nothing may move.
        tell: called once with a line for the user, if the wait takes longer than a moment.
    """

    def __init__(
        self,
        seconds: float = PATIENCE_S,
        timing: Timing | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.seconds = seconds
        self.timing = timing or Timing()
        self._tell = tell
        self._is_told = False
        self._stuck_since: float | None = None
        self._lock = threading.Lock()

    @property
    def left(self) -> float:
        """Seconds that nothing may move from now on."""
        with self._lock:
            return self._left()

    def moved(self) -> None:
        """Begin anew, because something moved."""
        with self._lock:
            self._stuck_since, self._is_told = None, False

    def spend(self, began: float, excused: float) -> float:
        """Note that a try failed, and return what is left.

        Args:
            began: when the try began, by the clock.
            excused: seconds of the try that are not the store's fault, or in which content moved.
        """
        with self._lock:
            since = began if self._stuck_since is None else self._stuck_since
            self._stuck_since = min(since + excused, self.timing.clock())
            return self._left()

    def tell(self, failure: UnavailableError, pause: float) -> None:
        """Tell the user that a pause follows a failure, unless so little was waited that nobody would notice."""
        with self._lock:
            is_due = not self._is_told and self.seconds - self._left() + pause >= _TELL_S
            self._is_told = self._is_told or is_due
        if is_due and self._tell is not None:
            most = format_duration(self.seconds)
            self._tell(f"{failure.subject}: {failure.what}; trying again until nothing has moved for {most}")

    def over(self, failure: UnavailableError, after: float | None = None) -> PatienceError:
        """Return the error to raise instead of waiting for longer, or for `after` seconds as the registry asks."""
        most = format_duration(self.seconds)
        asked = f"and asks to wait {after:.0f} s" if after is not None else f"and nothing moved for {most}"
        return PatienceError(
            f"{failure.what}, {asked}",
            subject=failure.subject,
            remedy=f"check that it runs and can be reached, or allow more patience than {most}",
        )

    def _left(self) -> float:
        if self._stuck_since is None:
            return self.seconds
        left = self.seconds - (self.timing.clock() - self._stuck_since)
        return left if left > _TICK_S else 0.0


class Tries:
    """The tries of one piece of work, at the cost of the command's patience."""

    def __init__(self, patience: Patience, limits: Limits) -> None:
        self._patience = patience
        self._limits = limits
        self._failures = 0
        self._excused = self._sent_again = 0.0
        self._began = patience.timing.clock()

    def wait(self, failure: UnavailableError, after: float | None = None, is_hopeless: Hopeless | None = None) -> None:
        """Wait before another try.

        Args:
            failure: what went wrong; it is raised if trying again is no use.
            after: seconds that the registry asks for.
            is_hopeless: asked when a tenth of the patience is spent.

        Raises:
            PatienceError: the patience is spent, or is less than what the registry asks for.
        """
        if not failure.retryable or isinstance(failure, PatienceError):
            raise failure
        patience = self._patience
        left = patience.spend(self._began, self._excused)
        if left <= 0 or (after is not None and after > left):
            raise patience.over(failure, after if left > 0 else None) from failure
        if is_hopeless is not None and left < 0.9 * patience.seconds and is_hopeless():
            raise failure
        pause = min(self._pause() if after is None else after, left)
        patience.tell(failure, pause)
        patience.timing.sleep(pause)
        self._failures += 1
        self._excused = self._sent_again = 0.0
        self._began = patience.timing.clock()

    def excuse(self, seconds: float) -> None:
        """Do not charge seconds of this try: the reader of the content took them."""
        self._excused += seconds

    def sent_again(self, seconds: float) -> None:
        """Do not charge seconds in which content went out that was sent before, but pause for a share of them."""
        self._excused += seconds
        self._sent_again += seconds

    def moved(self) -> None:
        """Begin anew, because there was progress."""
        self._patience.moved()
        self._failures = 0
        self._excused = self._sent_again = 0.0
        self._began = self._patience.timing.clock()

    def _pause(self) -> float:
        longest = min(self._limits.pause, self._patience.seconds / 8)
        doubled = min(self._limits.backoff * 2.0**self._failures, longest)
        # Content that is sent again and again costs no patience while it goes out, so that the pauses must bound it.
        return max(doubled * (0.5 + 0.5 * self._patience.timing.jitter()), self._sent_again / _SHARE)


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
    from email.utils import parsedate_to_datetime  # takes long to load, and most commands never need it

    try:
        seconds: float = parsedate_to_datetime(date).timestamp()
        return seconds
    except (ValueError, TypeError, OverflowError):
        return None
