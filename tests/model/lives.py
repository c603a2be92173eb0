"""What an actor of a scene does in its life, and which of its calls others may notice."""

from __future__ import annotations

from typing import Any

from agent.errors import UnavailableError
from tests.model.actor import HEAD, RETURNED, Call
from tests.model.hand import Files, Hand
from tests.model.scene import Life

LINES = "lines-of-"
"""How the file begins to which every pod of a lane adds a line: one that began from its lane's output makes it two."""


def decisive(call: Call) -> bool:
    """Say whether a call reads or writes what several actors share: head, the list, and what becomes listed."""
    return call.tag == HEAD or call.is_list or (call.is_put and "._e" in call.tag)


def observed(call: Call) -> bool:
    """Say so where somebody pulls, too."""
    return decisive(call) or call.tag == RETURNED


def named(call: Call) -> bool:
    """Say so where somebody pulls and names a lane."""
    return observed(call) or "._p" in call.tag or "._m" in call.tag


def deletable(call: Call) -> bool:
    """Say so where something is deleted, so that any manifest may be gone."""
    return bool(call.tag) and "._p" not in call.tag and "._m" not in call.tag


def everything(call: Call) -> bool:
    """Say so of every tag and manifest."""
    return bool(call.tag)


def pushes(lane: str | None = None, attempt: int | None = None, **options: Any) -> Life:
    """Return the life of one push."""
    return lambda hand: hand.push(lane, attempt, **options)


def pulls(**options: Any) -> Life:
    return lambda hand: hand.pull(**options)


def works(lane: str, attempt: int | None, files: Files, pod: str | None = None, **options: Any) -> Life:
    """Return the life of a task: pull, work, push. In a pod it adds a line to a file, too."""

    def life(hand: Hand) -> None:
        if hand.pushed or hand.failed or hand.pulled or attempt or pod:
            hand.move()
        hand.pull(lane=lane, attempt=attempt, pod=pod, **options)
        hand.edit(files)
        if pod:
            hand.append(LINES + lane, "x")
        hand.push(lane, attempt, pod)

    return life


def begins(lane: str, attempt: int, files: Files, pod: str) -> Life:
    """Return the life of a pod of a run's first task: there is nothing to pull, so that it only pushes."""

    def life(hand: Hand) -> None:
        hand.move()
        hand.edit(files)
        hand.append(LINES + lane, "x")
        hand.push(lane, attempt, pod, fresh=True)

    return life


def pushes_again(lane: str, *files: Files) -> Life:
    """Return the life of a laptop's owner who pushes, and again for each of `files`."""

    def life(hand: Hand) -> None:
        hand.push(lane)
        for more in files:
            hand.edit(more)
            hand.push(lane)

    return life


def loses_its_state(lane: str, files: Files) -> Life:
    """Return the life of a laptop's owner who goes on in another directory: pull, work, push."""

    def life(hand: Hand) -> None:
        hand.move()
        hand.pull()
        hand.edit(files)
        hand.push(lane)

    return life


def prunes(older_than: int = 0, *, squashes: bool = False) -> Life:
    """Return the life of one who cleans up."""

    def life(hand: Hand) -> None:
        if squashes:
            hand.squash()
        hand.prune(older_than)

    return life


def pushes_and_prunes(older_than: int = 0) -> Life:
    """Return the life of one who publishes and cleans up."""

    def life(hand: Hand) -> None:
        hand.push()
        hand.prune(older_than)

    return life


def tries(hand: Hand, times: int, **options: Any) -> None:
    """Push until it succeeds."""
    for left in reversed(range(times)):
        try:
            hand.push(**options)
            return
        except UnavailableError:
            if not left:
                raise
