"""The options of a pull and of a push."""

from __future__ import annotations

from typing import Literal, NamedTuple

from agent.core.model.attempts_and_ancestry import Writer
from agent.core.model.pod import Pod
from agent.core.spelling.reference import Reference

Compression = Literal["zstd", "gzip", "none"]
OnConflict = Literal["last", "fail"]


class PullOptions(NamedTuple):
    """How to pull.

    Attributes:
        base: the image to start from where the target does not exist.
        create: start an empty workspace where the target does not exist and there is no base.
        base_path: the directory of the base that becomes the workspace's root; `b""` for all of it.
        after: lanes whose changes must be in the result, if they published any.
        lane, attempt, pod: the writer that pulls; it does not get the changes of its own earlier attempts.
        paths: globs of a sparse pull; empty for everything.
        at: an id, or the start of one: the workspace as that change's writer had it.
        force: discard local changes, and take over a directory that is not ours.
        keep: in a directory that nothing was pulled into yet, leave alone all files that are there or that others put
            there meanwhile; they count as changed after the pull.
        repair: move head if it lacks a change.
        verify_whole: read whole layers and verify them, never ranges.
        platform: os/architecture[/variant] to choose from an index; None for this machine's.
    """

    base: Reference | None = None
    create: bool = False
    base_path: bytes = b""
    after: tuple[str, ...] = ()
    lane: str | None = None
    attempt: int | None = None
    paths: tuple[bytes, ...] = ()
    at: str | None = None
    force: bool = False
    keep: bool = False
    repair: bool = False
    verify_whole: bool = False
    platform: str | None = None
    pod: Pod | None = None

    @property
    def writer(self) -> Writer | None:
        """The writer that pulls, None without a lane."""
        return None if self.lane is None else _writer(self.lane, self.attempt, self.pod)


class PushOptions(NamedTuple):
    """How to push.

    Attributes:
        lane, attempt, pod: the writer. If the directory was pulled in this pod, the pod's start is that of the pull.
        message: the author's message.
        annotations: the author's manifest annotations.
        on_conflict: `last` publishes and reports, `fail` publishes nothing if it sees a conflict.
        allow_empty: publish even if the directory is empty and was not.
        dry_run: report the differences and publish nothing.
        below: push changes at or below this path only; `b""` for all.
        pulled: the directory must be the one that the state is about; another one does not start a target.
        fresh: the directory was empty when its writer began, so that no pull is needed before the push: the push is
            merged with what others published meanwhile.
    """

    lane: str
    attempt: int | None = None
    message: str = ""
    annotations: tuple[tuple[str, str], ...] = ()
    on_conflict: OnConflict = "last"
    compression: Compression = "zstd"
    allow_empty: bool = False
    dry_run: bool = False
    below: bytes = b""
    pulled: bool = False
    fresh: bool = False
    pod: Pod | None = None

    @property
    def writer(self) -> Writer:
        """The writer that pushes."""
        return _writer(self.lane, self.attempt, self.pod)


def _writer(lane: str, attempt: int | None, pod: Pod | None) -> Writer:
    return Writer(lane, attempt, None if attempt is None else pod)
