"""A target that vanished after a pull from it or a push to it: it was pruned whole, or deleted.

A push to it does not report that there is nothing to push. It publishes the whole directory again, or fails because the
target is gone (design, "Targets that are not there").
"""

from __future__ import annotations

from agent.core.image.change_set import ChangeSet, unite
from agent.errors import DivergedError, MissingTargetError
from agent.sync.local.directory_state import DirectoryState
from agent.sync.local.open_directory import Directory
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.remote.target import Target


def target_has(context: WorkspaceContext, target: Target, union: ChangeSet, *, dry_run: bool) -> bool:
    """Say whether a target holds the changes of a directory; if only head is lost, make it anew.

    Mostly one request is enough: head has them all. If nothing was ever pushed, nothing can have vanished.

    Raises:
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    records = union.records
    if not records:
        return True
    head = target.head()
    if head is not None and union.ids <= unite([head.image]).ids:
        return True
    snapshot = target.read_snapshot()
    has_all = union.ids <= snapshot.union.ids
    if not has_all:
        # The list may lag behind the newest entries.
        newest = [target.entry(records[change]) for change in union.frontier if change in records]
        has_all = bool(newest) and all(newest)
    if has_all and snapshot.head is None and not dry_run:
        from agent.sync.publish.head import repair

        repair(context, target, snapshot)
    return has_all


def start_over(
    context: WorkspaceContext, directory: Directory, target: Target, state: DirectoryState, *, dry_run: bool
) -> DirectoryState:
    """Return an empty state for a directory whose target is gone, so that all of it is pushed.

    Raises:
        DivergedError: another workspace is at the target now.
        MissingTargetError: the directory is sparse.
    """
    if not target.read_snapshot().is_empty:
        raise DivergedError(
            f"what {context.directory} was pulled from, or pushed to, is gone; the target holds another workspace now",
            subject=target.name,
            remedy="push the directory to another tag, or pull into an empty one",
        )
    if state.sparse:
        raise MissingTargetError(
            "it holds nothing any more, and the directory has only a part of what was there",
            subject=target.name,
            remedy="push a copy of the directory, as a workspace of its own",
        )
    context.progress.notice(f"{target.name}: what was there is gone; the whole directory is pushed again")
    fresh = DirectoryState(target.name, directory.root.identity, 0, ChangeSet())
    if not dry_run:
        # Before anything is published: after a kill the push is recognised by its parents, and it has none.
        directory.forget_pushes()
        directory.save(fresh)
    return fresh
