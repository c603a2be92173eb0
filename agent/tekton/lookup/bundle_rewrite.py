"""Replacing one bundle by another in references, such as by the version of the commit under test (TEP-0018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.core.spelling.reference import Reference, parse_reference
from agent.errors import InvalidReferenceError, UsageError
from agent.tekton.lookup.lookup import CLUSTER, lookup_of
from agent.tekton.model.fields import Object, mapping, objects, text, without
from agent.tekton.model.names import BUNDLES, LOOKUP, LOOKUP_BUNDLE
from agent.tekton.requests.bundle_image import RUNS
from agent.tekton.requests.reference_change import (
    change_pipeline_references,
    change_run_references,
    change_task_references,
)

_PARAM = "bundle"


@dataclass(frozen=True, slots=True)
class BundleRewrite:
    """The replacement of one bundle.

    Attributes:
        old: the bundle to replace. Without tag and digest it matches all tags and digests.
        new: the bundle in its place.
    """

    old: str
    new: str

    def of(self, place: str) -> str:
        """Return the bundle in place of `place`; `place` if it does not match, or is not a reference."""
        try:
            named = parse_reference(place)
        except InvalidReferenceError:
            return place
        old = parse_reference(self.old)
        has_version = str(old._replace(tag=None, digest=None)) != self.old
        return self.new if old == (named if has_version else _latest(named)) else place


def parse_bundle_rewrite(word: str) -> BundleRewrite:
    """Return the replacement in a text `OLD=NEW`.

    Raises:
        UsageError: the text has another form.
        InvalidReferenceError: one of the two is not a reference.
    """
    old, equals, new = word.partition("=")
    if not equals:
        raise UsageError("it is not OLD=NEW", subject=word, remedy="name both bundles")
    parse_reference(old)
    parse_reference(new)
    return BundleRewrite(old, new)


def rewrite_bundles(value: Object, bundle_rewrites: Sequence[BundleRewrite]) -> Object:
    """Return a run, Pipeline or Task with bundles replaced in its references and its lookup; other objects unchanged.

    Raises:
        UsageError: a field has another type than Tekton's.
    """
    kind = str(value.get("kind"))
    if not bundle_rewrites or kind not in ("Pipeline", "Task", *RUNS):
        return value

    def place_of(place: str) -> str:
        for bundle_rewrite in bundle_rewrites:
            if bundle_rewrite.of(place) != place:
                return bundle_rewrite.of(place)
        return place

    def change(_: str, reference: Object, where: str) -> Object:
        if text(reference, _PARAM, where):
            return {**reference, _PARAM: place_of(text(reference, _PARAM, where))}
        if reference.get("resolver") != BUNDLES:
            return reference
        params = [_param(param, place_of) for param in objects(reference, "params", where)]
        return {**reference, "params": params}

    where = kind
    spec = mapping(value, "spec", where)
    if kind == "Pipeline":
        return {**value, "spec": change_pipeline_references(spec, change, where)}
    if kind == "Task":
        return {**value, "spec": change_task_references(spec, change, where)}
    return _with_lookup(change_run_references(value, change, where), place_of, where)


def _param(param: Object, place_of: Any) -> Object:
    if param.get("name") != _PARAM or not isinstance(param.get("value"), str):
        return param
    return {**param, "value": place_of(param["value"])}


def _with_lookup(run: Object, place_of: Any, where: str) -> Object:
    lookup = lookup_of(run, where)
    if lookup is None:
        return run
    places = [place if place == CLUSTER else place_of(place) for place in lookup.places]
    return set_lookup(run, ",".join(places), where)


def set_lookup(run: Object, places: str, where: str) -> Object:
    """Return a run with the lookup `places` in place of its own."""
    meta = mapping(run, "metadata", where)
    annotations = {**mapping(meta, "annotations", where), LOOKUP_BUNDLE: places}
    spec = without(mapping(run, "spec", where), LOOKUP)
    return {**run, "metadata": {**meta, "annotations": annotations}, "spec": spec}


def _latest(reference: Reference) -> Reference:
    return reference._replace(tag="latest", digest=None)
