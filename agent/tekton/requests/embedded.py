"""Pipelines that are written into a run: encoding one in a parameter, and completing its declarations.

A PipelineRun has a `pipelineSpec` or names a resolver, never both. So the spec becomes a parameter of the resolver
`wrap` (docs/decisions/embedded-pipelines.md). It is JSON without any `$`, so that Tekton replaces no variable in it.

Tekton lets a `pipelineSpec` use parameters and workspaces of its run without declaring them. A Pipeline from a resolver
must declare all that it uses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from agent.errors import UnwrappableError
from agent.tekton.model.fields import Object, mapping, named, objects, text
from agent.tekton.model.pipeline_tasks import change_tasks, is_custom, tasks_of
from agent.tekton.model.variables import canonical, mentioned
from agent.tekton.model.wrapping import Run

LARGEST = 250_000
"""Bytes of an encoded spec. A ResolutionRequest also holds the answer, and a PipelineRun also holds the wrapped spec.
etcd stores at most 1.5 MiB of each."""

_ENTIRE = re.compile(r"\$\((.*)\[\*\]\s*\)")


def pack_pipeline(spec: Object, api_version: str, where: str) -> str:
    """Return a `pipelineSpec` as the value of a parameter. Equal specs give equal texts.

    Args:
        api_version: the apiVersion of the object that holds the spec.

    Raises:
        UnwrappableError: the spec is too large.
    """
    pipeline = {"apiVersion": api_version, "kind": "Pipeline", "spec": spec}
    packed = json.dumps(pipeline, sort_keys=True, separators=(",", ":")).replace("$", "\\u0024")
    if len(packed) > LARGEST:
        raise UnwrappableError(
            f"its Pipeline has {len(packed)} bytes, and no more than {LARGEST} travel with a run",
            subject=where,
            remedy="make it a Pipeline of its own, and refer to that",
        )
    return packed


def unpack_pipeline(packed: str, where: str) -> Object:
    """Return the Pipeline that `pack_pipeline` wrote.

    Raises:
        UnwrappableError: the text is not an encoded Pipeline.
    """
    try:
        pipeline = json.loads(packed)
    except (ValueError, RecursionError):
        pipeline = None
    if not isinstance(pipeline, Mapping) or pipeline.get("kind") != "Pipeline" or not mapping(pipeline, "spec", where):
        raise UnwrappableError(
            "it is no Pipeline as JSON",
            subject=where,
            remedy="write a pipelineSpec into the run, and ask for the wrapping with annotations",
        )
    return pipeline


def with_declarations(spec: Object, run: Run, where: str) -> dict[str, Any]:
    """Return the spec of a pipeline with declarations for everything that it uses of its run.

    Raises:
        UnwrappableError: a field has another type than Tekton's.
    """
    params, workspaces = objects(spec, "params", where), objects(spec, "workspaces", where)
    used = [name for name in mentioned(spec, "params") if name in run.params and named(params, name) is None]
    params = params + [_declaration(name, run.params[name]) for name in used]
    params = [_with_keys(param, spec, where) for param in params]
    known = {text(param, "name", where): param for param in params}
    for name in _mapped(spec, where):
        if named(workspaces, name) is None:
            workspaces = [*workspaces, {"name": name, **({} if name in run.bindings else {"optional": True})}]
    lists = {key: value for key, value in (("params", params), ("workspaces", workspaces)) if value}
    return {**change_tasks(spec, lambda task: _task(task, spec, known, where), where), **lists}


def _mapped(spec: Object, where: str) -> list[str]:
    """Return the pipeline's workspaces that its tasks use."""
    uses = [item for task in tasks_of(spec, where) for item in objects(task, "workspaces", where)]
    return list(dict.fromkeys(text(item, "workspace", where) or text(item, "name", where) for item in uses))


def _task(task: Object, spec: Object, known: Mapping[str, Object], where: str) -> Object:
    """Return a pipeline's task with declarations in its embedded spec for the parameters that the task passes to it."""
    embedded = mapping(task, "taskSpec", where)
    if is_custom(embedded):
        return task
    params = objects(embedded, "params", where)
    used = mentioned(embedded, "params")
    added = [
        _declaration(name, _value(param.get("value"), spec, known, where))
        for param in objects(task, "params", where)
        if (name := text(param, "name", where)) in used and name not in known and named(params, name) is None
    ]
    return {**task, "taskSpec": {**embedded, "params": [*params, *added]}} if added else task


def _with_keys(param: Object, spec: Object, where: str) -> Object:
    """Return the declaration of a mapping with the keys that tasks add to it for their own specs."""
    if param.get("type") != "object":
        return param
    passed = [
        given["value"]
        for task in tasks_of(spec, where)
        if mapping(task, "taskSpec", where)
        for given in objects(task, "params", where)
        if given.get("name") == param.get("name") and isinstance(given.get("value"), Mapping)
    ]
    properties, default = mapping(param, "properties", where), mapping(param, "default", where)
    more = [key for value in passed for key in value if key not in properties]
    if not more:
        return param
    # The run need not set these keys: no task reads them from the run.
    return {
        **param,
        "properties": {**properties, **_properties(more)},
        "default": {**dict.fromkeys(more, ""), **default},
    }


def _declaration(name: str, value: Any) -> dict[str, Any]:
    """Return the declaration of a parameter with the type of a value."""
    if isinstance(value, Mapping):
        return {"name": name, "type": "object", "properties": _properties(value)}
    return {"name": name, "type": "array" if isinstance(value, list) else "string"}


def _properties(keys: Collection[str]) -> dict[str, Any]:
    return {key: {"type": "string"} for key in keys}


def _value(value: Any, spec: Object, known: Mapping[str, Object], where: str) -> Any:
    """Return a value of the type that a parameter will have: `$(…[*])` becomes a list or a mapping."""
    entire = _ENTIRE.fullmatch(value.strip()) if isinstance(value, str) else None
    if entire is None:
        return value
    kind, _, path = canonical(entire[1]).partition(".")
    declaration = known.get(path, {})
    if kind == "tasks":
        name, _, result = path.partition(".results.")
        task = named(tasks_of(spec, where), name) or {}
        declaration = named(objects(mapping(task, "taskSpec", where), "results", where), result) or {}
    properties = mapping(declaration, "properties", where)
    return properties if declaration.get("type") == "object" or properties else []
