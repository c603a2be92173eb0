"""`agent render` for runs with a lookup: the objects that they name are looked up and written into them.

The result needs neither the lookup nor a controller. Tasks take the place of the references to them. References to
bundles that remain get a digest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from agent.core.spelling.reference import LayoutReference, parse_reference
from agent.errors import UnwrappableError
from agent.tekton.frontends.lookup_places import Places
from agent.tekton.lookup.lookup import CLUSTER
from agent.tekton.lookup.lookup_request import LookupRequest, request_in, rewrite_run
from agent.tekton.model.fields import Object, mapping, objects, text, without
from agent.tekton.model.names import BUNDLES, LOOKUP_BUNDLE, WRAPPERS
from agent.tekton.model.pipeline_tasks import change_tasks, is_custom
from agent.tekton.model.variables import replace_strings
from agent.tekton.model.wrapping import planned_run_of
from agent.tekton.requests.reference_change import (
    change_pipeline_references,
    change_run_references,
    change_task_references,
)
from agent.tekton.requests.request import asked_pipeline
from agent.tekton.wrap.inline import in_version, inline_task, with_task_name
from agent.tekton.wrap.task import V1

DEEPEST = 20
"""Levels of Pipelines in Pipelines. One with more levels contains itself."""

_PIPELINE_NAME = re.compile(r"\$\(\s*context\.pipeline\.name\s*\)")


def self_contained(run: Object, places: Places, where: str) -> dict[str, Any]:
    """Return a PipelineRun or TaskRun with every object that it looks up written into it.

    Raises:
        NotInBundleError: an object is in none of the places.
        UsageError: an object cannot be written into it.
        AgentError: a bundle cannot be read.
    """
    run = rewrite_run(run)
    meta = mapping(run, "metadata", where)
    annotations = without(mapping(meta, "annotations", where), LOOKUP_BUNDLE)
    run["metadata"] = {**without(meta, "annotations"), **({"annotations": annotations} if annotations else {})}
    write_into = _pipeline_run if run.get("kind") == "PipelineRun" else _task_run
    return write_into(run, places, where)


def _pipeline_run(run: Object, places: Places, where: str) -> dict[str, Any]:
    spec = mapping(run, "spec", where)
    reference = mapping(spec, "pipelineRef", where)
    if reference.get("resolver") in WRAPPERS:
        wrapped = asked_pipeline(objects(reference, "params", where))
        reference = wrapped.to_object() if wrapped else {}
    asked = request_in(reference)
    if asked is None:
        embedded = _tasks_in(mapping(spec, "pipelineSpec", where), run, places, run.get("apiVersion") == V1, where)
        return {**run, "spec": {**spec, "pipelineSpec": embedded}} if embedded else dict(run)
    pipeline = places.find(asked, where)
    name, embedded = _pipeline_spec(pipeline, run, places, where)
    rest = without(spec, "pipelineRef")
    return {**run, "metadata": _metadata(run, pipeline, name), "spec": {"pipelineSpec": embedded, **rest}}


def _task_run(run: Object, places: Places, where: str) -> dict[str, Any]:
    spec = mapping(run, "spec", where)
    asked = request_in(mapping(spec, "taskRef", where))
    if asked is None:
        return change_run_references(run, _pinning(places), where)
    task = places.find(asked, where)
    name = text(mapping(task, "metadata", where), "name", where)
    place = f"{where}, Task {name}"
    found = in_version(mapping(task, "spec", place), task.get("apiVersion") == V1, run.get("apiVersion") == V1, place)
    found = change_task_references(with_task_name(found, name), _pinning(places), place)
    rest = without(spec, "taskRef")
    return {**run, "metadata": _metadata(run, task, place), "spec": {"taskSpec": found, **rest}}


def _pipeline_spec(pipeline: Object, run: Object, places: Places, where: str) -> tuple[str, Object]:
    """Return what to call a Pipeline in an error, and its spec with everything that it looks up written into it."""
    name = text(mapping(pipeline, "metadata", where), "name", where)
    where = f"{where}, Pipeline {name}"
    if where.count(", Pipeline ") > DEEPEST:
        raise UnwrappableError("it holds itself", subject=where[:300], remedy="take it out of itself")
    spec = mapping(pipeline, "spec", where)
    # In a run, the variable would be the run's name.
    named: Object = replace_strings(spec, lambda found: _PIPELINE_NAME.sub(lambda _: name, found))
    return where, _tasks_in(named, run, places, pipeline.get("apiVersion") == V1, where)


def _tasks_in(spec: Object, run: Object, places: Places, has_v1: bool, where: str) -> Object:
    """Return the spec of a pipeline with every object that its tasks look up written into it, in the run's version."""
    facts = planned_run_of(run)
    params = {text(param, "name", where) for param in objects(spec, "params", where)} | facts.params.keys()
    is_v1 = run.get("apiVersion") == V1

    def task(found: Object) -> Object:
        place = f"{where}, task {text(found, 'name', where)}"
        asked = request_in(mapping(found, "taskRef", place))
        if asked is not None and asked.kind == "task":
            value = places.find(asked, place)
            return inline_task(found, value, params=params, bound=facts.bindings.keys(), is_v1=is_v1, where=place)
        if found.get("taskSpec") is not None and not is_custom(found["taskSpec"]):
            return {**found, "taskSpec": in_version(mapping(found, "taskSpec", place), has_v1, is_v1, place)}
        asked = request_in(mapping(found, "pipelineRef", place))
        if asked is not None:
            _, nested = _pipeline_spec(places.find(asked, place), run, places, place)
            return {**without(found, "pipelineRef"), "pipelineSpec": nested}
        if found.get("pipelineSpec") is not None:
            return {
                **found,
                "pipelineSpec": _tasks_in(mapping(found, "pipelineSpec", place), run, places, has_v1, place),
            }
        return found

    return change_pipeline_references(change_tasks(spec, task, where), _pinning(places), where)


def _pinning(places: Places) -> Callable[[str, Object, str], Object]:
    """Return the change of references that gives those that remain the digests of their bundles."""

    def change(kind: str, reference: Object, where: str) -> Object:
        asked = request_in(reference)
        if asked is not None and kind == "stepaction":
            place = places.place_of(asked, where)
            if place == CLUSTER:
                return {"name": asked.name}
            if isinstance(parse_reference(place), LayoutReference):
                raise UnwrappableError(
                    "a StepAction stays a reference, and the bundle that has it is a directory",
                    subject=where,
                    remedy="push the bundle to a registry",
                )
            return asked.in_bundle(places.pinned(place)).to_object()
        if asked is not None:
            lookup = asked.lookup
            for place in lookup.places:
                if place != CLUSTER:
                    lookup = lookup.pinned(place, places.bundles.digest(place))
            return LookupRequest(lookup, asked.kind, asked.name, asked.source, asked.service_account).to_object()
        if reference.get("resolver") != BUNDLES:
            return reference
        params = [
            {**param, "value": places.pinned(param["value"])} if _names_bundle(param) else param
            for param in objects(reference, "params", where)
        ]
        return {**reference, "params": params}

    return change


def _names_bundle(param: Object) -> bool:
    return param.get("name") == "bundle" and isinstance(param.get("value"), str)


def _metadata(run: Object, found: Object, where: str) -> dict[str, Any]:
    """Return a run's metadata with what Tekton copies from its Pipeline or Task. The run's own values win."""
    own, theirs = mapping(run, "metadata", where), mapping(found, "metadata", where)
    merged = {
        key: {**mapping(theirs, key, where), **mapping(own, key, where)}
        for key in ("labels", "annotations")
        if key in own or key in theirs
    }
    return {**own, **merged}
