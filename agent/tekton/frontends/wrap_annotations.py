"""Wrapping by annotations: a PipelineRun with them gets a reference to the resolver `wrap`.

The annotation `instep.dev/wrap` is `true`. `instep.dev/wrap.target` and so on set options, with the names of the
resolver's parameters. One annotation is enough.
"""

from __future__ import annotations

from typing import Any

from agent.errors import UsageError
from agent.tekton.controlplane.launch_run import controller_of
from agent.tekton.model.fields import Object, mapping, objects, text, without
from agent.tekton.model.names import PIPELINEREF, PIPELINESPEC, RESOLVER, WRAP, WRAPPERS
from agent.tekton.model.object_reference import reference_of, require_reference
from agent.tekton.requests.embedded import pack_pipeline
from agent.tekton.requests.request import OPTIONS

SOURCES = (PIPELINEREF, PIPELINESPEC)
_OPTIONS = {f"{WRAP}.{option}": option for option in OPTIONS}


def wrapping_asked(run: Object, where: str) -> dict[str, str] | None:
    """Return the parameters that a PipelineRun's annotations give, None if it is not to be wrapped.

    A PipelineRun that Tekton creates for a task of another one has copies of its annotations. They do not count.

    Raises:
        UsageError: an annotation is unknown, or malformed.
    """
    if run.get("kind") != "PipelineRun" or controller_of(run).get("kind") == "PipelineRun":
        return None
    annotations = mapping(mapping(run, "metadata", where), "annotations", where)
    ours = {key: text(annotations, key, where) for key in annotations if key.startswith(WRAP)}
    for key, value in ours.items():
        subject = f"{where}, annotation {key}"
        if key == WRAP and value != "true":
            raise UsageError(f"it is {value!r}", subject=subject, remedy="write 'true', or leave it out")
        if key != WRAP and key not in _OPTIONS:
            known = ", ".join((WRAP, *_OPTIONS))
            raise UsageError("there is no such annotation", subject=subject, remedy=f"they are {known}")
    return {_OPTIONS[key]: value for key, value in ours.items() if key != WRAP} if ours else None


def wrap_run(run: Object, where: str) -> Object:
    """Return a PipelineRun with a reference to the resolver `wrap` if it has annotations for it; the same if not.

    A second call changes nothing.

    Raises:
        UsageError: an annotation is wrong, or contradicts the run's own reference to the resolver.
        UnwrappableError: the run names no Pipeline, or holds one that is too large.
    """
    asked = wrapping_asked(run, where)
    spec = mapping(run, "spec", where)
    reference, embedded = mapping(spec, "pipelineRef", where), mapping(spec, "pipelineSpec", where)
    if asked is None or (reference and embedded):
        return run  # Tekton refuses a run with both
    source = _source(run, where)
    params = [*source, *({"name": name, "value": value} for name, value in sorted(asked.items()))]
    wrapped = {"resolver": RESOLVER, "params": params}
    if reference.get("resolver") in WRAPPERS and dict(reference) != wrapped:
        raise UsageError(
            f"it names the resolver {reference['resolver']}, and its annotations ask for another wrapping",
            subject=where,
            remedy=f"leave out the annotations that begin with {WRAP}, or the resolver",
        )
    return {**run, "spec": {**without(spec, "pipelineSpec"), "pipelineRef": wrapped}}


def _source(run: Object, where: str) -> list[Object]:
    """Return the parameters for the Pipeline to wrap."""
    spec = mapping(run, "spec", where)
    reference, embedded = mapping(spec, "pipelineRef", where), mapping(spec, "pipelineSpec", where)
    if embedded:
        packed = pack_pipeline(embedded, text(run, "apiVersion", where), f"{where}, pipelineSpec")
        return [{"name": PIPELINESPEC, "value": packed}]
    place = f"{where}, pipelineRef"
    if reference.get("resolver") in WRAPPERS:
        params = objects(reference, "params", place)
        return [param for param in params if text(param, "name", place).partition(".")[0] in SOURCES]
    if reference.get("bundle") or ":" in text(reference, "name", place):
        raise UsageError(
            "it names neither a Pipeline of the namespace nor a resolver",
            subject=place,
            remedy="name the Pipeline, or the resolver with its params",
        )
    return require_reference(reference_of(reference, place), "name", place).to_params(PIPELINEREF)


def without_annotations(run: Object, where: str) -> dict[str, Any]:
    """Return a run without the annotations for wrapping."""
    meta = mapping(run, "metadata", where)
    annotations = mapping(meta, "annotations", where)
    rest = {key: value for key, value in annotations.items() if not key.startswith(WRAP)}
    if len(rest) == len(annotations):
        return dict(run)
    return {**run, "metadata": {**without(meta, "annotations"), **({"annotations": rest} if rest else {})}}
