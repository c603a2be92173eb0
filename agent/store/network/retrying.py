"""Retries: one patience for each command, exponential backoff, and the delay that a registry asks for.

A command's patience is spent while there is no progress. It starts with the first try that fails, and is reset by
progress: a call of the store succeeded, or 64 KiB of new content were transferred. Nested loops of retries all spend
the same patience (docs/decisions/one-patience.md).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from agent.core.spelling.duration import format_duration
from agent.errors import PatienceError, UnavailableError

PATIENCE_S = 120.0
"""Seconds of patience by default."""
PROGRESS = 64 << 10
"""Bytes of new content that count as progress: the pace that each response must keep (`bounded_connection.PACE`)."""
_NOTICE_S = 2.0
_TICK_S = 0.001
_SHARE = 4

IsPermanent = Callable[[], bool]
"""Returns whether a failure is permanent, although it looks temporary."""


class Timing(NamedTuple):
    """Clocks and random numbers, which tests replace.

    Attributes:
        sleep: waits for seconds.
        clock: monotonic seconds.
        wall: seconds since the epoch.
        jitter: returns a random number from 0 to 1.
    """

    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    jitter: Callable[[], float] = random.random


class Limits(NamedTuple):
    """Seconds that one try may take, and those of the pauses between tries. Little patience shortens them.

    Attributes:
        connect: until a connection is open.
        read: of silence, after which a connection counts as broken. Only patience bounds the silence at the end of an
            upload, when a registry may store a large blob.
        least: of silence that every try is allowed, the last one too.
        backoff: the longest pause before the second try; doubled each time.
        pause: the longest pause.
    """

    connect: float = 10.0
    read: float = 60.0
    least: float = 1.0
    backoff: float = 0.25
    pause: float = 5.0


class Patience:
    """The time that one command may wait, for all of its stores together. Safe for several threads.

    Args:
        seconds: the longest time without progress.
        notify: called once with a line for the user, if a wait is long enough to be noticed.
    """

    def __init__(
        self,
        seconds: float = PATIENCE_S,
        timing: Timing | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self.seconds = seconds
        self.timing = timing or Timing()
        self._notify = notify
        self._is_announced = False
        self._stuck_since: float | None = None
        self._lock = threading.Lock()

    @property
    def left(self) -> float:
        """The seconds without progress that are left."""
        with self._lock:
            return self._left()

    def progressed(self) -> None:
        """Reset the patience, because there was progress."""
        with self._lock:
            self._stuck_since, self._is_announced = None, False

    def spend(self, began: float, excluded: float) -> float:
        """Note that a try failed, and return the seconds that are left.

        Args:
            began: when the try began, by the clock.
            excluded: seconds of the try that the store did not cause, or in which content was transferred.
        """
        with self._lock:
            since = began if self._stuck_since is None else self._stuck_since
            self._stuck_since = min(since + excluded, self.timing.clock())
            return self._left()

    def announce(self, failure: UnavailableError, pause: float) -> None:
        """Notify the user of the retries after a failure, once, and only if the wait is long enough to be noticed."""
        with self._lock:
            is_due = not self._is_announced and self.seconds - self._left() + pause >= _NOTICE_S
            self._is_announced = self._is_announced or is_due
        if is_due and self._notify is not None:
            most = format_duration(self.seconds)
            self._notify(f"{failure.subject}: {failure.what}; trying again until nothing has moved for {most}")

    def exhausted(self, failure: UnavailableError, after: float | None = None) -> PatienceError:
        """Return the error for a spent patience, or one shorter than the `after` seconds that a registry asks for."""
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


class Retries:
    """The loop of tries of one operation; its waits spend the command's patience."""

    def __init__(self, patience: Patience, limits: Limits) -> None:
        self._patience = patience
        self._limits = limits
        self._failures = 0
        self._excluded = self._resent = 0.0
        self._began = patience.timing.clock()

    def wait(
        self, failure: UnavailableError, after: float | None = None, is_permanent: IsPermanent | None = None
    ) -> None:
        """Wait before another try.

        Args:
            failure: the error of the last try; it is raised if it is permanent.
            after: seconds that the registry asks for.
            is_permanent: called when a tenth of the patience is spent.

        Raises:
            PatienceError: the patience is spent, or is shorter than the delay that the registry asks for.
        """
        if not failure.retryable or isinstance(failure, PatienceError):
            raise failure
        patience = self._patience
        left = patience.spend(self._began, self._excluded)
        if left <= 0 or (after is not None and after > left):
            raise patience.exhausted(failure, after if left > 0 else None) from failure
        if is_permanent is not None and left < 0.9 * patience.seconds and is_permanent():
            raise failure
        pause = min(self._pause() if after is None else after, left)
        patience.announce(failure, pause)
        patience.timing.sleep(pause)
        self._failures += 1
        self._excluded = self._resent = 0.0
        self._began = patience.timing.clock()

    def exclude(self, seconds: float) -> None:
        """Do not charge seconds of this try, which the reader of the content used."""
        self._excluded += seconds

    def resent(self, seconds: float) -> None:
        """Do not charge seconds in which content was sent again, but pause for a share of them."""
        self._excluded += seconds
        self._resent += seconds

    def progressed(self) -> None:
        """Reset the patience and the pauses, because there was progress."""
        self._patience.progressed()
        self._failures = 0
        self._excluded = self._resent = 0.0
        self._began = self._patience.timing.clock()

    def _pause(self) -> float:
        longest = min(self._limits.pause, self._patience.seconds / 8)
        doubled = min(self._limits.backoff * 2.0**self._failures, longest)
        # Sending the same content repeatedly costs no patience, so the pauses must bound it.
        return max(doubled * (0.5 + 0.5 * self._patience.timing.jitter()), self._resent / _SHARE)
