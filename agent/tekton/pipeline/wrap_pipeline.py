"""A Pipeline whose tasks carry workspaces through images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.errors import UnwrappableError
from agent.tekton.model.fields import Object, mapping, named, objects, text
from agent.tekton.model.groups import change_tasks, is_custom, tasks_of
from agent.tekton.model.names import KIND, PLAN, RESOLVER, TASKREF
from agent.tekton.model.object_reference import Reference
from agent.tekton.model.pod_template import pod_of
from agent.tekton.model.timeouts import group_timeout, step_timeout, task_timeout
from agent.tekton.model.wrapping import Run, Wrapping
from agent.tekton.pipeline.mounts import mounts_of
from agent.tekton.pipeline.wrap_context import Scene, Tasks, look_at
from agent.tekton.wrap.refuse import refuse_hermetic
from agent.tekton.wrap.task import V1, bare, trouble_in, wrap_task_spec
from agent.tekton.wrap.task_plan import Mount, Plan, format_plan


def wrap_pipeline(
    pipeline: Object, wrapping: Wrapping, run: Run, tasks: Tasks | None = None, where: str | None = None
) -> dict[str, Any]:
    """Return a Pipeline (v1 or v1beta1) for one run, and only that metadata which a resolver passes on.

    Wrapping what is wrapped already replaces the agent's steps.

    Args:
        tasks: Tasks that are known. The form `inline` needs all of `tasks_referred_to`; the form `references` needs
            none, but names no lane of those that it can see to be read-only.
        where: what to call it in an error, None for its name.

    Raises:
        UnwrappableError: it cannot be wrapped, or is no Pipeline.
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
    """Return the spec of a pipeline, as `wrap_pipeline` does; the same where no workspace is wrapped.

    Args:
        annotations: the Pipeline's.
        where: what to call it in an error.
    """
    scene = look_at(spec, wrapping, run, tasks or {}, is_v1=is_v1, where=where)
    if not scene.targets:
        return scene.spec
    for found in (run.annotations.get("", {}), annotations or {}):
        refuse_hermetic(found, where)
    if wrapping.form == "inline":
        scene = scene.inlined()
    mounts = mounts_of(scene)
    return change_tasks(scene.spec, lambda task: _wrapped(scene, task, mounts), where)


def tasks_referred_to(spec: Object, wrapping: Wrapping, run: Run, *, where: str) -> dict[Reference, str]:
    """Return the Tasks that tasks with wrapped workspaces refer to: what the form `inline` needs.

    Each comes with what to call it in an error, which names a task.

    Raises:
        UnwrappableError: the pipeline cannot be wrapped.
    """
    scene = look_at(spec, wrapping, run, {}, is_v1=True, where=where)
    found: dict[Reference, str] = {}
    for task in filter(scene.refers, scene.tasks()):
        reference = scene.reference(task)
        found.setdefault(reference, f"{scene.place(task)}, Task {reference}")
    return found


def troubles_in(spec: Object, run: Run, where: str) -> list[str]:
    """Return what the agent's steps may be unable to do in the tasks that a wrapped pipeline holds, in words.

    Args:
        spec: the pipeline's.
    """
    found = []
    for task in tasks_of(spec, where):
        name = text(task, "name", where)
        place = f"{where}, task {name}"
        embedded, pod = mapping(task, "taskSpec", place), pod_of(run.pod_template(name), place)
        found.append(trouble_in(embedded, pod, place) if not is_custom(embedded) else None)
    return [words for words in found if words]


def _wrapped(scene: Scene, task: Object, mounts: Mapping[tuple[str, str], Mount]) -> Object:
    name = text(task, "name", scene.where)
    used = scene.uses[name]
    if not used:
        return task
    plan = Plan(
        task=name,
        settings=scene.wrapping.settings,
        mounts=tuple(mounts[name, use.name] for use in used),
        base=scene.wrapping.base,
        on_conflict=scene.wrapping.on_conflict,
        patience=scene.wrapping.patience,
        is_matrix=bool(task.get("matrix")),
        timeout=_timeout(scene, task),
        pod=pod_of(scene.run.pod_template(name), scene.place(task)),
        step_result=scene.wrapping.step_result,
    )
    if task.get("taskSpec") is not None:
        embedded = mapping(task, "taskSpec", scene.where)
        spec = wrap_task_spec(embedded, plan, is_v1=scene.is_v1, where=scene.place(task))
        return {**task, "taskSpec": spec}
    params = [
        {"name": KIND, "value": "task"},
        *scene.reference(task).to_params(TASKREF),
        {"name": PLAN, "value": format_plan(plan)},
    ]
    return {**task, "taskRef": {"resolver": RESOLVER, "params": params}}


def _timeout(scene: Scene, task: Object) -> str:
    """Return the timeout of the agent's steps in a task."""
    name, run = text(task, "name", scene.where), scene.run
    is_last = named(objects(scene.spec, "finally", scene.where), name) is not None
    group = group_timeout(run.timeouts, "finally" if is_last else "tasks")
    given = run.task_timeouts.get(name) or text(task, "timeout", scene.where)
    around = [group, run.timeouts.get("pipeline", "")]
    return step_timeout(scene.wrapping.step_timeout, task_timeout(given, group), around)
