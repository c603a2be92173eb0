"""What one PipelineRun asks `agent render` for: a Pipeline, and a wrapping, from the run and the options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.tekton.frontends.given_objects import kind_and_name
from agent.tekton.frontends.wrap_annotations import without_annotations, wrap_run
from agent.tekton.lookup.bundle_rewrite import BundleRewrite
from agent.tekton.lookup.lookup import lookup_of
from agent.tekton.model.fields import Object, mapping, without
from agent.tekton.model.object_reference import Reference, reference_of
from agent.tekton.model.wrapping import OnConflict, Run, Settings, Wrapping, planned_run_of
from agent.tekton.requests.request import request_of
from agent.tekton.wrap.inline import pipeline_in_version
from agent.tekton.wrap.task import V1


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """The options of `agent render`. Each one that is given replaces what the objects say.

    Attributes:
        settings: what the steps need; see `Settings`.
        target, base, workspaces, on_conflict, step_timeout, patience, step_result: as in `Wrapping`; None or empty if
            they are not given.
        lookup: the bundle in which all runs look up their references.
        repointings: the bundles to replace by others.
    """

    settings: Settings
    target: str | None = None
    base: str | None = None
    workspaces: tuple[str, ...] = ()
    on_conflict: OnConflict | None = None
    step_timeout: str | None = None
    patience: str | None = None
    step_result: bool | None = None
    lookup: str | None = None
    bundle_rewrites: tuple[BundleRewrite, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A PipelineRun among the documents, and what it asks for.

    Attributes:
        index: its index.
        where: what to call it in an error.
        run: the run without the annotations and the reference that the webhook and the resolver act on.
        reference: the Pipeline that it names; empty if it holds its Pipeline.
        wrapping: how its Pipeline is to be wrapped, None if nothing is wrapped.
    """

    index: int
    where: str
    run: Object
    reference: Reference
    wrapping: Wrapping | None


def request_at(documents: Sequence[Object], index: int, options: RenderOptions) -> RunRequest:
    """Return what the PipelineRun at an index asks for.

    Raises:
        UsageError: an annotation is wrong.
        UnwrappableError: a field has another type than Tekton's, or a parameter of the resolver is wrong.
    """
    pipeline_run = documents[index]
    where = kind_and_name(pipeline_run)
    source, wrapping = _source_and_wrapping(pipeline_run, options, where)
    is_wrapped = _has_workspaces(wrapping, planned_run_of(pipeline_run))
    # A user who only replaces bundles need not want workspaces in images, and then gives no target.
    if not wrapping.target and (options.bundle_rewrites or lookup_of(pipeline_run, where)):
        is_wrapped = False
    run = without_annotations(pipeline_run, where)
    if isinstance(source, Reference):
        return RunRequest(index, where, run, source, wrapping if is_wrapped else None)
    versions = source.get("apiVersion") == V1, run.get("apiVersion") == V1
    embedded = pipeline_in_version(mapping(source, "spec", where), *versions, where)
    run = {**run, "spec": {**without(run["spec"], "pipelineRef"), "pipelineSpec": embedded}}
    return RunRequest(index, where, run, Reference(), wrapping if is_wrapped else None)


def _source_and_wrapping(
    pipeline_run: Object, options: RenderOptions, where: str
) -> tuple[Reference | Object, Wrapping]:
    source: Reference | Object
    request = request_of(wrap_run(pipeline_run, where), options.settings)
    if request is not None:
        source, wrapping = request.source, request.wrapping
    else:
        source = reference_of(mapping(mapping(pipeline_run, "spec", where), "pipelineRef", where), where)
        wrapping = Wrapping(options.settings, target="")
    return source, replace(wrapping, form="inline", **_replacements(options))


def _replacements(options: RenderOptions) -> dict[str, Any]:
    fields = {
        "target": options.target,
        "base": options.base,
        "workspaces": options.workspaces or None,
        "on_conflict": options.on_conflict,
        "step_timeout": options.step_timeout,
        "patience": options.patience,
        "step_result": options.step_result,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _has_workspaces(wrapping: Wrapping, run: Run) -> bool:
    if wrapping.workspaces is not None:
        return bool(wrapping.workspaces)
    return any(binding.get("emptyDir") is not None for binding in run.bindings.values())
