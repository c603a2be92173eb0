"""Wrapping a Task: the agent's steps are added to it, and can be removed again."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

from agent.errors import UnwrappableError
from agent.tekton.model import names
from agent.tekton.model.fields import Object, mapping, named, objects, text, without
from agent.tekton.model.pod_template import PodTemplate
from agent.tekton.wrap.refuse import refuse_hermetic, refuse_windows_scripts
from agent.tekton.wrap.security import choose_step_user
from agent.tekton.wrap.steps import injection, is_injected
from agent.tekton.wrap.task_plan import TaskPlan, WorkspaceMount
from agent.tekton.wrap.workspaces import overlap

V1 = "tekton.dev/v1"


def wrap_task(task: Object, plan: TaskPlan) -> dict[str, Any]:
    """Return a Task (v1 or v1beta1) with the agent's steps, and only the metadata that a resolver passes on.

    If the Task is wrapped already, the agent's steps are replaced.

    Raises:
        UnwrappableError: it cannot be wrapped, or is not a Task; the message names the pipeline's task.
    """
    where = place_of(task, plan)
    if task.get("kind") != "Task":
        raise UnwrappableError(f"its kind is {task.get('kind')}", subject=where, remedy="refer to a Task")
    refuse_hermetic(mapping(mapping(task, "metadata", where), "annotations", where), where)
    spec = mapping(task, "spec", where)
    declared = objects(spec, "workspaces", where)
    restricted = replace(plan, mounts=tuple(mount for mount in plan.mounts if named(declared, mount.name)))
    wrapped = wrap_task_spec(spec, restricted, is_v1=task.get("apiVersion") == V1, where=where)
    return {**bare(task), "spec": wrapped}


def place_of(task: Object, plan: TaskPlan) -> str:
    """Return the name of a Task in errors, with the pipeline's task that refers to it."""
    return f"task {plan.task}, Task {text(mapping(task, 'metadata', 'Task'), 'name', 'Task')}"


def wrap_task_spec(spec: Object, plan: TaskPlan, *, is_v1: bool, where: str) -> Object:
    """Return the spec of a task with the agent's steps; the same if there is nothing to pull or push.

    Raises:
        UnwrappableError: it cannot be wrapped.
    """
    spec = unwrap_task_spec(spec, where)
    steps = objects(spec, "steps", where)
    refuse_windows_scripts(steps, where)
    plan = replace(plan, mounts=tuple(_seen_from_the_task(mount, spec, where) for mount in plan.mounts))
    _refuse_aliases(plan, where)
    fixed = {**spec, "steps": names.with_fixed_names(steps)}
    added = injection(plan, fixed, is_v1=is_v1, where=where)
    if not (added.before or added.after):
        return spec
    return {
        **fixed,
        "steps": [*added.before, *fixed["steps"], *added.after],
        "volumes": [*objects(spec, "volumes", where), *added.volumes],
    }


def task_warning(spec: Object, pod: PodTemplate, where: str) -> str | None:
    """Return a warning about what the agent's steps may be unable to do in a wrapped task, None for none."""
    steps = objects(spec, "steps", where)
    own = [step for step in steps if not is_injected(step)]
    if not steps or not is_injected(steps[-1]):
        return None  # nothing is pushed
    warning = choose_step_user(own, mapping(spec, "stepTemplate", where), pod, where).warning
    return warning and f"{where}: {warning}"


def unwrap_task_spec(spec: Object, where: str) -> Object:
    """Return the spec of a task without the agent's steps and their volumes; the same if there are none."""
    steps = objects(spec, "steps", where)
    ours = [step for step in steps if is_injected(step)]
    if not ours:
        return spec
    mounted = [text(mount, "name", where) for step in ours for mount in objects(step, "volumeMounts", where)]
    private = {name for name in mounted if not name.startswith("$(")}  # workspaces are mounted by a variable
    volumes = [volume for volume in objects(spec, "volumes", where) if volume.get("name") not in private]
    rest = {**spec, "steps": [step for step in steps if not is_injected(step)]}
    return {**rest, "volumes": volumes} if volumes else without(rest, "volumes")


def bare(value: Object) -> dict[str, Any]:
    """Return an object with only the metadata that a resolver passes on: name, labels, annotations."""
    meta = mapping(value, "metadata", "object")
    annotations = without(mapping(meta, "annotations", "object"), "kubectl.kubernetes.io/last-applied-configuration")
    copied = {key: meta[key] for key in ("name", "labels") if key in meta}
    copied |= {"annotations": annotations} if annotations else {}
    return {**without(value, "status"), "metadata": copied}


def _seen_from_the_task(mount: WorkspaceMount, spec: Object, where: str) -> WorkspaceMount:
    declared = named(objects(spec, "workspaces", where), mount.name) or {}
    is_read_only = bool(declared.get("readOnly"))
    if (mount.is_read_only and not is_read_only) or (mount.is_written and is_read_only):
        was, now = ("read-only", "not any more") if mount.is_read_only else ("written", "read-only now")
        raise UnwrappableError(
            f"its workspace {mount.name} was {was} when the run began, and is {now}",
            subject=where,
            remedy="start the run again",
        )
    return replace(mount, is_read_only=is_read_only)


def _refuse_aliases(plan: TaskPlan, where: str) -> None:
    for one, other in combinations(plan.mounts, 2):
        writes = not (one.is_read_only and other.is_read_only)
        if one.target == other.target and writes and overlap(one.sub_path, other.sub_path):
            raise UnwrappableError(
                f"its workspaces {one.name} and {other.name} are the same files, but two volumes when wrapped",
                subject=where,
                remedy="use one of them for both, or sub-paths of which none holds the other",
            )
