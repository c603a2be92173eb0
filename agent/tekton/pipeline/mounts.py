"""The wrapped workspaces of every task of a pipeline: target, lane, and the lanes that its pull must contain."""

from __future__ import annotations

from agent.tekton.model.fields import Object, objects, text
from agent.tekton.model.names import task_run_names
from agent.tekton.model.pipeline_tasks import GROUPS
from agent.tekton.model.variables import RUN_NAME, RUN_UID
from agent.tekton.model.wrapping import Run, Wrapping
from agent.tekton.pipeline.graph import combinations, dependencies
from agent.tekton.pipeline.nearest_writers import WriterTask, all_lanes, nearest_lanes
from agent.tekton.pipeline.wrap_context import WrapContext
from agent.tekton.wrap.task_plan import WorkspaceMount
from agent.tekton.wrap.workspaces import Use

_SKIPPING = ("when", "whenExpressions", "conditions")
_LONGEST_NAME = 63
_LANES_SIZE = 40_000
"""Characters of all lanes in the argument of a task's pull. With variables replaced, the argument stays below 128 KiB,
the limit of Linux for one argument of a command."""


def mounts_of(context: WrapContext) -> dict[tuple[str, str], WorkspaceMount]:
    """Return the mounts, by task and name of the workspace in the task."""
    group, last = (objects(context.spec, name, context.where) for name in GROUPS)
    waits = dependencies(group, context.where)
    mounts: dict[tuple[str, str], WorkspaceMount] = {}
    for workspace in context.targets:
        writers = {text(task, "name", context.where): _writer(context, task, workspace) for task in group}
        writing = {name: writer for name, writer in writers.items() if writer is not None}
        before = nearest_lanes(waits, writing)
        for task in group + last:
            name = text(task, "name", context.where)
            lanes = before[name] if name in before else all_lanes(writing)
            for use in context.uses[name]:
                if use.workspace == workspace:
                    mounts[name, use.name] = _mount(context, task, use, lanes)
    return mounts


def _mount(context: WrapContext, task: Object, use: Use, lanes: tuple[str, ...] | None) -> WorkspaceMount:
    target = context.targets[use.workspace]
    count = len(context.uses[text(task, "name", context.where)])
    if lanes is not None and sum(map(len, lanes)) * count > _LANES_SIZE:
        lanes = None
    return WorkspaceMount(
        name=use.name,
        target=target,
        lane=_lane(context, task, use),
        after=lanes or (),
        sub_path=use.sub_path,
        is_read_only=context.writes(task, use) is False,
        is_written=context.writes(task, use) is True,
        is_fresh=lanes == () and context.wrapping.base is None and _is_of_this_run(context.wrapping, context.run),
    )


def _writer(context: WrapContext, task: Object, workspace: str) -> WriterTask | None:
    """Return a task as a writer of a workspace, None if it does not write it."""
    name = text(task, "name", context.where)
    used = [use for use in context.uses[name] if use.workspace == workspace and context.writes(task, use) is not False]
    if not used:
        return None
    may_skip = any(task.get(key) for key in _SKIPPING) or task.get("onError") == "continue"
    is_sure = not may_skip and any(context.writes(task, use) for use in used)
    members = _members(context, task)
    if members is None:
        return WriterTask(None, is_sure)
    return WriterTask(tuple(_lane(context, task, use) + member for use in used for member in members), is_sure)


def _lane(context: WrapContext, task: Object, use: Use) -> str:
    """Return the lane of a task. If it mounts two directories of one workspace, each has a lane."""
    name = text(task, "name", context.where)
    parts = [other for other in context.uses[name] if other.workspace == use.workspace]
    return f"{context.run.uid}/{name}" + (f":{use.name}" if len(parts) > 1 else "")


def _members(context: WrapContext, task: Object) -> list[str] | None:
    """Return the suffixes of the lanes of a task's TaskRuns; None if they are unknown."""
    if not task.get("matrix"):
        return [""]
    name, run = text(task, "name", context.where), context.run
    count = combinations(task, context.params(), context.place(task))
    if count is None:
        return None
    if run.name == RUN_NAME and run.name_length + len(f"-{name}-{count}") > _LONGEST_NAME:
        return None  # Tekton will hash the name, which is unknown here
    return [f"/{member}" for member in task_run_names(run.name, name, count)]


def _is_of_this_run(wrapping: Wrapping, run: Run) -> bool:
    """Return whether only this run has this target, so that the target is empty before its tasks push.

    Only a variable proves it: a run's name may be part of a target by chance.
    """
    return any(variable in template for variable in (RUN_NAME, RUN_UID) for template in (wrapping.target, run.target))
