"""The goal of a pull: the changes that the directory shall hold, or the base that it starts from."""

from __future__ import annotations

from typing import NamedTuple

from agent.core.directory.sparse_globs import is_whole
from agent.core.image.change_set import ChangeSet, unite
from agent.core.model.attempts_and_ancestry import Writer
from agent.core.spelling.path import show
from agent.remedy import START
from agent.sync.directory_scan.scan_directory import is_empty
from agent.sync.local.directory_state import DirectoryState
from agent.sync.local.open_directory import Directory
from agent.sync.operation.options import PullOptions
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.remote.missing_target import existing, missing
from agent.sync.remote.resolved_image import this_platform
from agent.sync.remote.target import Target
from agent.sync.remote.target_repository import resolve
from agent.sync.remote.target_snapshot import TargetSnapshot


class Pull(NamedTuple):
    """One pull: from which target, into which directory, and how."""

    context: WorkspaceContext
    directory: Directory
    target: Target
    options: PullOptions


class PullGoal(NamedTuple):
    """The content that the directory shall have.

    Attributes:
        union: the changes.
        base: the reference that the base's layers can be read from; None if the target has them.
        digest: of head's manifest, None if there is no head.
        sparse: the globs of a sparse pull; empty for everything.
        writer: the writer that pulls, None without a lane.
    """

    union: ChangeSet
    base: str | None
    digest: str | None
    sparse: tuple[bytes, ...] = ()
    writer: Writer | None = None

    def is_reached(self, state: DirectoryState | None, target: str) -> bool:
        """Say whether a directory with this state and without local changes has the content already."""
        if state is None:
            return False
        return (state.target, state.union.ids, state.sparse) == (target, self.union.ids, self.sparse)


def read_target(pull: Pull) -> TargetSnapshot:
    """Read the target. If it holds nothing, the pull may start a workspace there, but never empties a directory.

    Raises:
        MissingTargetError: it holds nothing, and the options ask for no start, or the directory holds something.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    _, directory, target, options = pull
    if options.at is not None or not (options.create or options.base):
        return existing(target, options.after, START)
    snapshot = target.read_snapshot(options.after)
    if snapshot.is_empty and not _may_start(directory, options):
        raise missing(
            target,
            f"push {show(directory.root.path)} to start it with what is there, or name an empty directory",
            ", and the directory is not empty: it is left alone",
        )
    return snapshot


def _may_start(directory: Directory, options: PullOptions) -> bool:
    """Say whether a workspace may start in the directory: nobody's work can be lost.

    Options do not count, not even `force`: the directory may have the only copy.
    """
    if is_empty(directory.root):
        return True
    is_start = directory.interrupted is not None and directory.interrupted.starts
    if directory.state is None:
        return options.keep or is_start
    # An earlier start without a push: its files are the base's.
    return not directory.state.union.records and (is_start or directory.interrupted is None)


def find_goal(pull: Pull, snapshot: TargetSnapshot) -> PullGoal:
    """Return the content to pull: the snapshot's changes without those of earlier attempts of the writer, or the base.

    Raises:
        UsageError: there is no such change, or no such base.
        AuthError, UnavailableError, IntegrityError, UnsafeArchiveError: see `agent.errors`.
    """
    context, directory, target, options = pull
    writer, sparse = _writer(options, directory.state, snapshot), _sparse(directory, options)
    union = snapshot.union
    digest = str(snapshot.head.digest) if snapshot.head else None
    if options.at is not None:
        union = target.as_of(union, [resolve(union, options.at, target.name)])
    elif writer is not None:
        union = union.before(writer)
    union = target.complete(union)
    if snapshot.head and not union.order and union.bases:
        base = str(context.target._replace(tag=None, digest=snapshot.head.digest))
        return PullGoal(union, base, digest, sparse, writer)
    if union.ids:
        return PullGoal(union, None, digest, sparse, writer)
    if options.base is None:
        context.progress.notice(f"{target.name}: nothing there yet, the workspace starts empty")
        return PullGoal(ChangeSet(), None, None, sparse, writer)
    from agent.sync.remote.base_image import find_base

    image, place = find_base(context, options.base, options.base_path, this_platform(options.platform))
    return PullGoal(unite([image]), str(place), None, sparse, writer)


def _writer(options: PullOptions, state: DirectoryState | None, snapshot: TargetSnapshot) -> Writer | None:
    """Return the writer; its pod's start comes after all changes of the snapshot, even if the clock lags."""
    writer = options.writer
    if writer is None or writer.pod is None:
        return writer
    earlier = state.began_as(writer) if state else writer
    return earlier if earlier is not writer else writer._replace(pod=writer.pod.after(snapshot.union.newest_stamp))


def _sparse(directory: Directory, options: PullOptions) -> tuple[bytes, ...]:
    """Return the globs of this pull, else those of the last pull of the directory, if any."""
    if options.paths:
        return () if is_whole(options.paths) else options.paths
    if directory.interrupted:
        return directory.interrupted.sparse
    return directory.state.sparse if directory.state else ()
