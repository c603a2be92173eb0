"""What the resolver `lookup` is asked for, and the references that ask it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.errors import UnwrappableError, UsageError
from agent.tekton.fields import Object, mapping, objects, text, without
from agent.tekton.lookup import Lookup, lookup_of, parse_lookup
from agent.tekton.names import BUNDLES, LOOKUP, LOOKUP_BUNDLE
from agent.tekton.redirect import Change, redirect_run
from agent.tekton.reference import Reference, reference_in, reference_of

KINDS = ("pipeline", "task", "stepaction")
SOURCE = "source"
WHERE = f"resolver {LOOKUP}"
_PARAMS = ("bundle", "written", "kind", "name", "serviceAccount", SOURCE)


@dataclass(frozen=True, slots=True)
class LookupRequest:
    """One object is wanted, with what it names looked up in the same place.

    Attributes:
        kind: `pipeline`, `task` or `stepaction`.
        name: by which it is looked up.
        source: what finds it instead: a Pipeline that names its own source, while its Tasks need not.
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

    if word("kind") not in KINDS:
        raise _odd("kind", f"it is {word('kind') or 'missing'}", f"write {', '.join(KINDS)}")
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


def looked_up(lookup: Lookup, service_account: str = "") -> Change:
    """Return the change of references by which bare names come from `lookup`, those in Pipelines of others, too.

    References that name their own source stay as they are; so do those that were changed before.
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
        if resolver in ("", LOOKUP) and name and not reference.get("bundle") and "://" not in name:
            return LookupRequest(lookup, kind, name, None, service_account).to_object()
        if kind != "pipeline":
            return reference
        return LookupRequest(lookup, kind, "", _source(reference, where), service_account).to_object()

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
        template = mapping(spec, "taskRunTemplate", where)
        service_account = text(template, "serviceAccountName", where) or text(spec, "serviceAccountName", where)
    return redirect_run(rewritten, looked_up(lookup, service_account), where)


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

    redirect_run(run, note, where)
    return found


def _source(reference: Object, where: str) -> Reference:
    """Return a reference that names its own source."""
    if reference.get("resolver"):
        return reference_of(reference, where)
    if reference.get("bundle"):
        params = [{"name": key, "value": text(reference, key, where)} for key in ("bundle", "name")]
        kind = {"name": "kind", "value": "pipeline"}
        return reference_of({"resolver": BUNDLES, "params": [*params, kind]}, where)
    raise UnwrappableError(
        "it names neither a Pipeline nor a resolver",
        subject=where,
        remedy="name the resolver, so that what the Pipeline names can be looked up in the bundle",
    )


def _odd(name: str, what: str, remedy: str) -> UsageError:
    return UsageError(what, subject=f"{WHERE}, parameter {name}", remedy=remedy)
