"""Tekton's own schemas (crds/), made as strict as its decoder: a field that they do not have is an error."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

CRDS = Path(__file__).parent / "crds"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FILES = {
    "Pipeline": "300-pipeline.yaml",
    "PipelineRun": "300-pipelinerun.yaml",
    "Task": "300-task.yaml",
    "TaskRun": "300-taskrun.yaml",
    "StepAction": "300-stepaction.yaml",
    "CustomRun": "300-customrun.yaml",
    "ResolutionRequest": "300-resolutionrequest.yaml",
}


def check(value: dict[str, Any]) -> None:
    """Fail unless an object is valid, and every spec that stands in it, which the CRDs leave open."""
    problems = list(problems_of(value))
    assert not problems, "\n".join(problems)


def problems_of(value: dict[str, Any]) -> Iterator[str]:
    if value["kind"] not in _FILES or not value["apiVersion"].partition("/")[0].endswith("tekton.dev"):
        return
    for error in _validator(value["kind"], value["apiVersion"]).iter_errors(_with_names(value)):
        yield f"{value['kind']} {error.json_path}: {error.message[:300]}"
    spec = value["spec"]
    if "pipelineSpec" in spec:
        yield from problems_of(_as("Pipeline", spec["pipelineSpec"], value))
    if value["kind"] == "TaskRun" and "taskSpec" in spec:
        yield from problems_of(_as("Task", spec["taskSpec"], value))
    if value["kind"] == "Pipeline":
        for task in [*spec.get("tasks", []), *spec.get("finally", [])]:
            embedded = {key: item for key, item in task.get("taskSpec", {}).items() if key != "metadata"}
            if embedded and "kind" not in embedded:
                yield from problems_of(_as("Task", embedded, value))


def _as(kind: str, spec: dict[str, Any], holder: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": holder["apiVersion"], "kind": kind, "metadata": {}, "spec": spec}


def _with_names(value: dict[str, Any]) -> dict[str, Any]:
    """Return a Task as Tekton's webhook leaves it, which names the nameless steps before the CRD requires it."""
    if value["kind"] != "Task":
        return value
    return {**value, "spec": {**value["spec"], "steps": [{"name": "", **step} for step in value["spec"]["steps"]]}}


@cache
def _validator(kind: str, api_version: str) -> jsonschema.Draft202012Validator:
    crd = yaml.load((CRDS / _FILES[kind]).read_bytes(), Loader=_LOADER)
    versions = {version["name"]: version for version in crd["spec"]["versions"]}
    return jsonschema.Draft202012Validator(
        _strict(versions[api_version.partition("/")[2]]["schema"]["openAPIV3Schema"])
    )


def _strict(schema: Any) -> Any:
    """Return a structural schema as JSON Schema that knows no other fields."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {
        key: {name: _strict(item) for name, item in value.items()} if key == "properties" else _strict(value)
        for key, value in schema.items()
        if key not in ("description", "default", "example") and not key.startswith("x-")
    }
    if schema.get("x-kubernetes-int-or-string"):
        found.pop("type", None)
        found["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if "properties" in schema and not is_open:
        found["additionalProperties"] = False
    return found
