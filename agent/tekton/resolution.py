"""The resolver `wrap`: from a ResolutionRequest to its answer, as a course of steps that somebody else takes.

`resolve` is a generator: it yields what it must know (`Get`, `Ask`, `Pin`), is sent what was found, and returns what to
do about the request. It looks at objects alone, so that it can begin again at any time: after a restart, on a second
event, in a second controller. The answer is the same (docs/decisions/two-controllers.md).
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from agent.core.reference import LayoutReference, parse_reference
from agent.errors import AgentError, UnwrappableError
from agent.tekton.fields import Object, mapping, objects, text
from agent.tekton.installation import Installation
from agent.tekton.launch import condition_of, controller_of
from agent.tekton.names import RESOLVER
from agent.tekton.nested import TYPE, Source, local_source, nested_request, nested_source
from agent.tekton.pipeline import references_to_inline, wrap_pipeline
from agent.tekton.reference import Reference
from agent.tekton.request import WRAPPER, PipelineRequest, TaskRequest, parse_request
from agent.tekton.task import wrap_task
from agent.tekton.wrapping import run_of

LARGEST = 900_000
"""Bytes of an answer: with base64 it stays below what etcd takes, about 1.5 MiB."""

EARLY = 5
"""Seconds before Tekton's deadline at which the answer is that there is none, in words that say why."""


@dataclass(frozen=True, slots=True)
class Get:
    """An object of the request's namespace is wanted: PipelineRun, Pipeline or Task. Send it, None if there is none."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Another resolver is asked. Send the request as it stands, created now if it was not there."""

    request: Object


@dataclass(frozen=True, slots=True)
class Pin:
    """Send the digest that an image has now, of the manifest for one platform."""

    image: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A merge patch for the request's `status`, for good or ill.

    Attributes:
        refusal: why not, None where the answer is an object.
    """

    status: dict[str, Any]
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Another resolver has not answered yet: begin again when it has, and at the latest after these seconds."""

    resolver: str
    seconds: float


Step = Get | Ask | Pin
Course = Generator[Step, Any, Answer | Waiting | None]


def is_for_us(request: Object) -> bool:
    """Say whether a ResolutionRequest is for the resolver `wrap`, and has no answer yet."""
    meta = mapping(request, "metadata", "ResolutionRequest")
    kind = mapping(meta, "labels", "ResolutionRequest").get(TYPE)
    return kind in (RESOLVER, f"{RESOLVER}.{WRAPPER}") and not is_answered(request)


def is_answered(request: Object) -> bool:
    """Say whether a ResolutionRequest has data or a final condition."""
    status = mapping(request, "status", "ResolutionRequest")
    return bool(status.get("data")) or condition_of(request).get("status") in ("True", "False")


def resolve(request: Object, installation: Installation, now: str) -> Course:
    """Return what to do about a request for the resolver `wrap`: None for nothing.

    Args:
        now: the time, RFC 3339 in UTC with whole seconds.
    """
    if not is_for_us(request):
        return None
    try:
        params = objects(mapping(request, "spec", "ResolutionRequest"), "params", "ResolutionRequest")
        asked = parse_request(params, installation.settings, installation.defaults)
        course = _task(request, asked) if isinstance(asked, TaskRequest) else _pipeline(request, asked)
        found = yield from course
    except AgentError as error:
        return refuse(str(error), now)
    if isinstance(found, Waiting):
        left = seconds_left(request, installation, now)
        words = f"resolver {found.resolver} has not answered in time; see its ResolutionRequest and its logs"
        return replace(found, seconds=left) if left > 0 else refuse(words, now)
    return found


def refuse(message: str, now: str) -> Answer:
    """Return the answer that there is none, with the message that the run will show."""
    condition = {
        "type": "Succeeded",
        "status": "False",
        "reason": "ResolutionFailed",
        "message": message,
        "lastTransitionTime": now,
    }
    # The CRD demands the other three.
    return Answer({"data": "", "refSource": {}, "source": {}, "conditions": [condition]}, refusal=message)


def seconds_left(request: Object, installation: Installation, now: str) -> float:
    """Return how long a request can wait before it has to be refused in words."""
    created = text(mapping(request, "metadata", "ResolutionRequest"), "creationTimestamp", "ResolutionRequest") or now
    age = (datetime.fromisoformat(now) - datetime.fromisoformat(created)).total_seconds()
    return installation.deadline - EARLY - age


def _pipeline(request: Object, asked: PipelineRequest) -> Course:
    owner = controller_of(request)
    if owner.get("kind") != "PipelineRun":
        raise UnwrappableError(
            "only a PipelineRun can ask for a Pipeline",
            subject=f"resolver {RESOLVER}",
            remedy="name the Pipeline, or the resolver that finds it, in the pipelineRef of a PipelineRun",
        )
    pipeline_run = yield Get("PipelineRun", text(owner, "name", "ownerReferences"))
    if pipeline_run is None or mapping(pipeline_run, "metadata", "PipelineRun").get("uid") != owner.get("uid"):
        return None
    run = run_of(pipeline_run)
    found = yield from _sources(request, "Pipeline", [asked.reference])
    if isinstance(found, Waiting):
        return found
    [source] = found
    wrapping = asked.wrapping
    if wrapping.base:
        wrapping = replace(wrapping, base=(yield Pin(_in_a_registry(wrapping.base))))
    tasks = {}
    if wrapping.form == "inline":
        where = f"Pipeline {text(mapping(source.value, 'metadata', 'Pipeline'), 'name', 'Pipeline')}"
        spec = mapping(source.value, "spec", where)
        references = references_to_inline(spec, wrapping, run, where=where)
        inner = yield from _sources(request, "Task", references)
        if isinstance(inner, Waiting):
            return inner
        tasks = {reference: task.value for reference, task in zip(references, inner, strict=True)}
    return _answer(wrap_pipeline(source.value, wrapping, run, tasks), source)


def _task(request: Object, asked: TaskRequest) -> Course:
    try:
        found = yield from _sources(request, "Task", [asked.reference])
    except UnwrappableError as error:
        # Tekton does not say which task of the pipeline it asked for.
        subject = f"task {asked.plan.task}, {error.subject}"
        raise UnwrappableError(error.what, subject=subject, remedy=error.remedy) from error
    if isinstance(found, Waiting):
        return found
    [source] = found
    return _answer(wrap_task(source.value, asked.plan), source)


def _sources(
    request: Object, kind: str, references: Sequence[Reference]
) -> Generator[Step, Any, list[Source] | Waiting]:
    """Return what references lead to; all other resolvers are asked before any is waited for."""
    found = []
    for reference in references:
        if reference.resolver:
            found.append((yield Ask(nested_request(request, reference))))
        else:
            found.append((yield Get(kind, reference.name)))
    sources = []
    for reference, value in zip(references, found, strict=True):
        if reference.resolver and not is_answered(value):
            return Waiting(reference.resolver, 0)
        where = f"{kind} {reference}"
        sources.append(nested_source(value, where) if reference.resolver else local_source(value, where))
    return sources


def _in_a_registry(base: str) -> str:
    if isinstance(parse_reference(base), LayoutReference):
        raise UnwrappableError(
            "it is a directory, which the steps have not", subject=f"base {base}", remedy="name an image of a registry"
        )
    return base


def _answer(value: Object, source: Source) -> Answer:
    data = json.dumps(value, separators=(",", ":")).encode()
    if len(data) > LARGEST:
        kind = value["kind"]
        raise UnwrappableError(
            f"wrapped it has {len(data)} bytes, and Kubernetes stores no more than {LARGEST}",
            subject=f"{kind} {text(mapping(value, 'metadata', kind), 'name', kind)}",
            remedy="split it, or refer to Tasks instead of writing them into it",
        )
    return Answer(
        {
            "data": b64encode(data).decode(),
            "refSource": source.origin,
            "source": source.origin,
            "annotations": {"resolution.tekton.dev/content-type": "application/x-yaml"},
        }
    )
