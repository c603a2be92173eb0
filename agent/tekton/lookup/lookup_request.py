"""What the resolver `lookup` is asked for, and the references that ask it."""

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
"""Kinds of objects that are looked up, as requests name them, and as Kubernetes does."""

SOURCE = "source"
WHERE = f"resolver {LOOKUP}"
_PARAMS = ("bundle", "written", "kind", "name", "serviceAccount", SOURCE)


@dataclass(frozen=True, slots=True)
class LookupRequest:
    """One object is wanted, with what it names looked up in the same place.

    Attributes:
        kind: `pipeline`, `task` or `stepaction`.
        name: by which it is looked up.
        source: what finds it instead: a Pipeline or Task that names its own source, while what it names need not.
        service_account: whose image pull secrets Tekton takes for the bundle; empty for its default.
    """

    lookup: Lookup
    kind: str
    name: str = ""
    source: Reference | None = None
    service_account: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.source or self.name}"

    def to_object(self) -> dict[str, Any]:
        """Return the reference that asks for it."""
        params: list[Object] = [{"name": "bundle", "value": str(self.lookup)}]
        if self.lookup.written != str(self.lookup):
            params.append({"name": "written", "value": self.lookup.written})
        params.append({"name": "kind", "value": self.kind})
        params += self.source.to_params(SOURCE) if self.source else [{"name": "name", "value": self.name}]
        if self.service_account:
            params.append({"name": "serviceAccount", "value": self.service_account})
        return {"resolver": LOOKUP, "params": params}

    def in_bundle(self, place: str) -> Reference:
        """Return the reference by which Tekton's own resolver finds it in a bundle."""
        params = [
            {"name": "bundle", "value": place},
            {"name": "kind", "value": self.kind},
            {"name": "name", "value": self.name},
        ]
        if self.service_account:
            params.append({"name": "serviceAccount", "value": self.service_account})
        return reference_of({"resolver": BUNDLES, "params": params}, WHERE)


def parse_lookup_request(params: Sequence[Object]) -> LookupRequest:
    """Return what the params of a ResolutionRequest, or of a reference with this resolver, ask for.

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
    """Return what a reference asks the resolver `lookup` for, None if it asks something else.

    Raises:
        UsageError: as `parse_lookup_request`.
    """
    if reference.get("resolver") != LOOKUP:
        return None
    return parse_lookup_request(objects(reference, "params", WHERE))


def lookup_change(lookup: Lookup, service_account: str = "") -> Change:
    """Return the change of references by which bare names come from `lookup`, those in objects of other sources, too.

    A Pipeline or Task that names its own source is asked through the resolver `lookup`, so that the names in it are
    changed as well. A StepAction names nothing, so that one with its own source stays as it is. So does a reference
    that was changed before.
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
    """Return a PipelineRun or TaskRun (v1 or v1beta1) whose bare references are looked up where it says.

    The field becomes the annotation, and the variables what they stand for. Rewriting again changes nothing, and so
    does rewriting a run that says nothing. No registry is asked.

    Args:
        service_account: that the references name, None for the run's.

    Raises:
        UsageError: what it says is malformed or contradictory, or a reference cannot be looked up.
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
    """Return what a run asks the resolver `wrap` to wrap, looked up where the run says.

    If the webhook was asked about the run this changes nothing. It may have been away when the run was created.

    Args:
        source: what refers to a Pipeline, or the Pipeline itself.

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
    """Return what the references of a run ask the resolver `lookup` for.

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
    """Return a reference that names its own source.

    Raises:
        UnwrappableError: it names none, or one that cannot be asked in its place. Tekton would then decide where the
            object comes from.
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
