"""What the resolver `lookup` answers: the object that was found, made to look up what it names in the same place."""

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
    """Return the object for a run: its bare references pinned to the bundle that it came from, variables replaced.

    Its annotation, which Tekton copies to the run, says where it came from.

    Args:
        place: of `asked.lookup`, where it was found; empty if something else found it.
        origin: `refSource` of who fetched it.

    Raises:
        UnwrappableError: it is something else than what was asked for, or a reference in it cannot be looked up.
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
    """Return the annotation of a run that says where its Pipeline or Task came from."""
    return f"{DOMAIN}/{kind}-source"


def origin_text(place: str, origin: Object) -> str:
    """Return where an object came from: the bundle with its digest, or what its origin says, which may be nothing."""
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
    """Say whether Tekton's resolver read a bundle and did not find the object: the one reason to look further."""
    return _NOT_THERE in message


def not_found(
    asked: LookupRequest, held: Mapping[str, Sequence[Member] | None], where: str | None = None
) -> NotInBundleError:
    """Return the error for an object that is in none of the places.

    Args:
        held: what the bundles hold, as far as that can be told.
        where: what refers to it, as far as that is known.
    """
    told = []
    for place in asked.lookup.places:
        members = held.get(place)
        if place == CLUSTER:
            told.append("not in the namespace")
        elif members is None:
            told.append(f"not in bundle {place}")
        else:
            told.append(f"not in bundle {place}, which has {', '.join(map(str, members)) or 'nothing'}")
    return NotInBundleError(
        f"it is {'; '.join(told)}",
        subject=f"{where}, {asked}" if where else str(asked),
        remedy="push the bundle with it, or name what it has",
    )
