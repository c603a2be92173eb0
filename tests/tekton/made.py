"""Small Tekton objects for tests."""

from __future__ import annotations

import json
from typing import Any

from agent.tekton.model.object_reference import Reference
from agent.tekton.model.wrapping import Run, Settings, Wrapping, run_of
from agent.tekton.pipeline.wrap_pipeline import wrap_pipeline_spec

SETTINGS = Settings(image="reg.io/agent:1")
TARGET = "reg.io/ws-{{workspace}}:$(context.pipelineRun.name)"
UID = "0b3f"


def task(name: str, *after: str, **fields: Any) -> dict[str, Any]:
    """A pipeline's task with an embedded spec of one step that uses workspace `ws`."""
    found = {"name": name, "workspaces": [{"name": "ws"}], "taskSpec": spec(), **fields}
    return found | ({"runAfter": list(after)} if after else {})


def spec(**fields: Any) -> dict[str, Any]:
    return {"workspaces": [{"name": "ws"}], "steps": [{"name": "work", "image": "a", "command": ["c"]}], **fields}


def pipeline(*tasks: dict[str, Any], last: tuple[dict[str, Any], ...] = (), **fields: Any) -> dict[str, Any]:
    found = {"workspaces": [{"name": "ws"}], "tasks": list(tasks), **fields}
    return found | ({"finally": list(last)} if last else {})


def pipeline_run(**fields: Any) -> dict[str, Any]:
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "run-1", "namespace": "ci", "uid": UID},
        "spec": {"workspaces": [{"name": "ws", "emptyDir": {}}], **fields},
    }


def a_run(**fields: Any) -> Run:
    return run_of(pipeline_run(**fields))


def wrap(found: dict[str, Any], run: Run | None = None, **options: Any) -> dict[str, Any]:
    known = options.pop("known", None)
    wrapping = Wrapping(SETTINGS, **{"target": TARGET, **options})
    return dict(wrap_pipeline_spec(found, wrapping, run or a_run(), known, is_v1=True, where="Pipeline p"))


def steps_of(wrapped: dict[str, Any], name: str) -> list[dict[str, Any]]:
    group = [*wrapped["tasks"], *wrapped.get("finally", [])]
    return next(found["taskSpec"]["steps"] for found in group if found["name"] == name)


def argument(wrapped: dict[str, Any], name: str) -> dict[str, Any]:
    """What the agent's steps of a task are told."""
    told = [json.loads(step["args"][2]) for step in steps_of(wrapped, name) if step["name"].startswith("instep-")]
    assert told
    told[-1].pop("step-result", None)  # only the push has one
    assert all(one == told[0] for one in told)
    return dict(told[0])


def after(wrapped: dict[str, Any], name: str) -> list[str]:
    """The lanes that a task's pull names, without the run's uid; ['-'] if there is nothing to pull."""
    assert any(step["name"] == "instep-pull" for step in steps_of(wrapped, name))
    workspace = argument(wrapped, name)["workspaces"][0]
    return ["-"] if "fresh" in workspace else [lane.removeprefix(f"{UID}/") for lane in workspace.get("after", [])]


def the_task(name: str = "t", **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": name}, "spec": spec(**fields)}


def known(*tasks: dict[str, Any]) -> dict[Reference, Any]:
    return {Reference(found["metadata"]["name"]): found for found in tasks}
