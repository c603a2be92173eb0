"""Warnings of a pull, and its report."""

from __future__ import annotations

from collections.abc import Iterable

from agent.core.directory.pull_plan import Plan
from agent.core.image.change_set import unite
from agent.core.image.foreign_layers import is_unpublished
from agent.core.merge.conflict import Conflict
from agent.sync.operation.report import PullReport, conflict_reports
from agent.sync.operation.workspace_context import Site
from agent.sync.pull_steps.pull_goal import Goal
from agent.sync.remote.missing_target import silent_lanes
from agent.sync.remote.target import Target
from agent.sync.remote.target_snapshot import Seen


def warn(site: Site, target: Target, seen: Seen) -> None:
    """Say what a user would not expect of what was seen."""
    for warning in silent_lanes(target, seen):
        site.progress.notice(warning)
    if seen.is_encoded_anew:
        site.progress.notice(
            f"{target.name}: another tool encoded the image's layers anew; the workspace is whole, its history is lost"
        )
    if seen.head is None or seen.is_ours:
        return
    known = seen.known_head
    if known is not None:
        count = sum(map(is_unpublished, unite([known, *seen.others]).changes.values()))
        if count:
            layers = "a layer" if count == 1 else f"{count} layers"
            site.progress.notice(
                f"{target.name}: someone else put {layers} on top; taken as a change, which the next push will publish"
            )
    elif seen.others and str(seen.head.digest) not in seen.union.bases:
        site.progress.notice(
            f"{target.name}@{seen.head.digest}: an image that someone else put there; its layers are left out, "
            "what was pushed to the target is merged without it"
        )


def report_of(target: Target, goal: Goal, steps: Plan, conflicts: Iterable[Conflict] = ()) -> PullReport:
    """Return the report of a pull that took the steps of a plan."""
    return PullReport(
        target=target.name,
        digest=goal.digest,
        frontier=list(goal.union.frontier),
        paths=len(steps.rows) - steps.left,
        written=sum(map(len, steps.fetch.values())) + len(steps.make) + len(steps.link),
        removed=len(steps.remove),
        unselected=steps.left,
        bytes=sum(files.bytes for files in steps.fetch.values()),
        conflicts=conflict_reports(conflicts),
    )
