"""The directory and target of an operation, and all that it needs from outside: stores, clock, progress."""

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
    """The progress of an operation, for people. The command line shows it; nothing depends on it."""

    def stage(self, name: str, total: int | None = None, unit: str = "paths") -> None:
        """Begin a stage (`scan`, `upload`, `fetch` …) of `total` units (`paths` or `bytes`); None if nobody can say."""

    def advance(self, amount: int) -> None:
        """Count `amount` more units of the stage as done; fewer if it is negative, because a part begins again."""

    def notice(self, text: str) -> None:
        """Show a warning that does not stop the work."""


class WorkspaceContext(NamedTuple):
    """One directory and one target, with the ports to the outside.

    Attributes:
        target: the reference of the image that the workspace is kept at.
        directory: the workspace's directory on disk.
        state: the directory of the files of `directory`'s state.
        open_store: opens the repository of a reference; stores are opened once and shared.
        clock: ns since 1970.
        sleep: waits, in seconds.
        random: returns a number in [0, 1).
        shares_state: whether other users may read and write `state`: the steps of a task may run as several users.
        limits: how large an image may be.
        patience: seconds to wait at most until a registry shows a tag that it took.
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
    """Refuse a layout inside the workspace: each push would carry all images before it, and a pull delete them.

    Raises:
        UsageError: `reference` is a layout inside `directory`.
    """
    if isinstance(reference, LayoutReference) and lies_inside(reference.path, directory):
        raise UsageError(
            "it would lie inside the workspace, which would then carry its own images",
            subject=str(reference),
            remedy=f"name a directory outside of {directory}",
        )
