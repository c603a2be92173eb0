"""The objects that `agent render` prints: what the resolver and the custom task would make of objects in files.

The Pipeline of each PipelineRun is wrapped. Tasks are written into it, so that the result needs no resolver. The run's
name and uid stay Tekton's variables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agent.tekton.controlplane.launch_run import is_oci_pipeline, launch, name_of
from agent.tekton.frontends.given_objects import index_of, index_of_pipeline, kind_and_name
from agent.tekton.frontends.lookup_places import Bundles, Places
from agent.tekton.frontends.render_lookup import self_contained
from agent.tekton.frontends.render_request import RenderOptions, RunRequest, request_at
from agent.tekton.lookup.bundle_rewrite import rewrite_bundles, set_lookup
from agent.tekton.lookup.lookup import lookup_of
from agent.tekton.model import names
from agent.tekton.model.fields import Object, mapping
from agent.tekton.model.object_reference import Reference
from agent.tekton.model.wrapping import Wrapping, planned_run_of
from agent.tekton.pipeline.wrap_context import Tasks
from agent.tekton.pipeline.wrap_pipeline import pipeline_warnings, tasks_referred_to, wrap_pipeline_spec
from agent.tekton.requests.bundle_image import belongs_in_bundle
from agent.tekton.wrap.inline import refuse_clashes
from agent.tekton.wrap.task import V1

_KINDS_WITH_LOOKUP = ("PipelineRun", "TaskRun")


def render(
    documents: Sequence[Object],
    options: RenderOptions,
    bundles: Bundles | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> list[Object]:
    """Return the objects with every CustomRun of ours launched, and every Pipeline that a run names wrapped.

    If two runs need different variants of one Pipeline, each refers to a Pipeline of its own. A run with a lookup gets
    the objects that it looks up written into it. With `options.lookup` only runs are returned: the other objects are
    in the bundle.

    Args:
        bundles: the bundles in which runs with a lookup find objects.
        warn: called with each warning about what the steps may be unable to do.

    Raises:
        UnwrappableError: an object cannot be wrapped, or is not among the documents.
        AgentError: an object cannot be looked up.
    """
    given = [_with_options(document, options) for document in documents]
    runs = [
        request_at(given, index, options)
        for index, document in enumerate(given)
        if document.get("kind") == "PipelineRun"
    ]
    for request in runs:
        given[request.index] = request.run
    given = _with_lookups(given, options, bundles)
    variants: dict[int, list[Object]] = {}
    taken = {name_of(document, "Pipeline") for document in given if document.get("kind") == "Pipeline"}
    # Runs that are not wrapped come first, so that they keep the name of their Pipeline.
    for request in sorted(runs, key=lambda request: request.wrapping is not None):
        _render_run(given, request, variants, taken, warn)
    return [
        found
        for index, document in enumerate(given)
        if options.lookup is None or not belongs_in_bundle(document)
        for found in variants.get(index, [document])
    ]


def _with_options(document: Object, options: RenderOptions) -> Object:
    """Return an object with the options for its references applied, launched if it is a CustomRun of ours."""
    found = rewrite_bundles(document, options.bundle_rewrites)
    if options.lookup is not None and (found.get("kind") in _KINDS_WITH_LOOKUP or is_oci_pipeline(found)):
        found = set_lookup(found, options.lookup, str(found.get("kind")))
    return launch(found) if is_oci_pipeline(found) else found


def _with_lookups(documents: Sequence[Object], options: RenderOptions, bundles: Bundles | None) -> list[Object]:
    """Return the objects, with everything that a run looks up written into the run."""

    def given(kind: str, reference: Reference) -> Object | None:
        index = index_of(documents, kind, reference)
        return None if index is None else documents[index]

    found = []
    for document in documents:
        where = kind_and_name(document)
        if document.get("kind") not in _KINDS_WITH_LOOKUP or lookup_of(document, where) is None:
            found.append(document)
            continue
        assert bundles is not None
        found.append(self_contained(document, Places(bundles, given, options.bundle_rewrites), where))
    return found


def _render_run(
    documents: Sequence[Object],
    request: RunRequest,
    variants: dict[int, list[Object]],
    taken: set[str],
    warn: Callable[[str], None],
) -> None:
    """Put the Pipeline that a run needs, and the run if it changes, into `variants`, by the index of the original."""
    pipeline_run, where, wrapping = documents[request.index], request.where, request.wrapping
    spec = mapping(pipeline_run, "spec", where)
    if wrapping is None:
        index = index_of(documents, "Pipeline", request.reference)
        if index is not None:
            variants[index] = [documents[index]]
        return
    if mapping(spec, "pipelineSpec", where):
        given = mapping(spec, "pipelineSpec", where)
        inner = _wrap(given, pipeline_run, pipeline_run, wrapping, documents, where, warn)
        if tasks_referred_to(given, wrapping, planned_run_of(pipeline_run), where=where):
            refuse_clashes(inner, planned_run_of(pipeline_run).params, where)
        variants[request.index] = [{**pipeline_run, "spec": {**spec, "pipelineSpec": inner}}]
        return
    index = index_of_pipeline(documents, request.reference, where)
    pipeline = documents[index]
    name = f"Pipeline {name_of(pipeline, 'Pipeline')}"
    wrapped = _wrap(mapping(pipeline, "spec", name), pipeline, pipeline_run, wrapping, documents, name, warn)
    variant = _name_of_variant(pipeline, wrapped, variants.setdefault(index, []), taken)
    if mapping(spec, "pipelineRef", where) != {"name": variant}:
        variants[request.index] = [{**pipeline_run, "spec": {**spec, "pipelineRef": {"name": variant}}}]


def _name_of_variant(pipeline: Object, spec: Object, variants: list[Object], taken: set[str]) -> str:
    """Return the name of the variant of a Pipeline that has this spec; add the variant if there is none."""
    for variant in variants:
        if variant["spec"] == spec:
            return name_of(variant, "Pipeline")
    name = name_of(pipeline, "Pipeline")
    if variants:
        name = names.free_name(name, taken)
        taken.add(name)
    variants.append({**pipeline, "metadata": {**mapping(pipeline, "metadata", name), "name": name}, "spec": spec})
    return name


def _wrap(
    spec: Object,
    holder: Object,
    pipeline_run: Object,
    wrapping: Wrapping,
    documents: Sequence[Object],
    where: str,
    warn: Callable[[str], None],
) -> Object:
    """Return the wrapped spec of a pipeline. `holder` is the Pipeline or PipelineRun that the spec is written in."""
    run = planned_run_of(pipeline_run)
    is_pipeline = holder.get("kind") == "Pipeline"
    annotations = mapping(mapping(holder, "metadata", where), "annotations", where) if is_pipeline else {}
    is_v1 = holder.get("apiVersion") == V1
    tasks: Tasks = {
        reference: documents[index]
        for reference in tasks_referred_to(spec, wrapping, run, where=where)
        if (index := index_of(documents, "Task", reference)) is not None
    }
    wrapped = wrap_pipeline_spec(spec, wrapping, run, tasks, annotations=annotations, is_v1=is_v1, where=where)
    for text in pipeline_warnings(wrapped, run, where):
        warn(text)
    return wrapped
