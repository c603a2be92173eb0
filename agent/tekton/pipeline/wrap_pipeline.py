"""Wrapping a Pipeline: its tasks get the agent's steps, or references to the resolver that adds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.errors import UnwrappableError
from agent.tekton.model.fields import Object, mapping, named, objects, text
from agent.tekton.model.names import KIND, PLAN, RESOLVER, TASKREF
from agent.tekton.model.object_reference import Reference
from agent.tekton.model.pipeline_tasks import change_tasks, is_custom, tasks_of
from agent.tekton.model.pod_template import parse_pod_template
from agent.tekton.model.timeouts import group_timeout, step_timeout, task_timeout
from agent.tekton.model.wrapping import Run, Wrapping
from agent.tekton.pipeline.mounts import mounts_of
from agent.tekton.pipeline.wrap_context import Tasks, WrapContext, context_of
from agent.tekton.wrap.refuse import refuse_hermetic
from agent.tekton.wrap.task import V1, bare, task_warning, wrap_task_spec
from agent.tekton.wrap.task_plan import TaskPlan, WorkspaceMount, format_plan


def wrap_pipeline(
    pipeline: Object, wrapping: Wrapping, run: Run, tasks: Tasks | None = None, where: str | None = None
) -> dict[str, Any]:
    """Return a Pipeline (v1 or v1beta1) wrapped for one run, with only the metadata that a resolver passes on.

    If the Pipeline is wrapped already, the agent's steps are replaced.

    Args:
        tasks: the known Tasks. The form `inline` needs all of `tasks_referred_to`. The form `references` needs none,
            but leaves out the lanes of Tasks that it knows to be read-only.
        where: the Pipeline's name in errors, None for its own.

    Raises:
        UnwrappableError: it cannot be wrapped, or is not a Pipeline.
    """
    meta = mapping(pipeline, "metadata", "Pipeline")
    where = where or f"Pipeline {text(meta, 'name', 'Pipeline')}"
    if pipeline.get("kind") != "Pipeline":
        raise UnwrappableError(f"its kind is {pipeline.get('kind')}", subject=where, remedy="refer to a Pipeline")
    spec = wrap_pipeline_spec(
        mapping(pipeline, "spec", where),
        wrapping,
        run,
        tasks,
        annotations=mapping(meta, "annotations", where),
        is_v1=pipeline.get("apiVersion") == V1,
        where=where,
    )
    return {**bare(pipeline), "spec": spec}


def wrap_pipeline_spec(
    spec: Object,
    wrapping: Wrapping,
    run: Run,
    tasks: Tasks | None = None,
    *,
    annotations: Object | None = None,
    is_v1: bool,
    where: str,
) -> Object:
    """Return the spec of a pipeline, wrapped as by `wrap_pipeline`; the same if no workspace is wrapped.

    Args:
        annotations: those of the Pipeline.
        where: the pipeline's name, for errors.
    """
    context = context_of(spec, wrapping, run, tasks or {}, is_v1=is_v1, where=where)
    if not context.targets:
        return context.spec
    for found in (run.annotations.get("", {}), annotations or {}):
        refuse_hermetic(found, where)
    if wrapping.form == "inline":
        context = context.inlined()
    mounts = mounts_of(context)
    return change_tasks(context.spec, lambda task: _wrapped(context, task, mounts), where)


def tasks_referred_to(spec: Object, wrapping: Wrapping, run: Run, *, where: str) -> dict[Reference, str]:
    """Return the references of tasks with wrapped workspaces to Tasks, which the form `inline` needs.

    Each has its name in errors, which includes the pipeline's task.

    Raises:
        UnwrappableError: the pipeline cannot be wrapped.
    """
    context = context_of(spec, wrapping, run, {}, is_v1=True, where=where)
    found: dict[Reference, str] = {}
    for task in filter(context.refers, context.tasks()):
        reference = context.reference(task)
        found.setdefault(reference, f"{context.place(task)}, Task {reference}")
    return found


def pipeline_warnings(spec: Object, run: Run, where: str) -> list[str]:
    """Return warnings about what the agent's steps may be unable to do in the tasks of a wrapped pipeline.

    Args:
        spec: the pipeline's spec.
    """
    found = []
    for task in tasks_of(spec, where):
        name = text(task, "name", where)
        place = f"{where}, task {name}"
        embedded, pod = mapping(task, "taskSpec", place), parse_pod_template(run.pod_template(name), place)
        found.append(task_warning(embedded, pod, place) if not is_custom(embedded) else None)
    return [warning for warning in found if warning]


def _wrapped(context: WrapContext, task: Object, mounts: Mapping[tuple[str, str], WorkspaceMount]) -> Object:
    name = text(task, "name", context.where)
    used = context.uses[name]
    if not used:
        return task
    plan = TaskPlan(
        task=name,
        settings=context.wrapping.settings,
        mounts=tuple(mounts[name, use.name] for use in used),
        base=context.wrapping.base,
        on_conflict=context.wrapping.on_conflict,
        patience=context.wrapping.patience,
        is_matrix=bool(task.get("matrix")),
        timeout=_timeout(context, task),
        pod=parse_pod_template(context.run.pod_template(name), context.place(task)),
        step_result=context.wrapping.step_result,
    )
    if task.get("taskSpec") is not None:
        embedded = mapping(task, "taskSpec", context.where)
        spec = wrap_task_spec(embedded, plan, is_v1=context.is_v1, where=context.place(task))
        return {**task, "taskSpec": spec}
    params = [
        {"name": KIND, "value": "task"},
        *context.reference(task).to_params(TASKREF),
        {"name": PLAN, "value": format_plan(plan)},
    ]
    return {**task, "taskRef": {"resolver": RESOLVER, "params": params}}


def _timeout(context: WrapContext, task: Object) -> str:
    """Return the timeout of the agent's steps in a task."""
    name, run = text(task, "name", context.where), context.run
    is_last = named(objects(context.spec, "finally", context.where), name) is not None
    group = group_timeout(run.timeouts, "finally" if is_last else "tasks")
    given = run.task_timeouts.get(name) or text(task, "timeout", context.where)
    around = [group, run.timeouts.get("pipeline", "")]
    return step_timeout(context.wrapping.step_timeout, task_timeout(given, group), around)
