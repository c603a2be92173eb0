"""A target that has vanished since a directory was pulled from it or pushed to it: it was pruned whole, or deleted.

A push to it never says that there is nothing to push. It publishes the whole directory again, or says that the target
is gone (design, "Targets that are not there").
"""

from __future__ import annotations

from agent.core.image.change_set import ChangeSet, unite
from agent.errors import DivergedError, MissingTargetError
from agent.sync.local.directory_state import Memory
from agent.sync.local.open_directory import Directory
from agent.sync.operation.workspace_context import Site
from agent.sync.remote.target import Target


def is_held(site: Site, target: Target, union: ChangeSet, *, dry_run: bool) -> bool:
    """Say whether a target holds the changes that lie in a directory, and make head anew if that alone is lost.

    Mostly one request says so: head has them all. Where nothing was ever pushed, nothing can have vanished.

    Raises:
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    records = union.records
    if not records:
        return True
    head = target.head()
    if head is not None and union.ids <= unite([head.image]).ids:
        return True
    seen = target.look()
    held = union.ids <= seen.union.ids
    if not held:
        # The list may lag behind the newest entries.
        newest = [target.entry(records[change]) for change in union.frontier if change in records]
        held = bool(newest) and all(newest)
    if held and seen.head is None and not dry_run:
        from agent.sync.publish.head import repair

        repair(site, target, seen)
    return held


def begin_again(site: Site, directory: Directory, target: Target, memory: Memory, *, dry_run: bool) -> Memory:
    """Return what to remember of a directory whose target is gone: nothing, so that all of it is pushed.

    Raises:
        DivergedError: another workspace stands at the target now.
        MissingTargetError: the directory holds only a part of what was there.
    """
    if not target.look().holds_nothing:
        raise DivergedError(
            f"what {site.directory} was pulled from, or pushed to, is gone; the target holds another workspace now",
            subject=target.name,
            remedy="push the directory to another tag, or pull into an empty one",
        )
    if memory.sparse:
        raise MissingTargetError(
            "it holds nothing any more, and the directory has only a part of what was there",
            subject=target.name,
            remedy="push a copy of the directory, as a workspace of its own",
        )
    site.progress.notice(f"{target.name}: what was there is gone; the whole directory is pushed again")
    fresh = Memory(target.name, directory.root.identity, 0, ChangeSet())
    if not dry_run:
        # Before anything is published: who is killed then must know its own push by its parents, of which it has none.
        directory.forget_pushes()
        directory.remember(fresh)
    return fresh
