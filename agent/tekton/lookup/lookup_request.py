"""Requests to the resolver `lookup`, and the change of references into such requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.errors import UnwrappableError, UsageError
from agent.tekton.lookup.lookup import Lookup, lookup_of, parse_lookup
from agent.tekton.model.fields import Object, mapping, objects, text, without
from agent.tekton.model.names import BUNDLES, LOOKUP, LOOKUP_BUNDLE
from agent.tekton.model.object_reference import Reference, reference_in, reference_of
from agent.tekton.requests.reference_change import Change, change_pipeline_references, change_run_references

LABELS = {"pipeline": "Pipeline", "task": "Task", "stepaction": "StepAction"}
"""Kinds of objects in requests, each with its kind in Kubernetes."""

SOURCE = "source"
WHERE = f"resolver {LOOKUP}"
_PARAMS = ("bundle", "written", "kind", "name", "serviceAccount", SOURCE)


@dataclass(frozen=True, slots=True)
class LookupRequest:
    """A request for one object, whose references are looked up in the same places.

    Attributes:
        kind: `pipeline`, `task` or `stepaction`.
        lookup: the places.
        name: the object's name.
        source: a reference to use instead of the name, for a Pipeline or Task with a source of its own.
        service_account: the service account whose image pull secrets Tekton uses; empty for its default.
    """

    lookup: Lookup
    kind: str
    name: str = ""
    source: Reference | None = None
    service_account: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.source or self.name}"

    def to_object(self) -> dict[str, Any]:
        """Return the reference to the resolver `lookup` with this request."""
        params: list[Object] = [{"name": "bundle", "value": str(self.lookup)}]
        if self.lookup.written != str(self.lookup):
            params.append({"name": "written", "value": self.lookup.written})
        params.append({"name": "kind", "value": self.kind})
        params += self.source.to_params(SOURCE) if self.source else [{"name": "name", "value": self.name}]
        if self.service_account:
            params.append({"name": "serviceAccount", "value": self.service_account})
        return {"resolver": LOOKUP, "params": params}

    def in_bundle(self, place: str) -> Reference:
        """Return the reference to the object in a bundle, for Tekton's own resolver."""
        params = [
            {"name": "bundle", "value": place},
            {"name": "kind", "value": self.kind},
            {"name": "name", "value": self.name},
        ]
        if self.service_account:
            params.append({"name": "serviceAccount", "value": self.service_account})
        return reference_of({"resolver": BUNDLES, "params": params}, WHERE)


def parse_lookup_request(params: Sequence[Object]) -> LookupRequest:
    """Return the request in the params of a ResolutionRequest, or of a reference with this resolver.

    Raises:
        UsageError: a parameter is missing, unknown or malformed.
    """
    values = {text(param, "name", WHERE): param for param in params}
    for name in values:
        if name not in _PARAMS and not name.startswith(f"{SOURCE}."):
            raise _odd(name, "there is no such parameter", f"the parameters are {', '.join(_PARAMS)}")

    def word(name: str) -> str:
        return text(values.get(name, {}), "value", f"{WHERE}, parameter {name}")

    if word("kind") not in LABELS:
        raise _odd("kind", f"it is {word('kind') or 'missing'}", f"write {', '.join(LABELS)}")
    source = reference_in(params, SOURCE, WHERE)
    if not (source or word("name")):
        raise _odd("name", "it is missing", "name the object")
    where = f"{WHERE}, parameter bundle"
    lookup = parse_lookup(word("bundle"), where, word("written") or None)
    return LookupRequest(lookup, word("kind"), word("name"), source, word("serviceAccount"))


def request_in(reference: Object) -> LookupRequest | None:
    """Return the request in a reference to the resolver `lookup`, None for another reference.

    Raises:
        UsageError: as `parse_lookup_request`.
    """
    if reference.get("resolver") != LOOKUP:
        return None
    return parse_lookup_request(objects(reference, "params", WHERE))


def lookup_change(lookup: Lookup, service_account: str = "") -> Change:
    """Return the change of bare references into requests to the resolver `lookup`.

    A Pipeline or Task with a source of its own is requested through the resolver `lookup`, too, so that its references
    are changed as well. A StepAction has no references, so that one with a source of its own remains unchanged. A
    reference that was changed before remains unchanged, too.
    """

    def change(kind: str, reference: Object, where: str) -> Object:
        if text(reference, "kind", where) == "ClusterTask":
            raise UnwrappableError(
                "a ClusterTask cannot be looked up in a bundle", subject=where, remedy="make it a Task of the bundle"
            )
        name = text(reference, "name", where)
        resolver = text(reference, "resolver", where)
        if resolver == LOOKUP and not name:
            return reference
        if resolver in ("", LOOKUP) and name and not reference.get("bundle") and ":" not in name:
            return LookupRequest(lookup, kind, name, None, service_account).to_object()
        source = _source(kind, reference, where)
        if kind == "stepaction":
            return reference
        return LookupRequest(lookup, kind, "", source, service_account).to_object()

    return change


def rewrite_run(run: Object, service_account: str | None = None) -> dict[str, Any]:
    """Return a PipelineRun or TaskRun (v1 or v1beta1) with its bare references changed to lookups.

    The annotation replaces the field, and the variables are replaced by their values. The result does not change if it
    is rewritten again. A run without a lookup does not change. No registry is contacted.

    Args:
        service_account: the service account in the references, None for the run's.

    Raises:
        UsageError: the lookup is malformed or contradictory, or a reference cannot be looked up.
    """
    where = f"{run.get('kind')} {text(mapping(run, 'metadata', 'run'), 'name', 'run')}".strip()
    lookup = lookup_of(run, where)
    if lookup is None:
        return dict(run)
    meta = mapping(run, "metadata", where)
    annotations = {**mapping(meta, "annotations", where), LOOKUP_BUNDLE: str(lookup)}
    spec = lookup.substitute(without(mapping(run, "spec", where), LOOKUP))
    rewritten = {**run, "metadata": {**meta, "annotations": annotations}, "spec": spec}
    if service_account is None:
        service_account = _service_account(run, where)
    return change_run_references(rewritten, lookup_change(lookup, service_account), where)


def look_up_source(source: Reference | Object, run: Object, where: str) -> Reference | Object:
    """Return the Pipeline of a request to the resolver `wrap`, with the run's lookup applied.

    If the webhook has rewritten the run, this changes nothing. But the webhook may have been unavailable.

    Args:
        source: a reference to a Pipeline, or the Pipeline itself.

    Raises:
        UsageError: as `rewrite_run`.
    """
    lookup = lookup_of(run, where)
    if lookup is None:
        return source
    change = lookup_change(lookup, _service_account(run, where))
    if isinstance(source, Reference):
        return reference_of(change("pipeline", source.to_object(), where), where)
    return {
        **source,
        "spec": change_pipeline_references(lookup.substitute(mapping(source, "spec", where)), change, where),
    }


def _service_account(run: Object, where: str) -> str:
    spec = mapping(run, "spec", where)
    template = mapping(spec, "taskRunTemplate", where)
    return text(template, "serviceAccountName", where) or text(spec, "serviceAccountName", where)


def requests_in(run: Object, where: str) -> list[LookupRequest]:
    """Return the requests to the resolver `lookup` in the references of a run.

    Raises:
        UsageError: as `parse_lookup_request`.
    """
    found: list[LookupRequest] = []

    def note(kind: str, reference: Object, where: str) -> Object:
        request = request_in(reference)
        found.extend([request] if request else [])
        return reference

    change_run_references(run, note, where)
    return found


def _source(kind: str, reference: Object, where: str) -> Reference:
    """Return the source that a reference names.

    Raises:
        UnwrappableError: it names none, or one that cannot be requested here. Tekton would then choose the source.
    """
    name = text(reference, "name", where)
    if reference.get("resolver") and not name:
        return reference_of(reference, where)
    if reference.get("bundle"):
        params = [{"name": key, "value": text(reference, key, where)} for key in ("bundle", "name")]
        named_kind = {"name": "kind", "value": kind}
        return reference_of({"resolver": BUNDLES, "params": [*params, named_kind]}, where)
    raise UnwrappableError(
        f"it names neither a {LABELS[kind]} nor a resolver with its params",
        subject=where,
        remedy="name the resolver, so that what it finds can be looked up in the bundle",
    )


def _odd(name: str, what: str, remedy: str) -> UsageError:
    return UsageError(what, subject=f"{WHERE}, parameter {name}", remedy=remedy)
