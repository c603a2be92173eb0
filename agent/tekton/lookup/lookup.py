"""Where a run looks up what it names: a bundle instead of its namespace (TEP-0018, docs/reference/lookup.md).

A run says so by the field `spec.lookup` or by an annotation; it may name several places, in their order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.core.spelling.reference import LayoutReference, parse_reference
from agent.errors import InvalidReferenceError, UsageError
from agent.tekton.model.fields import Object, mapping
from agent.tekton.model.names import LOOKUP_BUNDLE
from agent.tekton.model.variables import replace_strings

CLUSTER = "cluster"
"""The run's own namespace, as a place."""

FIELD = "lookup"
VARIABLES = ("$(context.pipelineRun.lookupBundle)", "$(context.taskRun.lookupBundle)")


@dataclass(frozen=True, slots=True)
class Lookup:
    """Places to look a name up in, one after the other.

    Attributes:
        places: references of bundles, and `cluster`. Bundles have a digest from where one is known.
        written: what the user wrote; variables stand for it.
    """

    places: tuple[str, ...]
    written: str

    def __str__(self) -> str:
        return ",".join(self.places)

    def pinned(self, place: str, digest: str | None) -> Lookup:
        """Return it with a bundle's digest, for what is named by an object that came from there."""
        if digest is None or place == CLUSTER or parse_reference(place).digest is not None:
            return self
        places = tuple(f"{place}@{digest}" if found == place else found for found in self.places)
        return replace(self, places=places)

    def substitute(self, value: Any) -> Any:
        """Return a value in which the two variables of TEP-0018 are replaced."""

        def replaced(text: str) -> str:
            for variable in VARIABLES:
                text = text.replace(variable, self.written)
            return text

        return replace_strings(value, replaced)


def parse_lookup(text: str, where: str, written: str | None = None) -> Lookup:
    """Return the places that a text names, with commas between them.

    Args:
        where: what to call it in an error.
        written: what the user wrote, if it is not this.

    Raises:
        UsageError: it names no bundle, or one place twice.
        InvalidReferenceError: a place is no reference.
    """
    places = tuple(place.strip() for place in text.split(","))
    for place in places:
        if place != CLUSTER:
            _check_bundle(place, where)
    return _checked(Lookup(places, ",".join(places) if written is None else written), where)


def lookup_of(run: Object, where: str) -> Lookup | None:
    """Return where a run has its references looked up, None if it does not say: then it is the namespace.

    Raises:
        UsageError: the field or the annotation is malformed, or they differ.
    """
    field, annotation = field_of(run, where), annotation_of(run, where)
    if field is not None and annotation is not None and field != annotation:
        raise UsageError(
            f"spec.lookup says {field}, and the annotation {LOOKUP_BUNDLE} says {annotation}",
            subject=where,
            remedy="leave one of them out",
        )
    return field or annotation


def field_of(run: Object, where: str) -> Lookup | None:
    """Return what the field says, None without it.

    Raises:
        UsageError: it is malformed.
    """
    spec = mapping(run, "spec", where)
    if FIELD not in spec:
        return None
    subject = f"{where}, spec.{FIELD}"
    value = spec[FIELD]
    places = [_place(item, subject) for item in (value if isinstance(value, list) else [value])]
    return _checked(Lookup(tuple(places), ",".join(places)), subject)


def annotation_of(run: Object, where: str) -> Lookup | None:
    """Return what the annotation says, None without it.

    Raises:
        UsageError: it is malformed.
    """
    annotations = mapping(mapping(run, "metadata", where), "annotations", where)
    if LOOKUP_BUNDLE not in annotations:
        return None
    return parse_lookup(str(annotations[LOOKUP_BUNDLE]), f"{where}, annotation {LOOKUP_BUNDLE}")


def _place(item: Any, subject: str) -> str:
    if isinstance(item, Mapping) and item == {CLUSTER: True}:
        return CLUSTER
    if not isinstance(item, Mapping) or item.keys() != {"bundle"} or not isinstance(item["bundle"], str):
        raise UsageError(
            "it is neither a bundle nor cluster: true",
            subject=subject,
            remedy="write {bundle: registry/repository:tag}, or a list of that and {cluster: true}",
        )
    return _check_bundle(item["bundle"], subject)


def _check_bundle(place: str, where: str) -> str:
    if not place:
        raise UsageError("it names no bundle", subject=where, remedy="name one, or leave it out")
    try:
        parse_reference(place)
    except InvalidReferenceError as error:
        raise InvalidReferenceError(error.what, subject=f"{where}, {place[:200]}", remedy=error.remedies) from error
    if "," in place:
        raise UsageError("a comma is in its name", subject=where, remedy="name it otherwise")
    return place


def _checked(lookup: Lookup, where: str) -> Lookup:
    if set(lookup.places) <= {CLUSTER}:
        raise UsageError("it names no bundle", subject=where, remedy="name one, or leave it out")
    for place in lookup.places:
        if lookup.places.count(place) > 1:
            raise UsageError(f"it names {place} twice", subject=where, remedy="name each place once")
    return lookup


def refuse_layouts(lookup: Lookup, where: str) -> None:
    """Refuse bundles that are directories, which a cluster cannot reach.

    Raises:
        UsageError: one is.
    """
    for place in lookup.places:
        if place != CLUSTER and isinstance(parse_reference(place), LayoutReference):
            raise UsageError(
                f"{place} is a directory, which the cluster cannot read",
                subject=where,
                remedy="push the bundle to a registry",
            )
