"""The resolver `lookup`: Tekton's resolver reads the bundle with the run's credentials, and its answer is rewritten."""

from __future__ import annotations

from agent.tekton.controlplane.effects import (
    AskResolver,
    GetObject,
    ReadBundle,
    RequestAnswer,
    Resolution,
    WaitForResolver,
    answered,
    is_answered,
)
from agent.tekton.controlplane.launch_run import condition_of
from agent.tekton.controlplane.nested_request import FetchedObject, local_source, nested_request, nested_source
from agent.tekton.lookup.lookup import CLUSTER
from agent.tekton.lookup.lookup_answer import answer, is_not_there, not_found, origin_text
from agent.tekton.lookup.lookup_request import LABELS, LookupRequest
from agent.tekton.model.fields import Object, mapping, text
from agent.tekton.model.names import BUNDLES


def look_up(request: Object, asked: LookupRequest) -> Resolution:
    """Return the resolution of a lookup: the object is looked up in one place after the other.

    The next place is tried only if the one before was read and does not have the object.

    Raises:
        NotInBundleError: the object is in none of them.
        UnwrappableError: a place cannot be read, or has an object of another kind.
    """
    if asked.source is not None:
        nested = yield AskResolver(nested_request(request, asked.source))
        if not is_answered(nested):
            return WaitForResolver(asked.source.resolver, 0)
        return _answer(nested_source(nested, str(asked)), asked, "")
    for place in asked.lookup.places:
        if place == CLUSTER:
            value = yield GetObject(LABELS[asked.kind], asked.name)
            if value is None:
                continue
            return _answer(local_source(value, str(asked)), asked, place)
        nested = yield AskResolver(nested_request(request, asked.in_bundle(place)))
        if not is_answered(nested):
            return WaitForResolver(BUNDLES, 0)
        if not _lacks(nested):
            return _answer(nested_source(nested, f"{asked}, bundle {place}"), asked, place)
    members = {}
    for place in asked.lookup.places:
        if place != CLUSTER:
            members[place] = yield ReadBundle(place)
    raise not_found(asked, members)


def _answer(source: FetchedObject, asked: LookupRequest, place: str) -> RequestAnswer:
    value = answer(source.value, asked, place, source.origin)
    name = text(mapping(value, "metadata", str(asked)), "name", str(asked))
    notice = f"looked up {asked.kind} {name}: {origin_text(place, source.origin) or 'of unknown origin'}"
    return answered(value, source, notice)


def _lacks(nested: Object) -> bool:
    """Return whether the bundle of a nested request was read and does not have the object."""
    has_data = bool(mapping(nested, "status", "ResolutionRequest").get("data"))
    return not has_data and is_not_there(str(condition_of(nested).get("message")))
