"""What a caller may ask of a pull and a push."""

from __future__ import annotations

from typing import Literal, NamedTuple

from agent.core.model.ancestry import Writer
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
        after: lanes whose changes must be contained if they published any.
        lane, attempt, pod: the writer that pulls, so that it does not see what it is a later try of.
        paths: globs of a sparse pull; empty for everything.
        at: an id, or the start of one: the workspace as that change's writer had it.
        force: discard local changes, and take over a directory that is not ours.
        keep: leave alone what stands in a directory that nothing was pulled into yet, and whatever others put there
            meanwhile: all that counts as changed after the pull.
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
        """Who pulls, None if that was not said."""
        return None if self.lane is None else _writer(self.lane, self.attempt, self.pod)


class PushOptions(NamedTuple):
    """How to push.

    Attributes:
        lane, attempt, pod: the writer. The pod counts as started when the directory was pulled, if that was in it.
        message: the author's words.
        annotations: the author's manifest annotations.
        on_conflict: `last` publishes and reports, `fail` publishes nothing if it sees a conflict.
        allow_empty: publish even if everything is gone.
        dry_run: say what would be published and publish nothing.
        below: push changes at or below this path only; `b""` for all.
        pulled: the directory must be the very one that is remembered: it does not start a target by itself.
        fresh: the directory was empty when its writer began, so that nothing need have been pulled: the target may hold
            what others did meanwhile, and is merged with it.
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
        """Who pushes."""
        return _writer(self.lane, self.attempt, self.pod)


def _writer(lane: str, attempt: int | None, pod: Pod | None) -> Writer:
    return Writer(lane, attempt, None if attempt is None else pod)
