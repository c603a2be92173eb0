"""What an operation works on, and what it needs from outside: everything arrives as an argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from agent.archive.stream.limits import DEFAULT_LIMITS, ArchiveLimits
from agent.core.spelling.reference import LayoutReference, Reference
from agent.errors import UsageError
from agent.store.network.retrying import PATIENCE_S
from agent.store.port import Store
from agent.workspace.filesystem.path_containment import lies_inside


class Progress(Protocol):
    """Where an operation says how far it is. The command line shows it; nothing depends on it."""

    def stage(self, name: str, total: int | None = None, unit: str = "paths") -> None:
        """Begin a stage (`scan`, `upload`, `fetch` …) of `total` units (`paths` or `bytes`), None where not known."""

    def advance(self, amount: int) -> None:
        """Say that `amount` more units of the stage are done; fewer, if it is negative: something begins again."""

    def notice(self, text: str) -> None:
        """Tell the user something once: a warning that does not stop the work."""


class Site(NamedTuple):
    """One directory, one target.

    Attributes:
        target: where the workspace is kept.
        directory: the workspace's directory on disk.
        state: the directory where the agent keeps what it remembers of `directory`.
        open_store: opens the repository of a reference; stores are opened once and shared.
        clock: ns since 1970.
        sleep: waits, in seconds.
        random: a number in [0, 1).
        shares_state: other users may read and change `state`, too: the steps of a task need not run as one user.
        limits: how much an image may ask for.
        patience: seconds to wait at most for what a registry took and does not show.
    """

    target: Reference
    directory: str
    state: str
    open_store: Callable[[Reference], Store]
    progress: Progress
    clock: Callable[[], int]
    sleep: Callable[[float], None]
    random: Callable[[], float]
    shares_state: bool = False
    limits: ArchiveLimits = DEFAULT_LIMITS
    patience: float = PATIENCE_S

    @property
    def store(self) -> Store:
        """The target's repository."""
        return self.open_store(self.target)


def check_outside(reference: Reference, directory: str) -> None:
    """Refuse images that are kept in the workspace itself: each push would carry all before it, a pull delete them.

    Raises:
        UsageError: `reference` is a layout inside `directory`.
    """
    if isinstance(reference, LayoutReference) and lies_inside(reference.path, directory):
        raise UsageError(
            "it would lie inside the workspace, which would then carry its own images",
            subject=str(reference),
            remedy=f"name a directory outside of {directory}",
        )
