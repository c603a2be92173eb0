"""What a pull may believe of a directory, and what it must not overwrite there."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack

from agent.core.directory.pull_plan import PullPlan
from agent.core.directory.state_after_change import rows_without_fingerprints
from agent.core.directory.state_row import StateRow
from agent.core.model.entry import TreeEntry
from agent.core.spelling.path import WHITEOUT, show
from agent.errors import DivergedError
from agent.remedy import DAMAGED_STATE, IN_THE_WAY, LOCAL_CHANGES, OCCUPIED, OLDER_STATE_CHANGED, WRITTEN_BY_OTHERS
from agent.sync.local.interrupted_pull import goal_of
from agent.sync.local.open_directory import Directory
from agent.sync.local.rescan import distrusted
from agent.sync.local.scan_directory import Survey, Surveying, is_empty, survey
from agent.sync.operation.options import PullOptions
from agent.sync.operation.workspace_context import Site

SHOWN = 5
OTHER = "another directory or mount than the one that was pulled into"
BEHIND = "what is remembered of it is older than the last pull into it or push from it"


def begin_to_look(site: Site, directory: Directory, options: PullOptions, early: ExitStack) -> Surveying | None:
    """Have others look at a directory of ours while the target is asked, which mostly has nothing new."""
    memory = directory.memory
    if memory is None or directory.is_between_states or options.force:
        return None
    return early.enter_context(Surveying(site, directory.root, memory.known, memory.clean_before))


def trusted(
    site: Site, directory: Directory, options: PullOptions, begun: Surveying | None
) -> tuple[Iterable[StateRow] | None, Survey | None]:
    """Return what is on the disk as far as it is known; None if it must be compared with the tree itself.

    And the look at it that found it to be what is remembered, if it was.

    Raises:
        DivergedError: a pull would lose something.
    """
    memory = directory.memory
    if is_empty(directory.root):
        return [], None
    if directory.is_between_states or options.force:
        if directory.interrupted:
            site.progress.notice(f"{site.directory}: {directory.interrupted.what}; this one replaces what it left")
        return distrusted(site, directory.root, memory), None
    if memory is None:
        if directory.damage is not None:
            return None, None
        raise DivergedError(
            OTHER if directory.other else "the directory is not empty and was not pulled by this program",
            subject=site.directory,
            remedy=OCCUPIED,
        )
    look = begun.finish() if begun else survey(site, directory.root, memory.known, memory.clean_before)
    if look.entries:
        raise _local_changes(site, directory, [entry.path for entry in look.entries])
    return memory.known, look


def check_strangers(
    site: Site, directory: Directory, ids: Iterable[str], sparse: tuple[bytes, ...], steps: PullPlan
) -> None:
    """See that a pull which ends an interrupted one removes nothing that somebody put there meanwhile.

    That is known where both have one goal: what neither that tree nor the one that is remembered has is a stranger's.

    Raises:
        DivergedError: it would.
    """
    interrupted, memory = directory.interrupted, directory.memory
    if interrupted is None or (interrupted.goal, interrupted.sparse) != (goal_of(ids), sparse):
        return
    gone = {path for path, _ in steps.remove if not path.rpartition(b"/")[2].startswith(WHITEOUT)}
    gone -= {row.path for row in (memory.known if memory else ()) if row.path in gone}
    if gone:
        raise DivergedError(
            f"{interrupted.what}, and since then the directory got files that the workspace does not have "
            f"({_named(sorted(gone))})",
            subject=site.directory,
            remedy=IN_THE_WAY,
        )


def beside_others(site: Site, directory: Directory) -> list[StateRow]:
    """Return what is on the disk of what is known, nothing, for a pull that leaves alone what others put there.

    Raises:
        DivergedError: a pull into it was begun before, so that what stands there may be the agent's own.
    """
    if directory.interrupted or directory.damage is not None:
        what = directory.interrupted.what if directory.interrupted else "an earlier pull into it did not end well"
        raise DivergedError(
            what,
            subject=site.directory,
            remedy=WRITTEN_BY_OTHERS,
        )
    return []


def rebuilt(site: Site, directory: Directory, tree: Iterable[TreeEntry]) -> list[StateRow]:
    """Return what to remember of a directory whose state is damaged: the tree itself, if it stands there.

    Raises:
        DivergedError: something else stands there. What of it is newer cannot be told.
    """
    assert directory.damage is not None
    known = list(rows_without_fingerprints(tree))
    look = survey(site, directory.root, known, 0)
    if look.entries:
        raise DivergedError(
            f"{directory.damage.what}, and the directory differs from the target",
            subject=site.directory,
            remedy=DAMAGED_STATE,
        )
    prints = {found.path: found.fingerprint for _, found in look.sifted.suspects}
    return [row._replace(fingerprint=prints[row.path]) for row in known]


def _local_changes(site: Site, directory: Directory, paths: list[bytes]) -> DivergedError:
    what = f"the directory has local changes ({_named(paths)})"
    if directory.is_behind:
        return DivergedError(f"{what}, and {BEHIND}", subject=site.directory, remedy=OLDER_STATE_CHANGED)
    return DivergedError(what, subject=site.directory, remedy=LOCAL_CHANGES)


def _named(paths: list[bytes]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(show(path) for path in paths[:SHOWN]) + more
