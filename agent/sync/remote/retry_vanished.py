"""Work that begins anew where what it had read of a target vanished meanwhile (design, "Prune")."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from agent.errors import MissingBlobError, UnavailableError, VanishedError
from agent.remedy import PRUNED
from agent.sync.remote.target import Target

TRIES = 4
"""How often work on one target is begun at most."""
_T = TypeVar("_T")


class Losses:
    """What was missing so far, in one piece of work on a target.

    Between a look at a target and a fetch, others may prune it, and its registry may collect garbage.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._missing: set[str] = set()

    def note(self, error: VanishedError | MissingBlobError) -> None:
        """Forget what was read of the target, so that it is read anew.

        Raises:
            VanishedError: `error`, if the same was missing before. What stands there now names it: it is damage.
        """
        if isinstance(error, VanishedError):
            if error.subject in self._missing:
                raise error
            self._missing.add(error.subject)
        self._target.forget()


def begin_anew(target: Target, work: Callable[[], _T]) -> _T:
    """Return what `work` returns, which looks at a target first; where something vanished since, begin anew.

    Raises:
        VanishedError: what the target names now is not there.
        MissingBlobError: the registry goes on refusing a manifest.
        UnavailableError: something else vanished each time.
    """
    losses = Losses(target)
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
