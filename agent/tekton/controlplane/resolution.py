"""The resolution of a ResolutionRequest for the resolvers `wrap` and `lookup`, from the request to its answer."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.errors import AgentError, UnwrappableError
from agent.remedy import Place
from agent.tekton.controlplane.effects import (
    AskResolver,
    Effect,
    GetObject,
    PinDigest,
    RequestAnswer,
    Resolution,
    WaitForResolver,
    answered,
    is_answered,
    refuse,
    seconds_left,
)
from agent.tekton.controlplane.launch_run import controller_of
from agent.tekton.controlplane.lookup_resolution import look_up
from agent.tekton.controlplane.nested_request import (
    TYPE,
    FetchedObject,
    local_source,
    nested_request,
    nested_source,
    written_source,
)
from agent.tekton.lookup.lookup_request import look_up_source, parse_lookup_request
from agent.tekton.model.events import USERS_DIFFER
from agent.tekton.model.fields import Object, mapping, objects, text
from agent.tekton.model.names import LOOKUP, RESOLVER, WRAPPERS
from agent.tekton.model.object_reference import Reference
from agent.tekton.model.wrapping import Run, run_of
from agent.tekton.pipeline.installation import Installation
from agent.tekton.pipeline.wrap_pipeline import pipeline_warnings, tasks_referred_to, wrap_pipeline
from agent.tekton.requests.embedded import with_declarations
from agent.tekton.requests.request import PipelineRequest, TaskRequest, parse_request
from agent.tekton.wrap.task import task_warning, wrap_task
from agent.tekton.wrap.workspaces import image_of

OURS = (*WRAPPERS, LOOKUP)
"""The types of the requests that our resolvers answer."""


def is_for_us(request: Object) -> bool:
    """Return whether a ResolutionRequest is for one of our resolvers and has no answer yet."""
    return _resolver(request) in OURS and not is_answered(request)


def _resolver(request: Object) -> Any:
    meta = mapping(request, "metadata", "ResolutionRequest")
    return mapping(meta, "labels", "ResolutionRequest").get(TYPE)


def resolve(request: Object, installation: Installation, now: str) -> Resolution:
    """Return the resolution of a request. Its result is None if the request needs no answer.

    Args:
        now: the time, RFC 3339 in UTC with whole seconds.
    """
    if not is_for_us(request):
        return None
    try:
        params = objects(mapping(request, "spec", "ResolutionRequest"), "params", "ResolutionRequest")
        if _resolver(request) == LOOKUP:
            found = yield from look_up(request, parse_lookup_request(params))
        else:
            asked = parse_request(params, installation.settings, installation.defaults)
            resolution = _task(request, asked) if isinstance(asked, TaskRequest) else _pipeline(request, asked)
            found = yield from resolution
    except AgentError as error:
        return refuse(error.text(Place.CONTROLLER), now)
    if isinstance(found, WaitForResolver):
        left = seconds_left(request, installation, now)
        message = f"resolver {found.resolver} has not answered in time; see its ResolutionRequest and its logs"
        return replace(found, seconds=left) if left > 0 else refuse(message, now)
    return found


def _pipeline(request: Object, asked: PipelineRequest) -> Resolution:
    owner = controller_of(request)
    if owner.get("kind") != "PipelineRun":
        raise UnwrappableError(
            "only a PipelineRun can ask for a Pipeline",
            subject=f"resolver {RESOLVER}",
            remedy="name the Pipeline, or the resolver that finds it, in the pipelineRef of a PipelineRun",
        )
    pipeline_run = yield GetObject("PipelineRun", text(owner, "name", "ownerReferences"))
    if pipeline_run is None or mapping(pipeline_run, "metadata", "PipelineRun").get("uid") != owner.get("uid"):
        return None
    run = run_of(pipeline_run)
    place = f"PipelineRun {run.name}"
    wanted = look_up_source(asked.source, pipeline_run, place)
    if isinstance(wanted, Reference):
        found = yield from _sources(request, "Pipeline", {wanted: f"Pipeline {wanted}"})
        if isinstance(found, WaitForResolver):
            return found
        source = found[wanted]
        place = f"Pipeline {text(mapping(source.value, 'metadata', 'Pipeline'), 'name', 'Pipeline')}"
    else:
        source = written_source(_completed(wanted, run, place), pipeline_run)
    wrapping = asked.wrapping
    if wrapping.base:
        image_of(wrapping.base)
        wrapping = replace(wrapping, base=(yield PinDigest(wrapping.base)))
    references = tasks_referred_to(mapping(source.value, "spec", place), wrapping, run, where=place)
    if wrapping.form == "inline":
        inner = yield from _sources(request, "Task", references)
        if isinstance(inner, WaitForResolver):
            return inner
        tasks = {reference: task.value for reference, task in inner.items()}
    else:
        tasks = yield from _tasks_in_namespace(references)
    wrapped = wrap_pipeline(source.value, wrapping, run, tasks, where=place)
    return _answered(wrapped, source, pipeline_warnings(mapping(wrapped, "spec", place), run, place))


def _completed(written: Object, run: Run, where: str) -> Object:
    """Return the Pipeline that is written into a run, completed to a Pipeline with the run's name."""
    spec = with_declarations(mapping(written, "spec", where), run, where)
    return {**written, "metadata": {"name": run.name}, "spec": spec}


def _tasks_in_namespace(references: Iterable[Reference]) -> Generator[Effect, Any, dict[Reference, Object]]:
    """Return the Tasks of the namespace that references name, so that no task waits for one that only reads.

    A missing Task is no error here. It is one when Tekton requests the Task, with the name of the pipeline's task.
    """
    found = {}
    for reference in references:
        if not reference.resolver:
            found[reference] = yield GetObject("Task", reference.name)
    return {reference: task for reference, task in found.items() if task is not None and task.get("kind") == "Task"}


def _task(request: Object, asked: TaskRequest) -> Resolution:
    # The request does not contain the name of the pipeline's task, but the plan does.
    where = f"task {asked.plan.task}, Task {asked.reference}"
    found = yield from _sources(request, "Task", {asked.reference: where})
    if isinstance(found, WaitForResolver):
        return found
    source = found[asked.reference]
    wrapped = wrap_task(source.value, asked.plan)
    warning = task_warning(mapping(wrapped, "spec", where), asked.plan.pod, where)
    return _answered(wrapped, source, [warning] if warning else [])


def _answered(value: Object, source: FetchedObject, warnings: Sequence[str]) -> RequestAnswer:
    found = answered(value, source)
    return replace(found, notice="; ".join(warnings), reason=USERS_DIFFER) if warnings else found


def _sources(
    request: Object, kind: str, references: Mapping[Reference, str]
) -> Generator[Effect, Any, dict[Reference, FetchedObject] | WaitForResolver]:
    """Return the objects of references. All requests to other resolvers are created before the first wait.

    Args:
        references: each with the object's name in errors.
    """
    found = {}
    for reference in references:
        wanted = (
            AskResolver(nested_request(request, reference)) if reference.resolver else GetObject(kind, reference.name)
        )
        found[reference] = yield wanted
    sources = {}
    for reference, where in references.items():
        value = found[reference]
        if reference.resolver and not is_answered(value):
            return WaitForResolver(reference.resolver, 0)
        sources[reference] = nested_source(value, where) if reference.resolver else local_source(value, where)
    return sources
