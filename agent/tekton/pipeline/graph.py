"""A pipeline's graph: task order and matrix sizes (tekton: PipelineTaskResultRefs, CountCombinations)."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from agent.errors import UnwrappableError
from agent.tekton.model.fields import Object, mapping, objects, text
from agent.tekton.model.variables import mentioned, strings

ENTIRE = "[*]"


def dependencies(tasks: list[Object], where: str) -> dict[str, list[str]]:
    """Return the tasks that each task waits for, by `runAfter` and by results, in topological order.

    Raises:
        UnwrappableError: the tasks wait for each other in a circle, or a field has another type than Tekton's.
    """
    names = [text(task, "name", where) for task in tasks]
    waits = {name: _waits_for(task, names, where) for name, task in zip(names, tasks, strict=True)}
    return {name: waits[name] for name in _order(waits, where)}


def combinations(task: Object, params: Mapping[str, Any], where: str) -> int | None:
    """Return the number of TaskRuns of a task, None if it depends on a result or an unknown parameter.

    Args:
        params: the known values of the pipeline's parameters.
    """
    matrix = mapping(task, "matrix", where)
    if not matrix:
        return 1
    lengths: list[int] = []
    values: dict[str, list[Any]] = {}
    for param in objects(matrix, "params", where):
        found = _array(param.get("value"), params)
        if found is None:
            return None
        values[text(param, "name", where)] = found
        lengths += [len(found)] if found else []
    include = objects(matrix, "include", where)
    if not values:
        return len(include)
    return prod(lengths) + sum(_new_combinations(item, values, where) for item in include)


def _waits_for(task: Object, names: list[str], where: str) -> list[str]:
    embedded = mapping(task, "taskSpec", where)
    matrix = mapping(task, "matrix", where)
    read = [task.get("params"), task.get("when"), matrix.get("params"), matrix.get("include")]
    read += [embedded.get("steps"), embedded.get("sidecars")]
    found = [*strings(task.get("runAfter")), *mentioned(read, "tasks")]
    return [name for name in dict.fromkeys(found) if name in names]


def _order(waits: Mapping[str, list[str]], where: str) -> list[str]:
    order: dict[str, None] = {}
    while len(order) < len(waits):
        ready = [name for name in waits if name not in order and order.keys() >= set(waits[name])]
        if not ready:
            raise UnwrappableError(
                "these tasks wait for each other in a circle",
                subject=f"{where}, {', '.join(name for name in waits if name not in order)}",
                remedy="break the circle in runAfter, or in the results that they use",
            )
        order.update(dict.fromkeys(ready))
    return list(order)


def _array(value: Any, params: Mapping[str, Any]) -> list[Any] | None:
    if isinstance(value, str):
        names = mentioned(value, "params")
        value = params.get(names[0]) if names and value.strip().endswith(ENTIRE + ")") else None
    if not isinstance(value, list) or any(ENTIRE in item for item in value if isinstance(item, str)):
        return None
    return value


def _new_combinations(include: Object, values: Mapping[str, list[Any]], where: str) -> int:
    count = 0
    for param in objects(include, "params", where):
        name = text(param, "name", where)
        if name in values:
            if param.get("value") in values[name]:
                break
            count += 1
    return count
