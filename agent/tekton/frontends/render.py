"""`agent render`: what the resolver and the custom task would do, for objects in files and without a cluster.

Each PipelineRun gets its Pipeline rewritten where that stands; Tasks are written into it, so that nothing is left that
only the resolver could answer. The run's name and uid stay Tekton's variables.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.errors import UnwrappableError
from agent.tekton.controlplane.launch_run import is_oci_pipeline, launch, name_of
from agent.tekton.frontends.annotated import without_annotations, wrap_run
from agent.tekton.frontends.render_lookup import Bundles, Places, self_contained
from agent.tekton.lookup.lookup import lookup_of
from agent.tekton.lookup.repoint import Repointing, repoint, set_lookup
from agent.tekton.model import names
from agent.tekton.model.fields import Object, mapping, without
from agent.tekton.model.object_reference import Reference, reference_of
from agent.tekton.model.wrapping import OnConflict, Run, Settings, Wrapping, planned_run_of
from agent.tekton.pipeline.wrap_context import Tasks
from agent.tekton.pipeline.wrap_pipeline import tasks_referred_to, troubles_in, wrap_pipeline_spec
from agent.tekton.requests.bundle_image import belongs
from agent.tekton.requests.request import request_of
from agent.tekton.wrap.inline import pipeline_in_version, refuse_clashes
from agent.tekton.wrap.task import V1

LOOKING_UP = ("PipelineRun", "TaskRun")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asks for beside what the objects say; the objects' own words are replaced by it.

    Attributes:
        lookup: where all runs have their references looked up.
        repointings: which bundles are replaced by others.
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
    repointings: tuple[Repointing, ...] = ()


def render(
    documents: Sequence[Object],
    wish: Wish,
    bundles: Bundles | None = None,
    warn: Callable[[str], None] = lambda words: None,
) -> list[Object]:
    """Return the objects, with every CustomRun of ours launched and every Pipeline that a run is there for wrapped.

    Where runs want different things of one Pipeline, each gets one of its own, and refers to it. Runs with a lookup
    have written into them what they look up. With `wish.lookup` only runs come out: the rest is in the bundle.

    Args:
        bundles: where runs with a lookup find what they name.
        warn: told what the steps may be unable to do.

    Raises:
        UnwrappableError: something cannot be wrapped, or is not among the objects.
        AgentError: something cannot be looked up.
    """
    given = [_prepared(document, wish) for document in documents]
    runs = [
        _look_at(given, index, wish) for index, document in enumerate(given) if document.get("kind") == "PipelineRun"
    ]
    for asked in runs:
        given[asked.index] = asked.run
    given = _looked_up(given, wish, bundles)
    variants: dict[int, list[Object]] = {}
    taken = {name_of(document, "Pipeline") for document in given if document.get("kind") == "Pipeline"}
    # Runs that stay as they are come first: the name of the Pipeline stays theirs.
    for asked in sorted(runs, key=lambda asked: asked.wrapping is not None):
        _render_run(given, asked, variants, taken, warn)
    return [
        found
        for index, document in enumerate(given)
        if wish.lookup is None or not belongs(document)
        for found in variants.get(index, [document])
    ]


def _prepared(document: Object, wish: Wish) -> Object:
    """Return an object with the words of the wish that concern references, launched if it is a custom task of ours."""
    found = repoint(document, wish.repointings)
    if wish.lookup is not None and (found.get("kind") in LOOKING_UP or is_oci_pipeline(found)):
        found = set_lookup(found, wish.lookup, str(found.get("kind")))
    return launch(found) if is_oci_pipeline(found) else found


def _looked_up(documents: Sequence[Object], wish: Wish, bundles: Bundles | None) -> list[Object]:
    """Return the objects, runs with a lookup with all that they look up written into them."""

    def given(kind: str, reference: Reference) -> Object | None:
        place = _place(documents, kind, reference)
        return None if place is None else documents[place]

    found = []
    for document in documents:
        where = _name(document)
        if document.get("kind") not in LOOKING_UP or lookup_of(document, where) is None:
            found.append(document)
            continue
        assert bundles is not None
        found.append(self_contained(document, Places(bundles, given, wish.repointings), where))
    return found


@dataclass(frozen=True, slots=True)
class _Asked:
    """A run: where it stands, the Pipeline that it names, and how it is to be wrapped, None where nothing is.

    Attributes:
        run: what it is without what asks the webhook and the resolver for something.
    """

    index: int
    where: str
    run: Object
    reference: Reference
    wrapping: Wrapping | None


def _look_at(documents: Sequence[Object], index: int, wish: Wish) -> _Asked:
    pipeline_run = documents[index]
    where = _name(pipeline_run)
    source, wrapping = _wanted(pipeline_run, wish, where)
    has_work = _has_work(wrapping, planned_run_of(pipeline_run))
    # Who has references replaced need not want workspaces in images, and then does not say where.
    if not wrapping.target and (wish.repointings or lookup_of(pipeline_run, where)):
        has_work = False
    run = without_annotations(pipeline_run, where)
    if isinstance(source, Reference):
        return _Asked(index, where, run, source, wrapping if has_work else None)
    versions = source.get("apiVersion") == V1, run.get("apiVersion") == V1
    written = pipeline_in_version(mapping(source, "spec", where), *versions, where)
    run = {**run, "spec": {**without(run["spec"], "pipelineRef"), "pipelineSpec": written}}
    return _Asked(index, where, run, Reference(), wrapping if has_work else None)


def _name(run: Object) -> str:
    kind = str(run.get("kind"))
    return f"{kind} {name_of(run, kind) or '(to be named)'}"


def _render_run(
    documents: Sequence[Object],
    asked: _Asked,
    variants: dict[int, list[Object]],
    taken: set[str],
    warn: Callable[[str], None],
) -> None:
    """Put the Pipeline that a run needs, and the run if it changes, into `variants`, by the place of the original."""
    pipeline_run, where, wrapping = documents[asked.index], asked.where, asked.wrapping
    spec = mapping(pipeline_run, "spec", where)
    if wrapping is None:
        place = _place(documents, "Pipeline", asked.reference)
        if place is not None:
            variants[place] = [documents[place]]
        return
    if mapping(spec, "pipelineSpec", where):
        given = mapping(spec, "pipelineSpec", where)
        inner = _wrap(given, pipeline_run, pipeline_run, wrapping, documents, where, warn)
        if tasks_referred_to(given, wrapping, planned_run_of(pipeline_run), where=where):
            refuse_clashes(inner, planned_run_of(pipeline_run).params, where)
        variants[asked.index] = [{**pipeline_run, "spec": {**spec, "pipelineSpec": inner}}]
        return
    place = _find(documents, asked.reference, where)
    pipeline = documents[place]
    name = f"Pipeline {name_of(pipeline, 'Pipeline')}"
    wrapped = _wrap(mapping(pipeline, "spec", name), pipeline, pipeline_run, wrapping, documents, name, warn)
    called = _called(pipeline, wrapped, variants.setdefault(place, []), taken)
    if mapping(spec, "pipelineRef", where) != {"name": called}:
        variants[asked.index] = [{**pipeline_run, "spec": {**spec, "pipelineRef": {"name": called}}}]


def _called(pipeline: Object, spec: Object, variants: list[Object], taken: set[str]) -> str:
    """Return the name of the variant of a Pipeline that has this spec, which is made if there is none."""
    for variant in variants:
        if variant["spec"] == spec:
            return name_of(variant, "Pipeline")
    name = name_of(pipeline, "Pipeline")
    if variants:
        name = names.free(name, taken)
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
    run = planned_run_of(pipeline_run)
    is_pipeline = holder.get("kind") == "Pipeline"
    annotations = mapping(mapping(holder, "metadata", where), "annotations", where) if is_pipeline else {}
    is_v1 = holder.get("apiVersion") == V1
    tasks: Tasks = {
        reference: documents[place]
        for reference in tasks_referred_to(spec, wrapping, run, where=where)
        if (place := _place(documents, "Task", reference)) is not None
    }
    wrapped = wrap_pipeline_spec(spec, wrapping, run, tasks, annotations=annotations, is_v1=is_v1, where=where)
    for words in troubles_in(wrapped, run, where):
        warn(words)
    return wrapped


def _wanted(pipeline_run: Object, wish: Wish, where: str) -> tuple[Reference | Object, Wrapping]:
    source: Reference | Object
    request = request_of(wrap_run(pipeline_run, where), wish.settings)
    if request is not None:
        source, wrapping = request.source, request.wrapping
    else:
        source = reference_of(mapping(mapping(pipeline_run, "spec", where), "pipelineRef", where), where)
        wrapping = Wrapping(wish.settings, target="")
    return source, replace(wrapping, form="inline", **_replaced(wish))


def _replaced(wish: Wish) -> dict[str, Any]:
    fields = {
        "target": wish.target,
        "base": wish.base,
        "workspaces": wish.workspaces or None,
        "on_conflict": wish.on_conflict,
        "step_timeout": wish.step_timeout,
        "patience": wish.patience,
        "step_result": wish.step_result,
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
