"""`agent render` for runs with a lookup: everything that they name is found now and written into them.

What comes out needs neither the lookup nor a controller: Tasks stand where they were named, and what stays a reference
to a bundle has its digest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agent.core.spelling.reference import LayoutReference, parse_reference
from agent.errors import NotInBundleError, UnwrappableError
from agent.tekton.lookup.lookup import CLUSTER
from agent.tekton.lookup.lookup_answer import answer, not_found
from agent.tekton.lookup.lookup_request import LABELS, LookupRequest, request_in, rewrite_run
from agent.tekton.lookup.repoint import Repointing, repoint
from agent.tekton.model.fields import Object, mapping, objects, text, without
from agent.tekton.model.groups import change_tasks, is_custom
from agent.tekton.model.names import BUNDLES, LOOKUP_BUNDLE, WRAPPERS
from agent.tekton.model.object_reference import Reference
from agent.tekton.model.variables import replace_strings
from agent.tekton.model.wrapping import planned_run_of
from agent.tekton.requests.bundle_image import Member
from agent.tekton.requests.redirect import redirect_pipeline, redirect_run, redirect_task
from agent.tekton.requests.request import asked_pipeline
from agent.tekton.wrap.inline import in_version, inline_task, with_task_name
from agent.tekton.wrap.task import V1

DEEPEST = 20
"""Pipelines in Pipelines: who has more refers to himself."""

_PIPELINE_NAME = re.compile(r"\$\(\s*context\.pipeline\.name\s*\)")


class Bundles(Protocol):
    """Bundles, and what is in them. All methods raise AgentError where a bundle cannot be read."""

    def get(self, place: str, kind: str, name: str) -> dict[str, Any]:
        """Return an object.

        Raises:
            NotInBundleError: the bundle was read, and lacks it.
        """

    def held(self, place: str) -> Sequence[Member]:
        """Return what a bundle holds."""

    def digest(self, place: str) -> str:
        """Return a bundle's digest."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything is found.

    Attributes:
        given: finds an object (kind, reference) among the files, which stand for the namespace and for what resolvers
            other than `bundles` find.
        repointings: what becomes of the bundles that found objects name.
    """

    bundles: Bundles
    given: Callable[[str, Reference], Object | None]
    repointings: Sequence[Repointing] = ()

    def find(self, asked: LookupRequest, where: str) -> dict[str, Any]:
        """Return an object as the resolver `lookup` answers it.

        Args:
            where: what refers to it.

        Raises:
            NotInBundleError: it is in none of the places.
            UnwrappableError: it names its own source, which cannot be asked here.
            AgentError: a bundle cannot be read.
        """
        if asked.source is not None:
            value, origin = self._from_source(asked.source, asked.kind, where)
            return self._answer(value, asked, "", origin)
        held: dict[str, Sequence[Member]] = {}
        for place in asked.lookup.places:
            if place == CLUSTER:
                found = self.given(LABELS[asked.kind], Reference(asked.name))
                if found is not None:
                    return self._answer(found, asked, place, {})
                continue
            try:
                value = self.bundles.get(place, asked.kind, asked.name)
            except NotInBundleError:
                held[place] = self.bundles.held(place)
                continue
            return self._answer(value, asked, place, self._origin(place))
        raise not_found(asked, held, where)

    def place_of(self, asked: LookupRequest, where: str) -> str:
        """Return the first place that has an object."""
        for place in asked.lookup.places:
            held = [] if place == CLUSTER else self.bundles.held(place)
            if any((member.kind, member.name) == (asked.kind, asked.name) for member in held):
                return place
        if CLUSTER in asked.lookup.places:
            return CLUSTER
        raise not_found(asked, {place: self.bundles.held(place) for place in asked.lookup.places}, where)

    def pinned(self, place: str) -> str:
        """Return a bundle with its digest; what holds a variable stays as it is."""
        if "$(" in place or parse_reference(place).digest is not None:
            return place
        return f"{place}@{self.bundles.digest(place)}"

    def _answer(self, value: Object, asked: LookupRequest, place: str, origin: Object) -> dict[str, Any]:
        return answer(repoint(value, self.repointings), asked, place, origin)

    def _origin(self, place: str) -> Object:
        algorithm, _, value = self.bundles.digest(place).partition(":")
        return {"uri": place, "digest": {algorithm: value}}

    def _from_source(self, source: Reference, kind: str, where: str) -> tuple[Object, Object]:
        params = {name: json.loads(value) for name, value in source.params}
        place, name = params.get("bundle"), params.get("name")
        if source.resolver == BUNDLES and isinstance(place, str) and isinstance(name, str) and "$(" not in place + name:
            return self.bundles.get(place, kind, name), self._origin(place)
        found = self.given(LABELS[kind], source)
        if found is None:
            # Left as it is, it could name objects of the namespace.
            raise UnwrappableError(
                "it is not among the files",
                subject=f"{where}, {LABELS[kind]} {source}",
                remedy="give the file that has it, too, or let the controller look it up",
            )
        return found, {}


def self_contained(run: Object, places: Places, where: str) -> dict[str, Any]:
    """Return a PipelineRun or TaskRun with all that it looks up written into it.

    Raises:
        NotInBundleError: something is in none of the places.
        UsageError: something cannot be written into it.
        AgentError: a bundle cannot be read.
    """
    run = rewrite_run(run)
    meta = mapping(run, "metadata", where)
    annotations = without(mapping(meta, "annotations", where), LOOKUP_BUNDLE)
    run["metadata"] = {**without(meta, "annotations"), **({"annotations": annotations} if annotations else {})}
    write_in = _pipeline_run if run.get("kind") == "PipelineRun" else _task_run
    return write_in(run, places, where)


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
        return redirect_run(run, _pinning(places), where)
    task = places.find(asked, where)
    name = text(mapping(task, "metadata", where), "name", where)
    place = f"{where}, Task {name}"
    found = in_version(mapping(task, "spec", place), task.get("apiVersion") == V1, run.get("apiVersion") == V1, place)
    found = redirect_task(with_task_name(found, name), _pinning(places), place)
    rest = without(spec, "taskRef")
    return {**run, "metadata": _metadata(run, task, place), "spec": {"taskSpec": found, **rest}}


def _pipeline_spec(pipeline: Object, run: Object, places: Places, where: str) -> tuple[str, Object]:
    """Return what to call a Pipeline in an error, and its spec, to be written in."""
    name = text(mapping(pipeline, "metadata", where), "name", where)
    where = f"{where}, Pipeline {name}"
    if where.count(", Pipeline ") > DEEPEST:
        raise UnwrappableError("it holds itself", subject=where[:300], remedy="take it out of itself")
    spec = mapping(pipeline, "spec", where)
    # Written in, the variable would be the run's name.
    named: Object = replace_strings(spec, lambda found: _PIPELINE_NAME.sub(lambda _: name, found))
    return where, _tasks_in(named, run, places, pipeline.get("apiVersion") == V1, where)


def _tasks_in(spec: Object, run: Object, places: Places, has_v1: bool, where: str) -> Object:
    """Return the spec of a pipeline with all that its tasks look up written in, in the run's version."""
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

    return redirect_pipeline(change_tasks(spec, task, where), _pinning(places), where)


def _pinning(places: Places) -> Callable[[str, Object, str], Object]:
    """Return the change of references by which those that stay name bundles by digest."""

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
    """Return a run's metadata with what Tekton copies to it from the Pipeline or Task; the run's own goes first."""
    own, theirs = mapping(run, "metadata", where), mapping(found, "metadata", where)
    merged = {
        key: {**mapping(theirs, key, where), **mapping(own, key, where)}
        for key in ("labels", "annotations")
        if key in own or key in theirs
    }
    return {**own, **merged}
