"""What a command names and the target does not hold: one error or warning, and one hint, for every command.

Only a push and the step before a task start a workspace at a target that holds nothing (design, "Targets that are not
there").
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from agent.core.directory.select import Select, idle
from agent.core.spelling.nearest import nearest
from agent.core.spelling.path import show
from agent.core.spelling.tags import is_derived
from agent.errors import AgentError, MissingTargetError, UsageError
from agent.remedy import Remedy
from agent.sync.remote.target import Target
from agent.sync.remote.target_snapshot import Seen

CHECK = "check the name and the tag"


def existing(target: Target, after: Sequence[str] = (), remedy: str | Remedy = CHECK) -> Seen:
    """Look at a target that must hold something.

    Args:
        target: what to look at.
        after: lanes, as for `Target.look`.
        remedy: what the user can do if it holds nothing.

    Raises:
        MissingTargetError: it holds nothing, as far as these credentials can see: a registry may refuse the list of
            tags, so that an entry without a head is not found.
        AuthError, UnavailableError, IntegrityError: see `agent.errors`.
    """
    refusals: list[AgentError] = []
    seen = target.look(after, refusals.append)
    refusal = next(iter(refusals), None)
    if seen.holds_nothing and not (refusal and refusal.retryable):
        raise missing(target, remedy)
    if refusal:
        raise refusal
    return seen


def missing(target: Target, remedy: str | Remedy = CHECK, more: str = "") -> MissingTargetError:
    """Return the error for a target that holds nothing.

    Args:
        target: what holds nothing.
        remedy: what the user can do.
        more: what else must be said of what happened.
    """
    return MissingTargetError(f"it holds nothing{_hint(target)}{more}", subject=target.name, remedy=remedy)


def _hint(target: Target) -> str:
    """Return what may help to find the right name. The list may be refused: then nothing does."""
    with suppress(AgentError):
        tags = [tag for tag in target.store.tags() if not is_derived(tag) and tag != target.tag]
        found = nearest(target.tag, tags)
        return f" (the nearest tag there: {found})" if found else " (there are no other tags, either)"
    return ""


def silent_lanes(target: Target, seen: Seen) -> list[str]:
    """Return a warning for each lane that was asked for and published nothing, as far as can be seen.

    A lane without a pointer may have been pruned: then a checkpoint has its changes.
    """
    lanes = {record.lane for record in seen.union.records.values()}
    silent = [lane for lane, pointer in seen.pointers.items() if not pointer and lane not in lanes]
    near = {lane: nearest(lane, lanes) for lane in silent}
    return [
        f"{target.name}: lane {lane} published nothing" + (f" (the nearest lane: {near[lane]})" if near[lane] else "")
        for lane in silent
    ]


def check_used(name: str, selected: Select) -> None:
    """Raise UsageError if a glob selected nothing of the workspace `name`, every path of which was tried."""
    unused = ", ".join(map(show, idle(selected)))
    if unused:
        raise UsageError(f"nothing in it matches {unused}", subject=name, remedy="list the paths to find it")
