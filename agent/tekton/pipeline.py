"""A Pipeline whose tasks carry workspaces through images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.errors import UnwrappableError
from agent.tekton.fields import Object, mapping, objects, text
from agent.tekton.mounts import mounts_of
from agent.tekton.names import KIND, PLAN, RESOLVER, TASKREF
from agent.tekton.plan import Mount, Plan, format_plan
from agent.tekton.reference import Reference
from agent.tekton.refuse import refuse_hermetic
from agent.tekton.scene import GROUPS, Scene, Tasks, look_at
from agent.tekton.security import forbids_root
from agent.tekton.task import V1, bare, wrap_task_spec
from agent.tekton.wrapping import Run, Wrapping


def wrap_pipeline(pipeline: Object, wrapping: Wrapping, run: Run, tasks: Tasks | None = None) -> dict[str, Any]:
    """Return a Pipeline (v1 or v1beta1) for one run, and only that metadata which a resolver passes on.

    Wrapping what is wrapped already replaces the agent's steps.

    Args:
        tasks: Tasks that are known. The form `inline` needs all of `tasks_referred_to`; the form `references` needs
            none, but names no lane of those that it can see to be read-only.

    Raises:
        UnwrappableError: it cannot be wrapped, or is no Pipeline.
    """
    meta = mapping(pipeline, "metadata", "Pipeline")
    where = f"Pipeline {text(meta, 'name', 'Pipeline')}"
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
    groups = {
        group: [_wrapped(scene, task, mounts) for task in objects(scene.spec, group, where)]
        for group in GROUPS
        if group in scene.spec
    }
    return {**scene.spec, **groups}


def tasks_referred_to(spec: Object, wrapping: Wrapping, run: Run, *, where: str) -> list[Reference]:
    """Return the Tasks that tasks with wrapped workspaces refer to: what the form `inline` needs.

    Raises:
        UnwrappableError: the pipeline cannot be wrapped.
    """
    scene = look_at(spec, wrapping, run, {}, is_v1=True, where=where)
    return list(dict.fromkeys(scene.reference(task) for task in scene.tasks() if scene.refers(task)))


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
        is_non_root=forbids_root(scene.run.pod_template(name), scene.place(task)),
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
