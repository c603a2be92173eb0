"""Targets, lanes and paths that a command names and that are not there: one error, warning and hint for all commands.

Only a push and the step before a task start a workspace at a target that holds nothing (design, "Targets that are not
there").
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from agent.core.directory.sparse_globs import Select, idle
from agent.core.spelling.nearest import nearest
from agent.core.spelling.path import show
from agent.core.spelling.tags import is_derived
from agent.errors import AgentError, MissingTargetError, UsageError
from agent.remedy import Remedy
from agent.sync.remote.target import Target
from agent.sync.remote.target_snapshot import TargetSnapshot

CHECK = "check the name and the tag"


def existing(target: Target, after: Sequence[str] = (), remedy: str | Remedy = CHECK) -> TargetSnapshot:
    """Read a target that must hold something.

    Args:
        target: the target.
        after: lanes, as for `Target.read_snapshot`.
        remedy: for the user, if it holds nothing.

    Raises:
        MissingTargetError: it holds nothing, as far as these credentials go: a registry may refuse the list of tags,
            so that an entry without a head is not found.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    refusals: list[AgentError] = []
    snapshot = target.read_snapshot(after, refusals.append)
    refusal = next(iter(refusals), None)
    if snapshot.is_empty and not (refusal and refusal.retryable):
        raise missing(target, remedy)
    if refusal:
        raise refusal
    return snapshot


def missing(target: Target, remedy: str | Remedy = CHECK, more: str = "") -> MissingTargetError:
    """Return the error for a target that holds nothing.

    Args:
        target: the target.
        remedy: for the user.
        more: the end of the message.
    """
    return MissingTargetError(f"it holds nothing{_hint(target)}{more}", subject=target.name, remedy=remedy)


def _hint(target: Target) -> str:
    """Return the nearest tag, for the message; empty if the list of tags is refused."""
    with suppress(AgentError):
        tags = [tag for tag in target.store.tags() if not is_derived(tag) and tag != target.tag]
        found = nearest(target.tag, tags)
        return f" (the nearest tag there: {found})" if found else " (there are no other tags, either)"
    return ""


def silent_lanes(target: Target, snapshot: TargetSnapshot) -> list[str]:
    """Return a warning for each named lane that published nothing.

    The pointers of a lane may have been pruned: then a checkpoint has its changes.
    """
    lanes = {record.lane for record in snapshot.union.records.values()}
    silent = [lane for lane, pointer in snapshot.pointers.items() if not pointer and lane not in lanes]
    near = {lane: nearest(lane, lanes) for lane in silent}
    return [
        f"{target.name}: lane {lane} published nothing" + (f" (the nearest lane: {near[lane]})" if near[lane] else "")
        for lane in silent
    ]


def check_globs(name: str, selected: Select) -> None:
    """Raise UsageError if a glob selected nothing of the workspace `name`, after all paths were matched."""
    unused = ", ".join(map(show, idle(selected)))
    if unused:
        raise UsageError(f"nothing in it matches {unused}", subject=name, remedy="list the paths to find it")
