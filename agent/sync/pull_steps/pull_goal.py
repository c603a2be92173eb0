"""The goal of a pull: what the target holds for this writer, or the base that it starts from."""

from __future__ import annotations

from typing import NamedTuple

from agent.core.directory.select import is_whole
from agent.core.image.change_set import Union, unite
from agent.core.model.ancestry import Writer
from agent.core.spelling.path import show
from agent.remedy import START
from agent.sync.local.directory_state import Memory
from agent.sync.local.open_directory import Directory
from agent.sync.operation.options import PullOptions
from agent.sync.operation.workspace_context import Site
from agent.sync.remote.missing_target import existing, missing
from agent.sync.remote.resolved_image import this_platform
from agent.sync.remote.target import Target
from agent.sync.remote.target_repository import resolve
from agent.sync.remote.target_snapshot import Seen
from agent.sync.scan.scan_directory import is_empty


class Pull(NamedTuple):
    """One pull: from which target, into which directory, and how."""

    site: Site
    directory: Directory
    target: Target
    options: PullOptions


class Goal(NamedTuple):
    """What the directory shall be.

    Attributes:
        base: the reference that the base's layers can be read from, None where the target has them.
        digest: of head's manifest, None if there is no head.
        sparse: the globs of a sparse pull; empty for everything.
        writer: who pulls, None if that was not said.
    """

    union: Union
    base: str | None
    digest: str | None
    sparse: tuple[bytes, ...] = ()
    writer: Writer | None = None

    def is_reached(self, memory: Memory | None, target: str) -> bool:
        """Say whether a directory without local changes is what it shall be already."""
        if memory is None:
            return False
        return (memory.target, memory.union.ids, memory.sparse) == (target, self.union.ids, self.sparse)


def read_target(pull: Pull) -> Seen:
    """Read the target. One that holds nothing starts a workspace if that is asked for, and never ends one.

    Raises:
        MissingTargetError: it holds nothing, and no start is asked for, or the directory holds something.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    _, directory, target, options = pull
    if options.at is not None or not (options.create or options.base):
        return existing(target, options.after, START)
    seen = target.look(options.after)
    if seen.holds_nothing and not _may_start(directory, options):
        raise missing(
            target,
            f"push {show(directory.root.path)} to start it with what is there, or name an empty directory",
            ", and the directory is not empty: it is left alone",
        )
    return seen


def _may_start(directory: Directory, options: PullOptions) -> bool:
    """Say whether a directory may become the beginning of a workspace: nobody's work can be lost.

    Not even by force: where nothing can be pulled, what stands there may be the only copy.
    """
    if is_empty(directory.root):
        return True
    begun = directory.interrupted is not None and directory.interrupted.starts
    if directory.memory is None:
        return options.keep or begun
    # An earlier start that nothing was pushed from: what it was made of, the base, is no one's work.
    return not directory.memory.union.records and (begun or directory.interrupted is None)


def goal_of(pull: Pull, seen: Seen) -> Goal:
    """Return what the directory shall be: what was seen, less what the caller must not see, or the base.

    Raises:
        UsageError: there is no such change, or no such base.
        AuthError, UnavailableError, IntegrityError, UnsafeArchiveError: see `agent.errors`.
    """
    site, directory, target, options = pull
    writer, sparse = _writer(options, directory.memory, seen), _sparse(directory, options)
    union = seen.union
    digest = str(seen.head.digest) if seen.head else None
    if options.at is not None:
        union = target.as_of(union, [resolve(union, options.at, target.name)])
    elif writer is not None:
        union = union.before(writer)
    union = target.complete(union)
    if seen.head and not union.order and union.bases:
        base = str(site.target._replace(tag=None, digest=seen.head.digest))
        return Goal(union, base, digest, sparse, writer)
    if union.ids:
        return Goal(union, None, digest, sparse, writer)
    if options.base is None:
        site.progress.notice(f"{target.name}: nothing there yet, the workspace starts empty")
        return Goal(Union(), None, None, sparse, writer)
    from agent.sync.remote.base_image import find_base

    image, place = find_base(site, options.base, options.base_path, this_platform(options.platform))
    return Goal(unite([image]), str(place), None, sparse, writer)


def _writer(options: PullOptions, memory: Memory | None, seen: Seen) -> Writer | None:
    """Return who pulls. Its pod started after all that is seen, whatever this machine's clock says."""
    writer = options.writer
    if writer is None or writer.pod is None:
        return writer
    began = memory.began_as(writer) if memory else writer
    return began if began is not writer else writer._replace(pod=writer.pod.after(seen.union.newest_stamp))


def _sparse(directory: Directory, options: PullOptions) -> tuple[bytes, ...]:
    """Return the globs to pull: those that are asked for, else those that the directory was pulled with, if any."""
    if options.paths:
        return () if is_whole(options.paths) else options.paths
    if directory.interrupted:
        return directory.interrupted.sparse
    return directory.memory.sparse if directory.memory else ()
