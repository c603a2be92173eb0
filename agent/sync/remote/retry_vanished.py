"""Retries of work on a target, if an image or layer that it had read vanished meanwhile (design, "Prune")."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from agent.errors import MissingBlobError, UnavailableError, VanishedError
from agent.remedy import PRUNED
from agent.sync.remote.target import Target

TRIES = 4
"""How often work on one target begins at most."""
_T = TypeVar("_T")


class VanishedLog:
    """The images and layers that vanished so far, in one piece of work on a target.

    Between the read of a target and a fetch, others may prune it, and its registry may collect garbage.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._missing: set[str] = set()

    def note(self, error: VanishedError | MissingBlobError) -> None:
        """Empty the target's cache, so that it is read anew.

        Raises:
            VanishedError: `error`, if the same was missing before: the target names it still, which is damage.
        """
        if isinstance(error, VanishedError):
            if error.subject in self._missing:
                raise error
            self._missing.add(error.subject)
        self._target.forget()


def retry_vanished(target: Target, work: Callable[[], _T]) -> _T:
    """Return the result of `work`, which reads a target first; begin anew if something vanished since.

    Raises:
        VanishedError: the target names an image or layer that is not there.
        MissingBlobError: the registry goes on refusing a manifest.
        UnavailableError: something else vanished each time.
    """
    losses = VanishedLog(target)
    for _ in range(TRIES - 1):
        try:
            return work()
        except (VanishedError, MissingBlobError) as error:
            losses.note(error)
    try:
        return work()
    except VanishedError as error:
        losses.note(error)
        raise UnavailableError(
            f"others prune it faster than it can be read ({error.subject}: {error.what})",
            subject=target.name,
            remedy=PRUNED,
        ) from error
