"""The answer of the resolver `lookup`: the object, with its references changed to lookups in the same bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.errors import NotInBundleError, UnwrappableError
from agent.tekton.lookup.lookup import CLUSTER
from agent.tekton.lookup.lookup_request import LookupRequest, lookup_change
from agent.tekton.model.fields import Object, mapping, text
from agent.tekton.model.names import DOMAIN
from agent.tekton.requests.bundle_image import Member
from agent.tekton.requests.reference_change import change_pipeline_references, change_task_references
from agent.tekton.wrap.task import bare

_NOT_THERE = "could not find object in image"


def answer(value: Object, asked: LookupRequest, place: str, origin: Object) -> dict[str, Any]:
    """Return the object for a run, with bare references pinned to its bundle, and variables replaced.

    An annotation, which Tekton copies to the run, has the object's origin.

    Args:
        place: the place of `asked.lookup` that has the object; empty if the object names its own source.
        origin: the object's `refSource`.

    Raises:
        UnwrappableError: the object is of another kind, or a reference in it cannot be looked up.
    """
    name = text(mapping(value, "metadata", str(asked)), "name", str(asked))
    if str(value.get("kind")).lower() != asked.kind:
        raise UnwrappableError(f"it is a {value.get('kind')}", subject=str(asked), remedy=f"refer to a {asked.kind}")
    where = f"{value['kind']} {name}"
    lookup = asked.lookup.pinned(place, digest_of(origin)) if place else asked.lookup
    change = lookup_change(lookup, asked.service_account)
    spec = lookup.substitute(mapping(value, "spec", where))
    if asked.kind == "pipeline":
        spec = change_pipeline_references(spec, change, where)
    elif asked.kind == "task":
        spec = change_task_references(spec, change, where)
    found = bare(value)
    meta = mapping(found, "metadata", where)
    annotations = {**mapping(meta, "annotations", where)}
    if origin_text(place, origin):
        annotations[source_annotation(asked.kind)] = origin_text(place, origin)
    return {**found, "metadata": {**meta, "annotations": annotations}, "spec": spec}


def source_annotation(kind: str) -> str:
    """Return the annotation of a run for the origin of its Pipeline or Task."""
    return f"{DOMAIN}/{kind}-source"


def origin_text(place: str, origin: Object) -> str:
    """Return an object's origin as text: the bundle with its digest, or the URI of its origin; empty if unknown."""
    digest = digest_of(origin)
    name = place if place and place != CLUSTER else text(origin, "uri", "refSource")
    return f"{name}@{digest}" if digest and "@" not in name else name or place


def digest_of(origin: Object) -> str | None:
    """Return the digest in a `refSource`, None if there is none."""
    digests = origin.get("digest")
    if not isinstance(digests, Mapping):
        return None
    return next((f"{algorithm}:{value}" for algorithm, value in sorted(digests.items()) if value), None)


def is_not_there(message: str) -> bool:
    """Return whether Tekton's resolver read a bundle and did not find the object. Only then the next place is tried."""
    return _NOT_THERE in message


def not_found(
    asked: LookupRequest, members: Mapping[str, Sequence[Member] | None], where: str | None = None
) -> NotInBundleError:
    """Return the error for an object that is in none of the places.

    Args:
        members: the objects of the bundles; None for a bundle that cannot be read.
        where: the object that refers to it, None if unknown.
    """
    reasons = []
    for place in asked.lookup.places:
        found = members.get(place)
        if place == CLUSTER:
            reasons.append("not in the namespace")
        elif found is None:
            reasons.append(f"not in bundle {place}")
        else:
            reasons.append(f"not in bundle {place}, which has {', '.join(map(str, found)) or 'nothing'}")
    return NotInBundleError(
        f"it is {'; '.join(reasons)}",
        subject=f"{where}, {asked}" if where else str(asked),
        remedy="push the bundle with it, or name what it has",
    )
