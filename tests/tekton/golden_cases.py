"""The pipelines of golden/, and what is made of them. `make golden` writes the files anew: then read the diff."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from agent.tekton.controlplane.launch_run import is_oci_pipeline, launch
from agent.tekton.frontends.render_objects import render
from agent.tekton.frontends.render_request import RenderOptions
from agent.tekton.model import documents
from agent.tekton.model.object_reference import Reference
from agent.tekton.model.wrapping import Settings, Wrapping, run_of
from agent.tekton.pipeline.wrap_pipeline import wrap_pipeline, wrap_pipeline_spec
from agent.tekton.requests.request import PipelineRequest, TaskRequest, parse_request, request_of
from agent.tekton.wrap.task import wrap_task

HERE = Path(__file__).parent / "golden"
CASES = sorted(path.name for path in HERE.iterdir())
SETTINGS = Settings(image="reg.example.com/agent:1")
TARGET = "reg.example.com/ws/{{workspace}}:$(context.pipelineRun.name)"


def given(case: str) -> list[dict[str, Any]]:
    return documents.read((HERE / case / "given.yaml").read_text(), case)


def rendered(case: str) -> list[Any]:
    """What `agent render` makes of it."""
    found = given(case)
    says_where = any(is_oci_pipeline(item) or request_of_any(item) for item in found)
    return render(found, RenderOptions(SETTINGS, target=None if says_where else TARGET))


def request_of_any(item: dict[str, Any]) -> PipelineRequest | None:
    return request_of(item, SETTINGS) if item["kind"] == "PipelineRun" else None


def answers(case: str) -> list[Any]:
    """What the resolver answers: the Pipeline for the run, then each Task that the answer asks for."""
    found = given(case)
    answered: list[Any] = []
    for item in found:
        run_object = launch(item) if is_oci_pipeline(item) else item
        if run_object["kind"] != "PipelineRun":
            continue
        meta = {"name": f"{case}-run", **run_object["metadata"], "uid": f"uid-of-{case}", "namespace": "ci"}
        run = run_of({**run_object, "metadata": meta})
        request = request_of(run_object, SETTINGS)
        wrapping = request.wrapping if request else Wrapping(SETTINGS, TARGET)
        if "pipelineSpec" in run_object["spec"]:
            spec = wrap_pipeline_spec(
                run_object["spec"]["pipelineSpec"], wrapping, run, is_v1=True, where=f"PipelineRun {run.name}"
            )
            pipeline = {"apiVersion": run_object["apiVersion"], "kind": "Pipeline", "metadata": {}, "spec": spec}
        else:
            name = request.source.name if request else run_object["spec"]["pipelineRef"]["name"]
            tasks = {Reference(item["metadata"]["name"]): item for item in found if item["kind"] == "Task"}
            pipeline = wrap_pipeline(named(found, "Pipeline", name), wrapping, run, tasks)
        answered += [pipeline, *(answer_task(found, task) for task in asked(pipeline))]
    return answered


def asked(pipeline: dict[str, Any]) -> list[TaskRequest]:
    found = []
    for task in [*pipeline["spec"]["tasks"], *pipeline["spec"].get("finally", [])]:
        if task.get("taskRef", {}).get("resolver") == "wrap":
            request = parse_request(task["taskRef"]["params"], SETTINGS)
            assert isinstance(request, TaskRequest)
            found.append(request)
    return found


def answer_task(found: list[dict[str, Any]], request: TaskRequest) -> dict[str, Any]:
    name = request.reference.name or "git-clone"
    assert request.reference == Reference(name=name) or request.reference.resolver == "git"
    return wrap_task(named(found, "Task", name), request.plan)


def named(found: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(item for item in found if item["kind"] == kind and item["metadata"].get("name") == name)


def compare(case: str, name: str, made: list[Any]) -> None:
    """Fail unless a golden file holds what was made; with INSTEP_GOLDEN set, write it."""
    path = HERE / case / name
    text = documents.write(made)
    if os.environ.get("INSTEP_GOLDEN"):
        path.write_text(text)
    assert path.read_text() == text, f"{case}/{name} is not what is made now; see `make golden`"
