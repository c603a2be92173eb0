"""The places in which a run's references are looked up (TEP-0018, docs/reference/lookup.md).

A run sets them by the field `spec.lookup` or by an annotation: bundles, and its namespace, in order.
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
"""The place that means the run's own namespace."""

FIELD = "lookup"
VARIABLES = ("$(context.pipelineRun.lookupBundle)", "$(context.taskRun.lookupBundle)")


@dataclass(frozen=True, slots=True)
class Lookup:
    """The places of a lookup, in order.

    Attributes:
        places: references of bundles, and `cluster`. A bundle has a digest if it is known.
        written: the text of the user, the value of the two variables of TEP-0018.
    """

    places: tuple[str, ...]
    written: str

    def __str__(self) -> str:
        return ",".join(self.places)

    def pinned(self, place: str, digest: str | None) -> Lookup:
        """Return the lookup with a bundle's digest, for the references of an object from that bundle."""
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
    """Return the lookup in a text of places, separated by commas.

    Args:
        where: the name of the text, for errors.
        written: the text of the user, None if it is `text`.

    Raises:
        UsageError: the text has no bundle, or a place twice.
        InvalidReferenceError: a place is not a reference.
    """
    places = tuple(place.strip() for place in text.split(","))
    for place in places:
        if place != CLUSTER:
            _check_bundle(place, where)
    return _checked(Lookup(places, ",".join(places) if written is None else written), where)


def lookup_of(run: Object, where: str) -> Lookup | None:
    """Return the lookup of a run, None if it has none: then its references are names in the namespace.

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
    """Return the lookup in the field, None without the field.

    Raises:
        UsageError: the field is malformed.
    """
    spec = mapping(run, "spec", where)
    if FIELD not in spec:
        return None
    subject = f"{where}, spec.{FIELD}"
    value = spec[FIELD]
    places = [_place(item, subject) for item in (value if isinstance(value, list) else [value])]
    return _checked(Lookup(tuple(places), ",".join(places)), subject)


def annotation_of(run: Object, where: str) -> Lookup | None:
    """Return the lookup in the annotation, None without the annotation.

    Raises:
        UsageError: the annotation is malformed.
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
    """Refuse bundles in OCI image layouts, which a cluster cannot read.

    Raises:
        UsageError: a bundle is in a layout.
    """
    for place in lookup.places:
        if place != CLUSTER and isinstance(parse_reference(place), LayoutReference):
            raise UsageError(
                f"{place} is a directory, which the cluster cannot read",
                subject=where,
                remedy="push the bundle to a registry",
            )
