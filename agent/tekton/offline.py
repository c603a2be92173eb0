"""`agent render`: what the resolver and the custom task would do, for objects in files and without a cluster.

Each PipelineRun gets its Pipeline rewritten where that stands; Tasks are written into it, so that nothing is left that
only the resolver could answer. The run's name and uid stay Tekton's variables.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.errors import UnwrappableError
from agent.tekton.fields import Object, mapping
from agent.tekton.launch import is_oci_pipeline, launch, name_of
from agent.tekton.pipeline import references_to_inline, wrap_pipeline_spec
from agent.tekton.reference import Reference, reference_of
from agent.tekton.request import request_of
from agent.tekton.scene import Tasks
from agent.tekton.task import V1
from agent.tekton.wrapping import OnConflict, Run, Settings, Wrapping, planned_run_of


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asks for beside what the objects say; the objects' own words are replaced by it."""

    settings: Settings
    target: str | None = None
    base: str | None = None
    workspaces: tuple[str, ...] = ()
    on_conflict: OnConflict | None = None


def render(documents: Sequence[Object], wish: Wish) -> list[Object]:
    """Return the objects, with every CustomRun of ours launched and every Pipeline that a run is there for wrapped.

    Raises:
        UnwrappableError: something cannot be wrapped, or is not among the objects.
    """
    rendered = [launch(document) if is_oci_pipeline(document) else document for document in documents]
    wrapped: dict[int, Object] = {}
    for index, document in enumerate(rendered):
        if document.get("kind") == "PipelineRun":
            _render_run(rendered, index, wish, wrapped)
    return [wrapped.get(index, document) for index, document in enumerate(rendered)]


def _render_run(documents: Sequence[Object], index: int, wish: Wish, wrapped: dict[int, Object]) -> None:
    """Put the wrapped Pipeline of a run, and the run if it changes, into `wrapped`."""
    pipeline_run = documents[index]
    where = f"PipelineRun {name_of(pipeline_run, 'PipelineRun') or '(to be named)'}"
    run = planned_run_of(pipeline_run)
    reference, wrapping = _wanted(pipeline_run, wish, where)
    if not _has_work(wrapping, run):
        return
    spec = mapping(pipeline_run, "spec", where)
    if mapping(spec, "pipelineSpec", where):
        inner = _wrap(mapping(spec, "pipelineSpec", where), pipeline_run, wrapping, run, documents, where)
        wrapped[index] = {**pipeline_run, "spec": {**spec, "pipelineSpec": inner}}
        return
    place = _find(documents, reference, where)
    pipeline = documents[place]
    name = f"Pipeline {name_of(pipeline, 'Pipeline')}"
    found = {**pipeline, "spec": _wrap(mapping(pipeline, "spec", name), pipeline, wrapping, run, documents, name)}
    if wrapped.setdefault(place, found) != found:
        raise UnwrappableError(
            f"another run here has it wrapped otherwise than {where}",
            subject=name,
            remedy="render the runs one at a time, or give them the same workspaces and target",
        )
    if mapping(spec, "pipelineRef", where).get("resolver"):
        wrapped[index] = {**pipeline_run, "spec": {**spec, "pipelineRef": {"name": name_of(pipeline, name)}}}


def _wrap(
    spec: Object, holder: Object, wrapping: Wrapping, run: Run, documents: Sequence[Object], where: str
) -> Object:
    is_pipeline = holder.get("kind") == "Pipeline"
    annotations = mapping(mapping(holder, "metadata", where), "annotations", where) if is_pipeline else {}
    is_v1 = holder.get("apiVersion") == V1
    tasks: Tasks = {
        reference: documents[place]
        for reference in references_to_inline(spec, wrapping, run, where=where)
        if (place := _place(documents, "Task", reference)) is not None
    }
    return wrap_pipeline_spec(spec, wrapping, run, tasks, annotations=annotations, is_v1=is_v1, where=where)


def _wanted(pipeline_run: Object, wish: Wish, where: str) -> tuple[Reference, Wrapping]:
    request = request_of(pipeline_run, wish.settings)
    if request is not None:
        reference, wrapping = request.reference, request.wrapping
    else:
        reference = reference_of(mapping(mapping(pipeline_run, "spec", where), "pipelineRef", where), where)
        wrapping = Wrapping(wish.settings, target="")
    return reference, replace(wrapping, form="inline", **_replaced(wish))


def _replaced(wish: Wish) -> dict[str, Any]:
    fields = {
        "target": wish.target,
        "base": wish.base,
        "workspaces": wish.workspaces or None,
        "on_conflict": wish.on_conflict,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _has_work(wrapping: Wrapping, run: Run) -> bool:
    if wrapping.workspaces is not None:
        return bool(wrapping.workspaces)
    return any(binding.get("emptyDir") is not None for binding in run.bindings.values())


def _find(documents: Sequence[Object], reference: Reference, where: str) -> int:
    place = _place(documents, "Pipeline", reference)
    if place is None:
        raise UnwrappableError(
            f"its Pipeline, {reference}, is not among the files" if str(reference) else "it names no Pipeline",
            subject=where,
            remedy="give the file that has it, too",
        )
    return place


def _place(documents: Sequence[Object], kind: str, reference: Reference) -> int | None:
    """Return where the object of a reference is; one for a resolver is known by its name, or that of its file."""
    name = reference.name or _last_name(reference)
    for index, document in enumerate(documents):
        if name and document.get("kind") == kind and name_of(document, kind) == name:
            return index
    return None


def _last_name(reference: Reference) -> str:
    params = {name: json.loads(value) for name, value in reference.params}
    found = next((params[key] for key in ("name", "pathInRepo", "url") if isinstance(params.get(key), str)), "")
    return found.rsplit("/", 1)[-1].removesuffix(".yaml").removesuffix(".yml")
