"""The warnings of a pull, and its report."""

from __future__ import annotations

from collections.abc import Iterable

from agent.core.directory.pull_plan import PullPlan
from agent.core.image.change_set import unite
from agent.core.image.foreign_layers import is_unpublished
from agent.core.merge.conflict import Conflict
from agent.sync.operation.report import PullReport, conflict_reports
from agent.sync.operation.workspace_context import WorkspaceContext
from agent.sync.pull_steps.pull_goal import PullGoal
from agent.sync.remote.missing_target import silent_lanes
from agent.sync.remote.target import Target
from agent.sync.remote.target_snapshot import TargetSnapshot


def warn(context: WorkspaceContext, target: Target, snapshot: TargetSnapshot) -> None:
    """Warn of lanes without a push, of re-encoded layers and of foreign images in a snapshot."""
    for warning in silent_lanes(target, snapshot):
        context.progress.notice(warning)
    if snapshot.is_reencoded:
        context.progress.notice(
            f"{target.name}: another tool encoded the image's layers anew; the workspace is whole, its history is lost"
        )
    if snapshot.head is None or snapshot.is_ours:
        return
    own = snapshot.own_head
    if own is not None:
        count = sum(map(is_unpublished, unite([own, *snapshot.others]).changes.values()))
        if count:
            layers = "a layer" if count == 1 else f"{count} layers"
            context.progress.notice(
                f"{target.name}: someone else put {layers} on top; taken as a change, which the next push will publish"
            )
    elif snapshot.others and str(snapshot.head.digest) not in snapshot.union.bases:
        context.progress.notice(
            f"{target.name}@{snapshot.head.digest}: an image that someone else put there; its layers are left out, "
            "what was pushed to the target is merged without it"
        )


def report_of(target: Target, goal: PullGoal, steps: PullPlan, conflicts: Iterable[Conflict] = ()) -> PullReport:
    """Return the report of a pull that carried out a plan."""
    return PullReport(
        target=target.name,
        digest=goal.digest,
        frontier=list(goal.union.frontier),
        paths=len(steps.rows) - steps.unselected,
        written=sum(map(len, steps.fetch.values())) + len(steps.make) + len(steps.link),
        removed=len(steps.remove),
        unselected=steps.unselected,
        bytes=sum(files.bytes for files in steps.fetch.values()),
        conflicts=conflict_reports(conflicts),
    )
