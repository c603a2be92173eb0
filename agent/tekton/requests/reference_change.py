"""Changing every reference in a run, a Pipeline or a Task, for lookups and for the replacement of bundles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.tekton.model.fields import Object, mapping, objects, text
from agent.tekton.model.names import CUSTOM_TASK, PIPELINEREF, PIPELINESPEC, TASKREF, WRAPPERS
from agent.tekton.model.object_reference import Reference, reference_in, reference_of
from agent.tekton.model.pipeline_tasks import change_tasks, is_custom
from agent.tekton.requests.embedded import pack_pipeline, unpack_pipeline
from agent.tekton.requests.request import asked_pipeline

Change = Callable[[str, Object, str], Object]
"""Called with the kind (`pipeline`, `task`, `stepaction`), the reference, and its name in errors. Returns the new
reference, or the same."""


def change_run_references(run: Object, change: Change, where: str) -> dict[str, Any]:
    """Return a PipelineRun or TaskRun (v1 or v1beta1) with its references changed, also those in embedded specs.

    Raises:
        UnwrappableError: a field has another type than Tekton's.
    """
    spec = dict(mapping(run, "spec", where))
    for field, kind in (("pipelineRef", "pipeline"), ("taskRef", "task")):
        if spec.get(field) is not None:
            spec[field] = _changed(kind, mapping(spec, field, where), change, f"{where}, {field}")
    if spec.get("pipelineSpec") is not None:
        spec["pipelineSpec"] = change_pipeline_references(mapping(spec, "pipelineSpec", where), change, where)
    if spec.get("taskSpec") is not None:
        spec["taskSpec"] = change_task_references(mapping(spec, "taskSpec", where), change, where)
    return {**run, "spec": spec}


def change_pipeline_references(spec: Object, change: Change, where: str) -> dict[str, Any]:
    """Return the spec of a Pipeline with the references of all of its tasks changed.

    Raises:
        UnwrappableError: a field has another type than Tekton's.
    """
    return change_tasks(spec, lambda task: _pipeline_task(task, change, where), where)


def change_task_references(spec: Object, change: Change, where: str) -> dict[str, Any]:
    """Return the spec of a Task with the references of its steps to StepActions changed.

    Raises:
        UnwrappableError: a field has another type than Tekton's.
    """
    if "steps" not in spec:
        return dict(spec)
    return {**spec, "steps": [_step(step, change, where) for step in objects(spec, "steps", where)]}


def _pipeline_task(task: Object, change: Change, where: str) -> Object:
    place = f"{where}, task {text(task, 'name', where)}"
    found = dict(task)
    reference = mapping(task, "taskRef", place)
    if (reference.get("apiVersion"), reference.get("kind")) == CUSTOM_TASK:
        rest = {"apiVersion": reference["apiVersion"], "kind": reference["kind"]}
        found["taskRef"] = {**rest, **_changed("pipeline", reference, change, f"{place}, taskRef")}
    elif reference and not is_custom(reference):
        found["taskRef"] = _changed("task", reference, change, f"{place}, taskRef")
    if mapping(task, "pipelineRef", place):
        found["pipelineRef"] = _changed("pipeline", task["pipelineRef"], change, f"{place}, pipelineRef")
    if mapping(task, "pipelineSpec", place):
        found["pipelineSpec"] = change_pipeline_references(task["pipelineSpec"], change, place)
    embedded = mapping(task, "taskSpec", place)
    if (embedded.get("apiVersion"), embedded.get("kind")) == CUSTOM_TASK and "spec" in embedded:
        found["taskSpec"] = {
            **embedded,
            "spec": change_pipeline_references(mapping(embedded, "spec", place), change, place),
        }
    elif embedded and not is_custom(embedded):
        found["taskSpec"] = change_task_references(embedded, change, place)
    return found


def _step(step: Object, change: Change, where: str) -> Object:
    place = f"{where}, step {text(step, 'name', where)}"
    reference = mapping(step, "ref", place)
    return {**step, "ref": _changed("stepaction", reference, change, f"{place}, ref")} if reference else step


def _changed(kind: str, reference: Object, change: Change, where: str) -> Object:
    if reference.get("resolver") not in WRAPPERS:
        return change(kind, reference, where)
    # Only the wrapped reference is changed. The wrapping around it remains.
    params = [_with_spec_changed(param, change, where) for param in objects(reference, "params", where)]
    for word, inner_kind, inner in (
        (PIPELINEREF, "pipeline", asked_pipeline(params)),
        (TASKREF, "task", reference_in(params, TASKREF, where)),
    ):
        if inner is not None:
            params = _with_reference_changed(params, word, inner, change(inner_kind, inner.to_object(), where), where)
    return {**reference, "params": params} if "params" in reference else reference


def _with_spec_changed(param: Object, change: Change, where: str) -> Object:
    if param.get("name") != PIPELINESPEC:
        return param
    pipeline = unpack_pipeline(text(param, "value", where), where)
    spec = change_pipeline_references(mapping(pipeline, "spec", where), change, where)
    return {**param, "value": pack_pipeline(spec, text(pipeline, "apiVersion", where), where)}


def _with_reference_changed(
    params: list[Object], word: str, inner: Reference, changed: Object, where: str
) -> list[Object]:
    if changed == inner.to_object():
        return params
    rest = [param for param in params if not _names(text(param, "name", where), word)]
    return [*reference_of(changed, where).to_params(word), *rest]


def _names(name: str, word: str) -> bool:
    return name == word or name.startswith(f"{word}.")
