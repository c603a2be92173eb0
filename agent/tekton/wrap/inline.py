"""Writing a Task into the pipeline's task that refers to it, with the same meaning.

An embedded spec has access to more than a referenced Task: parameters, workspaces and variables of the pipeline. This
module prevents that. Provenance and checks of signatures are lost (docs/reference/tekton.md).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from agent.errors import UnwrappableError
from agent.tekton.model.fields import Object, mapping, objects, text, without
from agent.tekton.model.pipeline_tasks import change_tasks, is_custom
from agent.tekton.model.variables import mentioned, replace_strings
from agent.tekton.wrap.task import V1, bare

_TASK_NAME = re.compile(r"\$\(\s*context\.task\.name\s*\)")


def inline_task(
    pipeline_task: Object, task: Object, *, params: Collection[str], bound: Collection[str], is_v1: bool, where: str
) -> dict[str, Any]:
    """Return a pipeline's task with the Task in place of the reference to it.

    Args:
        params: names of the parameters that pipeline and run have.
        bound: names of the workspaces that the run binds.
        is_v1: whether the pipeline is of `tekton.dev/v1`.

    Raises:
        UnwrappableError: it would have another meaning there.
    """
    where = f"{where}, Task {text(mapping(task, 'metadata', where), 'name', where)}"
    spec = mapping(task, "spec", where)
    if mentioned(spec, "tasks"):
        raise UnwrappableError(
            "it has text that would be a result of another task once it is written into the pipeline",
            subject=where,
            remedy="use the form references",
        )
    spec = in_version(spec, task.get("apiVersion") == V1, is_v1, where)
    spec = _without_unbound(spec, pipeline_task, bound, where)
    name = text(mapping(task, "metadata", where), "name", where)
    spec = with_task_name(spec, name)
    meta = without(mapping(bare(task), "metadata", where), "name")
    meta["labels"] = {**mapping(meta, "labels", where), "tekton.dev/task": name}
    embedded = {**without(pipeline_task, "taskRef"), "taskSpec": {"metadata": meta, **spec}}
    own = _own_defaults(spec, pipeline_task, params, where)
    return {**embedded, "params": [*objects(pipeline_task, "params", where), *own]} if own else embedded


def with_task_name(spec: Object, name: str) -> Object:
    """Return a Task's spec with its name in place of `$(context.task.name)`, which would be the TaskRun's name."""
    found: Object = replace_strings(spec, lambda text: _TASK_NAME.sub(lambda _: name, text))
    return found


def refuse_clashes(spec: Object, params: Mapping[str, Any], where: str) -> None:
    """Refuse a `pipelineSpec` of a PipelineRun whose embedded tasks declare a parameter with different types.

    Tekton treats them as one parameter (validateInlineParameters) with the first type.

    Args:
        params: the run's, by name.

    Raises:
        UnwrappableError: there is such a parameter.
    """
    types = {name: _type_of(value) for name, value in params.items()}
    for task in objects(spec, "tasks", where):
        declared = objects(mapping(task, "taskSpec", where), "params", where)
        for param in (*objects(spec, "params", where), *declared):
            name = text(param, "name", where)
            own = text(param, "type", where) or ("object" if "properties" in param else _type_of(param.get("default")))
            if types.setdefault(name, own) != own:
                raise UnwrappableError(
                    f"its parameter {name} is of type {own} and another task's or the run's of type {types[name]}, "
                    "which Tekton refuses in a pipelineSpec with Tasks written into it",
                    subject=f"{where}, task {text(task, 'name', where)}",
                    remedy="make the pipelineSpec a Pipeline, and refer to that",
                )


def _type_of(value: Any) -> str:
    return "array" if isinstance(value, list) else "object" if isinstance(value, Mapping) else "string"


def _own_defaults(spec: Object, pipeline_task: Object, params: Collection[str], where: str) -> list[Object]:
    """Return the defaults of parameters that a parameter of the pipeline with the same name would override."""
    matrix = mapping(pipeline_task, "matrix", where)
    given = [*objects(pipeline_task, "params", where), *objects(matrix, "params", where)]
    for include in objects(matrix, "include", where):
        given += objects(include, "params", where)
    names = {text(param, "name", where) for param in given}
    found: list[Object] = []
    for param in objects(spec, "params", where):
        name = text(param, "name", where)
        if name in names or name not in params or "default" not in param:
            continue
        if "$(" in str(param["default"]):
            raise UnwrappableError(
                f"the default of its parameter {name} has a variable, and the pipeline has a parameter of that name",
                subject=where,
                remedy=f"pass {name} to the task, or use the form references",
            )
        found.append({"name": name, "value": param["default"]})
    return found


def _without_unbound(spec: Object, pipeline_task: Object, bound: Collection[str], where: str) -> Object:
    """Return a spec whose optional workspaces remain unbound, even if the run binds workspaces of the same name."""
    mapped = {text(item, "name", where) for item in objects(pipeline_task, "workspaces", where)}
    declared = objects(spec, "workspaces", where)
    names = [text(item, "name", where) for item in declared if item.get("optional")]
    for name in (name for name in names if name in bound and name not in mapped):
        variable = re.compile(rf"\$\(\s*workspaces(?:\.{re.escape(name)}|\[[\"']{re.escape(name)}[\"']\])\.(\w+)\s*\)")
        spec = replace_strings(spec, partial(variable.sub, _unbound))
        rest = [item for item in objects(spec, "workspaces", where) if item.get("name") != name]
        spec = {**spec, "workspaces": rest} if rest else without(spec, "workspaces")
    return spec


def _unbound(match: re.Match[str]) -> str:
    return "false" if match[1] == "bound" else ""


def in_version(spec: Object, has_v1: bool, wants_v1: bool, where: str) -> Object:
    """Return a Task's spec in the pipeline's API version. The field of compute resources has another name there."""
    if has_v1 == wants_v1:
        return spec
    if spec.get("resources"):
        raise UnwrappableError("PipelineResources are gone", subject=where, remedy="use workspaces and results")
    old, new = ("computeResources", "resources") if has_v1 else ("resources", "computeResources")

    def renamed(part: Object) -> Object:
        return {(new if key == old else key): value for key, value in part.items()}

    found = {**spec, "steps": [renamed(step) for step in objects(spec, "steps", where)]}
    if "stepTemplate" in spec:
        found["stepTemplate"] = renamed(mapping(spec, "stepTemplate", where))
    return found


def pipeline_in_version(spec: Object, has_v1: bool, wants_v1: bool, where: str) -> Object:
    """Return the spec of a pipeline with the specs of its tasks in another API version, as `in_version` does."""

    def task(found: Object) -> Object:
        embedded = mapping(found, "taskSpec", where)
        if not embedded or is_custom(embedded):
            return found
        return {**found, "taskSpec": in_version(embedded, has_v1, wants_v1, where)}

    return change_tasks(spec, task, where)
