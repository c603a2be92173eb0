"""What Tekton demands of a Pipeline that a resolver answers with, and not of one that is written into a run.

tekton: Pipeline.Validate, validatePipelineParameterUsage, validatePipelineWorkspacesUsage.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_PARAM = re.compile(r"""\$\(params(?:\.([^.()\[]+)[^()]*|\[["']([^"']+)["']\][^()]*)\)""")
_STEP_FIELDS = ("name", "image", "workingDir", "script", "command", "args", "env", "volumeMounts", "onError")


def problems_of_pipeline(spec: dict[str, Any]) -> Iterator[str]:
    """Yield what Tekton's dry run would refuse: parameters and workspaces that are used and not declared."""
    declared = {param["name"] for param in spec.get("params", [])}
    workspaces = {workspace["name"] for workspace in spec.get("workspaces", [])}
    for task in [*spec.get("tasks", []), *spec.get("finally", [])]:
        matrix = task.get("matrix", {})
        for name in _used([task.get("params"), task.get("when"), matrix]):
            if name not in declared:
                yield f"task {task['name']}: params.{name}"
        embedded = task.get("taskSpec", {})
        if "apiVersion" not in embedded:
            own = {param["name"] for param in embedded.get("params", [])}
            steps = [{key: step.get(key) for key in _STEP_FIELDS} for step in embedded.get("steps", [])]
            for name in _used(steps):
                if name not in declared | own:
                    yield f"task {task['name']}, steps: params.{name}"
        for mapped in task.get("workspaces", []):
            if mapped.get("workspace", mapped["name"]) not in workspaces:
                yield f"task {task['name']}: workspace {mapped}"


def _used(value: Any) -> set[str]:
    if isinstance(value, str):
        return {match[1] or match[2] for match in _PARAM.finditer(value)}
    if isinstance(value, dict):
        value = list(value.values())
    return set().union(*map(_used, value)) if isinstance(value, list) else set()
